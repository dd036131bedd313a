"""Bytes that training holds, against those of a step that is made."""

import pytest
import torch
from torch import nn
from transformers import Adafactor

from spectra.training.recipe.memory_estimate import memory_estimate

NUM_PARAMETERS = 10 * 20 + 20 + 20 * 3 + 3
FLOAT = 4


def model_of(dtype=torch.float32):
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(10, 20), nn.Linear(20, 3)).to(dtype)


def bytes_after_a_step(model, optimizer):
    model(torch.ones(1, 10)).sum().backward()
    optimizer.step()
    tensors = [value for state in optimizer.state.values() for value in state.values() if isinstance(value, torch.Tensor)]
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)


def test_weights_and_gradients_are_counted_by_their_type():
    for dtype, size in ((torch.float32, 4), (torch.bfloat16, 2)):
        model = model_of(dtype)
        found = memory_estimate(model, torch.optim.SGD(model.parameters(), lr=0.1))
        assert (found.weights, found.gradients, found.optimizer_state) == (NUM_PARAMETERS * size, NUM_PARAMETERS * size, 0)
        assert found.total == 2 * NUM_PARAMETERS * size


@pytest.mark.parametrize(
    "make",
    [
        lambda parameters: torch.optim.AdamW(parameters, lr=0.1),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.1, amsgrad=True),
        lambda parameters: torch.optim.AdamW(parameters, lr=0.1, fused=True),
        lambda parameters: torch.optim.SGD(parameters, lr=0.1, momentum=0.9),
        lambda parameters: torch.optim.RMSprop(parameters, lr=0.1),
        lambda parameters: Adafactor(parameters, lr=0.1, scale_parameter=False, relative_step=False),  # as a trainer makes it
    ],
    ids=["adamw", "amsgrad", "fused", "momentum", "rmsprop", "adafactor"],
)
def test_the_state_of_an_optimizer_is_that_of_its_first_step(make):
    model = model_of()
    optimizer = make(list(model.parameters()))
    found = memory_estimate(model, optimizer)
    assert not optimizer.state
    assert found.optimizer_state == bytes_after_a_step(model, optimizer)


def test_only_what_is_trained_has_gradients_and_state():
    model = model_of()
    found = memory_estimate(model, torch.optim.AdamW(model[1].parameters(), lr=0.1), adapters=model[1].parameters())
    last = (20 * 3 + 3) * FLOAT
    assert found.gradients == found.adapters == last
    # Two moments of each parameter, and a count of steps of each tensor.
    assert found.optimizer_state == 2 * last + 2 * FLOAT
    assert found.weights == NUM_PARAMETERS * FLOAT


def test_an_optimizer_that_needs_numbers_is_unknown():
    class Cautious(torch.optim.SGD):
        def step(self, closure=None):
            if any(parameter.grad.sum() > 0 for group in self.param_groups for parameter in group["params"]):
                super().step(closure)

    model = model_of()
    found = memory_estimate(model, Cautious(model.parameters(), lr=0.1))
    assert found.optimizer_state is None
    assert found.total == found.weights + found.gradients


def test_an_optimizer_goes_on_as_if_nobody_had_looked():
    first, second = model_of(), model_of()
    for model, looks in ((first, True), (second, False)):
        optimizer = torch.optim.AdamW(model.parameters(), lr=0.1)
        if looks:
            memory_estimate(model, optimizer)
        bytes_after_a_step(model, optimizer)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), second.parameters(), strict=True))
