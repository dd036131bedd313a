"""What cannot be multiplied is refused with its reason, and nothing is changed then."""

import math

import pytest
import torch

from spectra.errors import InputError
from spectra.training.lr_scale import OptimizerScale
from spectra.training.parameter_groups import UNIT, build_parameter_groups
from tests.scaled_models import UNITS, model_of, optimizer_of


@pytest.fixture
def optimizer():
    return optimizer_of(model_of(), torch.optim.AdamW)


@pytest.fixture
def controller(optimizer):
    controller = OptimizerScale(optimizer)
    controller.set({"one": 2.0, "two": 0.5})
    return controller


def test_a_state_of_other_units_is_refused_unless_what_fits_is_asked_for(controller):
    state = controller.state_dict()
    for scales in state["scales"].values():
        scales["three"] = scales.pop("two")
    with pytest.raises(InputError, match=r"of other units: 'three' is gone\. .*'two' is new\. Pass strict=False"):
        controller.load_state_dict(state)
    assert controller.scales() == {"one": 2.0, "two": 0.5}
    controller.load_state_dict(state, strict=False)
    assert controller.scales() == {"one": 2.0, "two": 1.0}


def test_a_state_of_another_version_or_with_wrong_numbers_is_refused(controller):
    with pytest.raises(InputError, match="state: of version 7, this is 1"):
        controller.load_state_dict({"version": 7})
    state = controller.state_dict()
    state["scales"]["learning_rate"]["one"] = None
    with pytest.raises(InputError, match=r"expected finite multipliers above 0, got 'one' \(None\)"):
        controller.load_state_dict(state)


@pytest.mark.parametrize("wrong", [0.0, -1.0, math.nan, math.inf, "2", True], ids=str)
def test_numbers_that_are_no_multipliers_are_refused_by_unit(controller, wrong):
    with pytest.raises(InputError, match=r"expected finite multipliers above 0, got 'one' \(.*\)\. Correct them"):
        controller.set({"one": wrong, "two": 2.0})
    assert controller.scales() == {"one": 2.0, "two": 0.5}
    if wrong != 0.0:
        with pytest.raises(InputError, match=r"expected finite multipliers at least 0, got 'one'"):
            controller.set({"one": wrong}, target="weight_decay")


def test_unknown_units_and_targets_are_refused(controller):
    with pytest.raises(InputError, match=r"1 of 2 units have no parameter group: 'oen'\. Did you mean 'one'"):
        controller.set({"oen": 2.0, "two": 1.0})
    with pytest.raises(InputError, match=r"unknown target 'momentum'"):
        controller.set({}, target="momentum")
    with pytest.raises(InputError, match=r"unknown target 'learning_rates'\. Did you mean 'learning_rate'"):
        controller.scales("learning_rates")


def test_optimizers_in_which_there_is_nothing_to_multiply_are_refused(controller, optimizer):
    model = model_of()
    with pytest.raises(InputError, match="no group belongs to a unit.* build_parameter_groups"):
        OptimizerScale(torch.optim.SGD(model.parameters(), lr=0.1))
    with pytest.raises(InputError, match="an OptimizerScale is at work on it"):
        OptimizerScale(optimizer)
    with pytest.raises(InputError, match=r"expected a torch.optim.Optimizer, got Sequential"):
        OptimizerScale(model)


def test_an_optimizer_that_sets_its_own_rate_is_refused():
    from transformers import Adafactor

    adafactor = Adafactor(build_parameter_groups(model_of(), UNITS))
    with pytest.raises(InputError, match=r"group 0 has no learning rate to multiply\. Give Adafactor one"):
        OptimizerScale(adafactor)


def test_weight_decay_that_cannot_be_what_was_asked_for_is_refused(controller):
    rprop = OptimizerScale(optimizer_of(model_of(), torch.optim.Rprop))
    with pytest.raises(InputError, match=r"Rprop has no weight decay"):
        rprop.set({"one": 2.0}, target="weight_decay")
    adam = OptimizerScale(optimizer_of(model_of(), torch.optim.Adam, weight_decay=0.1))
    with pytest.raises(InputError, match=r"Adam adds its weight decay to the gradient.* Use AdamW"):
        adam.set({"one": 2.0}, keep_lr_times_wd=True)
    with pytest.raises(InputError, match=r"keep_lr_times_wd: it belongs to multipliers of the learning rate"):
        controller.set({"one": 2.0}, target="weight_decay", keep_lr_times_wd=True)


def test_the_state_of_an_optimizer_that_was_split_otherwise_is_refused(optimizer, controller):
    other = optimizer_of(model_of(), torch.optim.AdamW)
    stored = other.state_dict()
    stored["param_groups"][2][UNIT] = "three"
    with pytest.raises(InputError, match=r"whose groups were split otherwise, from group 2 on"):
        optimizer.load_state_dict(stored)
    with pytest.raises(InputError, match=r"split otherwise, from group 1 on.* same order.* optimizer\.pt"):
        optimizer.load_state_dict(torch.optim.AdamW(model_of().parameters()).state_dict())
