"""A model that was borrowed is given back as it was, whatever happened meanwhile."""

import pytest
import torch
from torch import nn

from spectra import InputError
from spectra.fisher.as_found import as_found
from spectra.fisher.estimate import fisher
from spectra.fisher.provenance import MARK
from tests.fisher.models import CASES


def lived_in(model):
    """Modes, flags and gradients of a model in the middle of training."""
    model.train()
    parameters = list(model.parameters())
    next(model.children()).eval()
    for number, parameter in enumerate(parameters):
        parameter.requires_grad_(number % 3 > 0)
        parameter.grad = torch.full_like(parameter, 0.5) if number % 2 else None
    return model


def everything(model, batch=None):
    """All that must not change, by identity where it matters."""
    return {
        "modes": [module.training for module in model.modules()],
        "parameters": [(id(one), one.requires_grad, id(one.grad), one._version) for one in model.parameters()],
        "gradients": [None if one.grad is None else one.grad.clone() for one in model.parameters()],
        "values": [tensor.clone() for tensor in model.state_dict().values()],
        "random": [torch.get_rng_state()],
        "attributes": [set(vars(tensor)) for tensor in (*model.parameters(), *model.buffers(), *(batch or {}).values())],
        "hooks": [len(one._backward_hooks or ()) for one in model.parameters()],
        "grad mode": torch.is_grad_enabled(),
    }


def assert_same(before, after):
    for key, expected in before.items():
        if key in ("gradients", "values", "random"):
            for one, other in zip(expected, after[key], strict=True):
                assert one is other or one.numpy().tobytes() == other.numpy().tobytes(), key  # bit by bit: some are NaN
        else:
            assert after[key] == expected, key


@pytest.mark.parametrize("settings", [{}, {"route": "loop"}, {"kind": "sampled"}, {"kind": "exact"}], ids=str)
@pytest.mark.parametrize("name", ["bert, classes", "resnet"])
def test_a_model_is_left_as_it_was(name, settings):
    case = CASES[name]()
    before = everything(lived_in(case.model), case.batch)
    fisher(case.model, [case.batch], **settings)
    assert_same(before, everything(case.model, case.batch))


def out_of_range(case):
    return [case.batch, {**case.batch, "labels": case.batch["labels"] + 1000}]


def not_finite(case):
    with torch.no_grad():
        next(case.model.parameters())[:] = float("nan")
    return [case.batch]


def broken_data(case):
    yield case.batch
    raise OSError("the disk is gone")


@pytest.mark.parametrize("route", ["auto", "loop"])
@pytest.mark.parametrize(
    ("fault", "error"),
    [(out_of_range, InputError), (not_finite, InputError), (broken_data, OSError)],
    ids=lambda one: one.__name__,
)
def test_a_model_is_left_as_it_was_after_an_exception(fault, error, route):
    case = CASES["bert, sdpa"]()
    batches = fault(case)
    before = everything(lived_in(case.model), case.batch)
    with pytest.raises(error):
        fisher(case.model, batches, route=route)
    assert_same(before, everything(case.model, case.batch))


def test_a_model_is_left_as_it_was_when_a_callback_raises():
    case = CASES["gpt2, sdpa"]()
    before = everything(lived_in(case.model), case.batch)

    def stop(_):
        assert not case.model.training
        raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough"):
        fisher(case.model, [case.batch], progress=stop)
    assert_same(before, everything(case.model, case.batch))


def test_a_model_is_left_as_it_was_when_the_backward_pass_raises():
    class Refusing(torch.autograd.Function):
        @staticmethod
        def forward(ctx, x):
            return x.clone()

        @staticmethod
        def backward(ctx, gradient):
            raise ValueError("no way back")

    class Model(nn.Module):
        def __init__(self):
            super().__init__()
            self.first, self.last = nn.Linear(3, 3), nn.Linear(3, 2)

        def forward(self, x):
            return self.last(Refusing.apply(self.first(x)))

    model = lived_in(Model())
    before = everything(model)
    with pytest.raises(ValueError, match="no way back"):
        fisher(model, [(torch.ones(2, 3), torch.tensor([0, 1]))])
    assert_same(before, everything(model))


def test_random_numbers_a_model_draws_are_not_missed_later():
    class Noisy(nn.Module):
        def __init__(self):
            super().__init__()
            self.head = nn.Linear(3, 2)

        def forward(self, x):
            return self.head(x + 0.1 * torch.randn_like(x))

    model = Noisy()
    torch.manual_seed(3)
    expected = torch.rand(4)
    torch.manual_seed(3)
    fisher(model, [(torch.ones(2, 3), torch.tensor([0, 1]))])
    assert torch.equal(torch.rand(4), expected)


def test_inside_modes_are_off_and_flags_as_asked():
    model = lived_in(nn.Sequential(nn.Linear(2, 2), nn.Dropout(0.5), nn.Linear(2, 2)))
    chosen = model[2].weight
    with as_found(model, {id(chosen)}):
        assert not any(module.training for module in model.modules())
        assert [parameter.requires_grad for parameter in model.parameters()] == [False, False, True, False]
        assert all(parameter.grad is None for parameter in model.parameters())


def test_without_a_choice_flags_stay():
    model = lived_in(nn.Sequential(nn.Linear(2, 2), nn.Linear(2, 2)))
    flags = [parameter.requires_grad for parameter in model.parameters()]
    with as_found(model):
        assert [parameter.requires_grad for parameter in model.parameters()] == flags


def test_what_is_known_of_the_batch_is_not_left_on_a_buffer():
    model = nn.BatchNorm1d(2)
    with as_found(model):
        setattr(model.running_mean, MARK, "anything")
    assert not hasattr(model.running_mean, MARK)


def test_the_estimate_works_where_gradients_are_off():
    case = CASES["gpt2, sdpa"]()
    expected = fisher(case.model, [case.batch])
    with torch.no_grad():
        estimate = fisher(case.model, [case.batch])
    assert estimate.tensors == expected.tensors
