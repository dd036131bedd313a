import copy

import pytest
import torch
from torch import nn

from spectra.training.meta_peft.reptile import back_again, reptile_gradients


def steps_of(model, batches):
    def step(inputs, targets):
        loss = nn.functional.mse_loss(model(inputs), targets)
        loss.backward()
        return loss.detach()

    return [lambda pair=pair: step(*pair) for pair in batches]


def some_batches(number=4):
    generator = torch.Generator().manual_seed(0)
    return [(torch.randn(5, 3, generator=generator), torch.randn(5, 2, generator=generator)) for _ in range(number)]


def by_hand(model, batches, lr):
    """The steps on a task as torch's own loop makes them."""
    other = copy.deepcopy(model)
    optimizer = torch.optim.AdamW(other.parameters(), lr=lr, weight_decay=0.0)
    for inputs, targets in batches:
        optimizer.zero_grad()
        nn.functional.mse_loss(other(inputs), targets).backward()
        optimizer.step()
    return other


def test_an_outer_step_of_plain_sgd_with_rate_1_lands_where_the_task_leads():
    torch.manual_seed(0)
    model = nn.Linear(3, 2).double()
    batches = [(x.double(), y.double()) for x, y in some_batches()]
    task = by_hand(model, batches, lr=0.05)

    reptile_gradients(list(model.parameters()), [], steps_of(model, batches), learning_rate=0.05)
    torch.optim.SGD(model.parameters(), lr=1.0).step()

    for ours, theirs in zip(model.parameters(), task.parameters(), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=0, atol=1e-15)  # W - (W - W_task): one rounding


def test_before_the_outer_step_the_base_is_where_it_was_bit_for_bit():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    before = copy.deepcopy(model.state_dict())

    reptile_gradients(list(model.parameters()), [], steps_of(model, some_batches()), learning_rate=0.05)

    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())


def test_what_no_step_uses_has_no_direction():
    torch.manual_seed(0)
    model, unused = nn.Linear(3, 2), nn.Parameter(torch.ones(4))

    reptile_gradients([*model.parameters(), unused], [], steps_of(model, some_batches()), learning_rate=0.05)

    assert unused.grad is None


def test_gradients_are_a_share_of_the_difference():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    whole, third = copy.deepcopy(model), model

    for one, number in ((whole, 1), (third, 3)):
        reptile_gradients(list(one.parameters()), [], steps_of(one, some_batches()), learning_rate=0.05, num_tasks=number)

    torch.testing.assert_close(third.weight.grad * 3, whole.weight.grad)


def test_what_is_the_tasks_own_stays_where_the_steps_lead_and_has_no_gradient():
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 2))
    task = by_hand(model, some_batches(), lr=0.05)
    base, head = model

    reptile_gradients(list(base.parameters()), list(head.parameters()), steps_of(model, some_batches()), learning_rate=0.05)

    torch.testing.assert_close(head.weight, task[1].weight)
    assert head.weight.grad is None
    assert base.weight.grad is not None


def test_gradients_of_the_steps_are_clipped():
    torch.manual_seed(0)
    model = nn.Linear(3, 2)
    seen = []
    steps = steps_of(model, some_batches())
    watched = [lambda step=step: (seen.append(step()), model.weight.grad.mul_(1e6))[0] or seen[-1] for step in steps]

    loss = reptile_gradients(list(model.parameters()), [], watched, learning_rate=0.05, max_grad_norm=1.0)

    assert torch.isfinite(loss)
    assert model.weight.grad.abs().max() < 1  # four steps of 0.05 each


def test_weights_come_back_also_after_an_error():
    model = nn.Linear(3, 2)
    before = model.weight.detach().clone()

    def fails():
        with back_again([model.weight]):
            model.weight.data += 1
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fails()

    assert torch.equal(model.weight, before)
