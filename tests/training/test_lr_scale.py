"""The multiplier is at work inside the step and nowhere else, with every scheduler, optimizer and way to break off."""

import copy
import json
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import nn
from torch.optim import lr_scheduler as schedulers

from spectra.errors import InputError
from spectra.training.lr_scale import OptimizerScale, split_for_target
from spectra.training.parameter_groups import (
    DECAY_UNIT,
    UNIT,
    build_parameter_groups,
    split_parameter_groups,
)
from tests.scaled_models import UNITS, backward, equal, loss_of, model_of, optimizer_of, rates, scales_at

STEPS = 100


class Watched(torch.optim.SGD):
    """Notes what a step sees."""

    def step(self, closure=None):
        self.seen.append([group["lr"] for group in self.param_groups])
        return super().step(closure)


def factors_at(step):
    return [1.0, *scales_at(step).values()]


def halves(optimizer):
    first = schedulers.LinearLR(optimizer, 0.1, total_iters=10)
    return schedulers.SequentialLR(optimizer, [first, schedulers.CosineAnnealingLR(optimizer, 60)], milestones=[10])


def chained(optimizer):
    return schedulers.ChainedScheduler(
        [schedulers.ExponentialLR(optimizer, 0.99), schedulers.LinearLR(optimizer, 0.5, total_iters=20)], optimizer=optimizer
    )


def of_transformers(name, **options):
    def make(optimizer):
        from transformers import get_scheduler

        return get_scheduler(name, optimizer, num_warmup_steps=5, num_training_steps=STEPS, **options)

    return make


SCHEDULERS = {
    "step": lambda o: schedulers.StepLR(o, 10, 0.7),
    "multi-step": lambda o: schedulers.MultiStepLR(o, [5, 33, 70], 0.3),
    "exponential": lambda o: schedulers.ExponentialLR(o, 0.97),
    "linear": lambda o: schedulers.LinearLR(o, 0.2, total_iters=50),
    "polynomial": lambda o: schedulers.PolynomialLR(o, 80, 2.0),
    "cosine": lambda o: schedulers.CosineAnnealingLR(o, 40, 0.001),
    "lambda": lambda o: schedulers.LambdaLR(o, lambda t: 1.0 / (1 + t)),
    "one cycle": lambda o: schedulers.OneCycleLR(o, 0.5, total_steps=STEPS + 1, cycle_momentum=False),
    "warm restarts": lambda o: schedulers.CosineAnnealingWarmRestarts(o, 17, 2),
    "plateau": lambda o: schedulers.ReduceLROnPlateau(o, patience=3, factor=0.5),
    "sequential": halves,
    "chained": chained,
    "transformers, linear": of_transformers("linear"),
    "transformers, cosine": of_transformers("cosine"),
    "transformers, restarts": of_transformers("cosine_with_restarts"),
    "transformers, inverse root": of_transformers("inverse_sqrt"),
}


def run(make_scheduler, *, scaled, skipped=()):
    """Return the learning rates that each step saw, and those of the groups after each step and scheduler step."""
    model = model_of()
    optimizer = optimizer_of(model, Watched)
    optimizer.seen = []
    scheduler = make_scheduler(optimizer)
    controller = OptimizerScale(optimizer) if scaled else None
    scaler = torch.amp.GradScaler(device="cpu", enabled=bool(skipped), init_scale=2.0)
    after_step, after_scheduler = [], []
    for step in range(STEPS):
        if controller:
            controller.set(scales_at(step))
        optimizer.zero_grad()
        scaler.scale(loss_of(model, step)).backward()
        if step in skipped:
            model[1].weight.grad[0, 0] = math.inf
        scaler.step(optimizer)
        scaler.update()
        after_step.append([group["lr"] for group in optimizer.param_groups])
        metric = (1.0 / (1 + step // 20),) if isinstance(scheduler, schedulers.ReduceLROnPlateau) else ()
        scheduler.step(*metric)
        after_scheduler.append([group["lr"] for group in optimizer.param_groups])
    return optimizer.seen, after_step, after_scheduler


@pytest.mark.parametrize("skipped", [(), (3, 4, 21, 50)], ids=["every step", "steps skipped by mixed precision"])
@pytest.mark.parametrize("name", SCHEDULERS)
def test_a_step_sees_the_schedulers_value_times_the_multiplier_and_the_scheduler_its_own(name, skipped):
    plain, *plain_groups = run(SCHEDULERS[name], scaled=False, skipped=skipped)
    seen, *groups = run(SCHEDULERS[name], scaled=True, skipped=skipped)
    assert groups == plain_groups  # bit for bit, after each step and each step of the scheduler
    made = [step for step in range(STEPS) if step not in skipped]
    assert len(seen) == len(plain) == len(made)
    for step, values, own in zip(made, seen, plain, strict=True):
        assert values == pytest.approx([lr * factor for lr, factor in zip(own, factors_at(step), strict=True)], rel=1e-12)


@pytest.mark.parametrize("unscaled", [False, True], ids=["scaled", "unscaled before"])
@pytest.mark.parametrize("fused", [False, True], ids=["plain", "fused"])
def test_steps_that_mixed_precision_skips_are_not_counted(fused, unscaled):
    model = model_of()
    # An option of the groups alone would not tell the scaler.
    optimizer = torch.optim.AdamW(build_parameter_groups(model, UNITS, lr=0.1), lr=0.1, fused=fused)
    controller = OptimizerScale(optimizer)
    controller.set(scales_at(0))
    scaler = torch.amp.GradScaler(device="cpu", init_scale=2.0)
    for step in range(5):
        optimizer.zero_grad()
        scaler.scale(loss_of(model, step)).backward()
        if step in (1, 2):
            model[1].weight.grad[0, 0] = math.inf
        if unscaled:
            scaler.unscale_(optimizer)
        before = [parameter.detach().clone() for parameter in model.parameters()]
        scaler.step(optimizer)
        scaler.update()
        assert equal(before, model.parameters()) == (step in (1, 2))
        assert {group["lr"] for group in optimizer.param_groups} == {0.1}
    assert controller.num_steps == 3


OPTIMIZERS = {
    "sgd": (torch.optim.SGD, {"momentum": 0.9, "weight_decay": 0.1}),
    "sgd, foreach": (torch.optim.SGD, {"foreach": True}),
    "adam": (torch.optim.Adam, {}),
    "adamw": (torch.optim.AdamW, {"weight_decay": 0.1}),
    "adamw, fused": (torch.optim.AdamW, {"fused": True}),
    "adamw, foreach": (torch.optim.AdamW, {"foreach": True}),
    "adagrad": (torch.optim.Adagrad, {}),
    "rmsprop": (torch.optim.RMSprop, {}),
}


def trained(optimizer, model, steps=20, controller=None):
    for step in range(steps):
        if controller:
            controller.set(scales_at(step))
        optimizer.zero_grad()
        backward(model, step)
        optimizer.step()
    return [parameter.detach().clone() for parameter in model.parameters()]


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_multipliers_of_one_train_bit_for_bit_as_without(name):
    kind, options = OPTIMIZERS[name]
    model, plain = model_of(), model_of()
    optimizer = optimizer_of(model, kind, **options)
    OptimizerScale(optimizer)
    assert equal(trained(optimizer, model), trained(kind(plain.parameters(), lr=0.1, **options), plain))


@pytest.mark.parametrize("name", OPTIMIZERS)
def test_training_is_that_of_groups_with_the_multiplied_rates(name):
    kind, options = OPTIMIZERS[name]
    model, other = model_of(), model_of()
    optimizer, by_hand = optimizer_of(model, kind, **options), optimizer_of(other, kind, **options)
    controller = OptimizerScale(optimizer)
    for step in range(10):
        controller.set(scales_at(step))
        for group, factor in zip(by_hand.param_groups, factors_at(step), strict=True):
            group["lr"] = 0.1 * factor
        for one, its_model in ((optimizer, model), (by_hand, other)):
            one.zero_grad()
            backward(its_model, step)
            one.step()
    assert equal(model.parameters(), other.parameters())


@given(one=st.floats(0.01, 100.0), two=st.floats(0.01, 100.0))
def test_sgd_is_a_plain_loop_with_a_rate_for_each_parameter(one, two):
    model, other = model_of(), model_of()
    optimizer = optimizer_of(model, lr=0.001, foreach=False)
    OptimizerScale(optimizer).set({"one": one, "two": two})
    rates = {name: 0.001 * {"": 1.0, "one": one, "two": two}[UNITS.get(name, "")] for name, _ in other.named_parameters()}
    for step in range(3):
        optimizer.zero_grad()
        backward(model, step)
        optimizer.step()
        other.zero_grad()
        backward(other, step)
        with torch.no_grad():
            for name, parameter in other.named_parameters():
                parameter.add_(parameter.grad, alpha=-rates[name])
    assert equal(model.parameters(), other.parameters())


def test_rates_that_are_tensors_are_scaled_in_place_and_come_back_bit_for_bit():
    model = model_of()
    optimizer = torch.optim.AdamW(build_parameter_groups(model, UNITS), lr=torch.tensor(0.1), foreach=False)
    assert len({id(group["lr"]) for group in optimizer.param_groups}) == 1  # torch hands one tensor to all
    controller = OptimizerScale(optimizer)
    objects = [group["lr"] for group in optimizer.param_groups]
    assert len(set(map(id, objects))) == 3
    seen = []
    optimizer.register_step_pre_hook(lambda o, *_: seen.append([group["lr"].clone() for group in o.param_groups]))
    scheduler = schedulers.ExponentialLR(optimizer, 0.9)
    for step in range(30):
        controller.set(scales_at(step))
        optimizer.zero_grad()
        backward(model, step)
        own = [group["lr"].clone() for group in optimizer.param_groups]
        optimizer.step()
        assert [id(group["lr"]) for group in optimizer.param_groups] == list(map(id, objects))
        assert all(torch.equal(a, group["lr"]) for a, group in zip(own, optimizer.param_groups, strict=True))
        expected = [float(lr) * factor for lr, factor in zip(own, factors_at(step), strict=True)]
        assert list(map(float, seen[-1])) == pytest.approx(expected, rel=2e-7)  # two roundings to float32
        scheduler.step()


# torch's own, when it loads its compiler
@pytest.mark.filterwarnings("ignore:`torch.jit.script_method` is deprecated:DeprecationWarning")
def test_a_compiled_step_follows_the_multipliers():
    model, plain = model_of(), model_of()
    optimizer = torch.optim.SGD(build_parameter_groups(model, UNITS), lr=torch.tensor(0.1), foreach=False)
    other = torch.optim.SGD(build_parameter_groups(plain, UNITS), lr=torch.tensor(0.1), foreach=False)
    controller, reference = OptimizerScale(optimizer), OptimizerScale(other)
    step_compiled = torch.compile(optimizer.step, backend="eager")
    for step in range(4):
        for one in (controller, reference):
            one.set(scales_at(7 * step))
        for one, its_model, make_step in ((optimizer, model, step_compiled), (other, plain, other.step)):
            one.zero_grad()
            backward(its_model, step)
            make_step()
    for one, two in zip(model.parameters(), plain.parameters(), strict=True):
        assert torch.allclose(one, two, rtol=1e-5, atol=1e-6)  # float32, sums in another order


@pytest.mark.gpu
def test_a_captured_step_follows_the_multipliers():
    model = model_of().cuda()
    groups = build_parameter_groups(model, UNITS)
    optimizer = torch.optim.Adam(groups, lr=torch.tensor(0.1, device="cuda"), capturable=True)
    controller = OptimizerScale(optimizer)
    for parameter in model.parameters():
        parameter.grad = torch.ones_like(parameter)
    stream = torch.cuda.Stream()
    with torch.cuda.stream(stream):
        optimizer.step()
    stream.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        optimizer.step()
    for one in (1.0, 3.0, 0.5):
        controller.set({"one": one})
        before = [parameter.detach().clone() for parameter in model.parameters()]
        graph.replay()
        moved = [float((b - p).mean()) for b, p in zip(before, model.parameters(), strict=True)]
        # Of equal gradients Adam makes steps as long as the learning rate; differences of float32 numbers near 1.
        assert moved == pytest.approx([0.1, 0.1, 0.1 * one, 0.1 * one, 0.1, 0.1], abs=1e-5)
        assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.1] * 3, rel=1e-6)


@pytest.fixture
def optimizer():
    model = model_of()
    optimizer = optimizer_of(model, torch.optim.AdamW, weight_decay=0.2)
    backward(model)
    return optimizer


@pytest.fixture
def controller(optimizer):
    controller = OptimizerScale(optimizer)
    controller.set({"one": 2.0, "two": 0.5})
    return controller


def break_off(optimizer):
    """Leave a step by an error inside it: the hook after it does not run."""

    def closure():
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        optimizer.step(closure)
    assert rates(optimizer) == [0.1, 0.2, 0.05]


def test_after_a_step_that_broke_off_the_next_one_is_right(optimizer, controller):
    break_off(optimizer)
    seen = []
    optimizer.register_step_pre_hook(lambda o, *_: seen.append(rates(o)))
    optimizer.step()
    assert seen == [[0.1, 0.2, 0.05]]
    assert rates(optimizer) == [0.1, 0.1, 0.1]


@pytest.mark.parametrize(
    "what",
    [
        lambda optimizer, controller: controller.restore(),
        lambda optimizer, controller: controller.set({"one": 3.0}),
        lambda optimizer, controller: controller.load_state_dict(controller.state_dict()),
        lambda optimizer, controller: controller.remove(),
        lambda optimizer, controller: optimizer.load_state_dict(optimizer.state_dict()),
    ],
    ids=["restore", "set", "load", "remove", "load the optimizer"],
)
def test_whatever_comes_after_a_step_that_broke_off_puts_the_values_back(optimizer, controller, what):
    break_off(optimizer)
    what(optimizer, controller)
    assert rates(optimizer) == [0.1, 0.1, 0.1]


def test_a_state_dict_holds_the_schedulers_values_whenever_it_is_taken(optimizer, controller):
    def stored():
        return [group["lr"] for group in optimizer.state_dict()["param_groups"]]

    break_off(optimizer)
    assert stored() == [0.1, 0.1, 0.1]
    with controller.applied():
        assert stored() == [0.1, 0.1, 0.1]
        assert rates(optimizer) == [0.1, 0.2, 0.05]
    assert stored() == [0.1, 0.1, 0.1]


def test_a_state_dict_of_tensors_does_not_change_with_them():
    optimizer = torch.optim.SGD(build_parameter_groups(model_of(), UNITS, lr=torch.tensor(0.1)))
    controller = OptimizerScale(optimizer)
    controller.set({"one": 2.0})
    with controller.applied():
        stored = optimizer.state_dict()
        controller.set({"one": 4.0})
        assert [float(group["lr"]) for group in optimizer.param_groups] == pytest.approx([0.1, 0.4, 0.1])
    assert [float(group["lr"]) for group in stored["param_groups"]] == pytest.approx([0.1, 0.1, 0.1])


def test_inside_applied_hooks_do_nothing_twice_and_blocks_nest(optimizer, controller):
    seen = []
    optimizer.register_step_pre_hook(lambda o, *_: seen.append(rates(o)))
    with controller.applied():
        optimizer.step()
        assert rates(optimizer) == [0.1, 0.2, 0.05]
        with controller.applied():
            optimizer.step()
        controller.apply()
        optimizer.step()
        controller.set({"one": 4.0})
        optimizer.step()
    assert seen == [[0.1, 0.2, 0.05]] * 3 + [[0.1, 0.4, 0.1]]
    assert rates(optimizer) == [0.1, 0.1, 0.1]


def test_applied_puts_back_whatever_happens(optimizer, controller):
    with pytest.raises(RuntimeError, match="not enough"), controller.applied():
        raise RuntimeError("not enough memory")
    assert rates(optimizer) == [0.1, 0.1, 0.1]


def test_loading_an_optimizers_state_while_multiplied_takes_its_values(optimizer, controller):
    stored = optimizer.state_dict()
    stored["param_groups"][1]["lr"] = 0.7
    with controller.applied():
        optimizer.load_state_dict(stored)
        assert rates(optimizer) == [0.1, 1.4, 0.05]
    assert rates(optimizer) == [0.1, 0.7, 0.1]


def test_a_copy_of_the_optimizer_is_not_multiplied(optimizer, controller):
    twin = copy.deepcopy(optimizer)
    seen = []
    twin.register_step_pre_hook(lambda o, *_: seen.append(rates(o)))
    twin.step()
    assert seen == [[0.1, 0.1, 0.1]]


def test_groups_that_are_added_later_keep_their_values(optimizer, controller):
    optimizer.add_param_group({"params": [nn.Parameter(torch.ones(2))], "lr": 0.3})
    with controller.applied():
        assert rates(optimizer) == [0.1, 0.2, 0.05, 0.3]


def test_remove_leaves_the_optimizer_alone(optimizer, controller):
    controller.remove()
    seen = []
    optimizer.register_step_pre_hook(lambda o, *_: seen.append(rates(o)))
    optimizer.step()
    assert seen == [[0.1, 0.1, 0.1]]
    OptimizerScale(optimizer)  # another one may come


def test_weight_decay_is_multiplied_where_there_is_any():
    model = model_of()
    decay = [{"params": [p for p in model.parameters() if p.ndim == 2], "weight_decay": 0.2}]
    without = [{"params": [p for p in model.parameters() if p.ndim == 1], "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(build_parameter_groups(model, UNITS, groups=decay + without, lr=0.1))
    controller = OptimizerScale(optimizer)
    controller.set({"one": 3.0, "two": 0.0}, target="weight_decay")
    with controller.applied():
        assert rates(optimizer, "weight_decay") == pytest.approx([0.2, 0.6, 0.0, 0.0, 0.0, 0.0])
        assert rates(optimizer) == [0.1] * 6
    assert rates(optimizer, "weight_decay") == [0.2, 0.2, 0.2, 0.0, 0.0, 0.0]


def test_the_product_of_learning_rate_and_weight_decay_can_be_kept(optimizer, controller):
    controller.set({"one": 2.0, "two": 0.5}, keep_lr_times_wd=True)
    with controller.applied():
        assert rates(optimizer) == [0.1, 0.2, 0.05]
        assert rates(optimizer, "weight_decay") == [0.2, 0.1, 0.4]
        controller.set({"one": 3.0}, target="weight_decay")
        assert rates(optimizer, "weight_decay") == pytest.approx([0.2, 0.3, 0.4])
        controller.set({"one": 2.0})
        assert rates(optimizer, "weight_decay") == pytest.approx([0.2, 0.6, 0.2])


def test_set_replaces_all_multipliers_of_one_target(controller):
    assert controller.units() == controller.units("weight_decay") == ("one", "two")
    controller.set({"two": 4}, target="weight_decay")
    controller.set({"two": 3.0})
    assert controller.scales() == {"one": 1.0, "two": 3.0}
    assert controller.scales("weight_decay") == {"one": 1.0, "two": 4.0}


def test_a_state_survives_json_and_puts_the_same_multipliers_into_force(optimizer, controller):
    controller.set({"one": 0.1 + 0.2, "two": 1 / 3}, keep_lr_times_wd=True)
    controller.set({"two": 0.0}, target="weight_decay")
    state = json.loads(json.dumps(controller.state_dict()))
    other = OptimizerScale(optimizer_of(model_of(), torch.optim.AdamW, weight_decay=0.2))
    other.load_state_dict(state)
    assert other.state_dict() == controller.state_dict()
    with controller.applied(), other.applied():
        for key in ("lr", "weight_decay"):
            assert rates(other._optimizer, key) == rates(optimizer, key)


def test_under_accelerate_the_inner_optimizer_is_multiplied():
    from accelerate import Accelerator

    model = model_of()
    accelerator = Accelerator(cpu=True)
    inner = Watched(model.parameters(), lr=0.1)
    inner.seen = []
    model, optimizer = accelerator.prepare(model, inner)
    split_parameter_groups(optimizer, model, UNITS)
    OptimizerScale(optimizer).set({"one": 2.0, "two": 0.5})
    scheduler = accelerator.prepare(schedulers.ExponentialLR(optimizer, 0.5))
    for step in range(2):
        accelerator.backward(loss_of(model, step))
        optimizer.step()
        scheduler.step()
    assert inner.seen == [[0.1, 0.2, 0.05], [0.05, 0.1, 0.025]]


def test_a_checkpoint_of_the_optimizer_loads_into_a_new_one_and_training_goes_on_bit_for_bit():
    def fresh():
        model = model_of()
        optimizer = optimizer_of(model, torch.optim.AdamW)
        return model, optimizer, OptimizerScale(optimizer), schedulers.CosineAnnealingLR(optimizer, 20)

    def steps(model, optimizer, controller, scheduler, numbers):
        for step in numbers:
            controller.set(scales_at(7 * step))
            optimizer.zero_grad()
            backward(model, step)
            optimizer.step()
            scheduler.step()

    whole = fresh()
    steps(*whole, range(10))
    first = fresh()
    steps(*first, range(4))
    stored = [copy.deepcopy(part.state_dict()) for part in first]
    second = fresh()
    for part, state in zip(second, stored, strict=True):
        part.load_state_dict(state)
    assert second[2].scales() == first[2].scales()
    steps(*second, range(4, 10))
    assert equal(second[0].parameters(), whole[0].parameters())


def test_distributed_checkpoints_keep_the_tags_and_the_schedulers_values():
    from torch.distributed.checkpoint.state_dict import (
        StateDictOptions,
        get_optimizer_state_dict,
        set_optimizer_state_dict,
    )

    for flat in (False, True):
        options = StateDictOptions(flatten_optimizer_state_dict=flat)
        model, other = model_of(), model_of(1)
        optimizer, target = (optimizer_of(one, torch.optim.AdamW) for one in (model, other))
        OptimizerScale(optimizer).set({"one": 2.0})
        controller = OptimizerScale(target)
        trained(optimizer, model, 3)
        optimizer.param_groups[1]["lr"] = 0.4
        stored = get_optimizer_state_dict(model, optimizer, options=options)
        set_optimizer_state_dict(other, target, stored, options=options)
        assert rates(target) == [0.1, 0.4, 0.1]
        assert rates(target, UNIT) == ["", "one", "two"]
        controller.set({"one": 2.0})
        with controller.applied():
            assert rates(target) == [0.1, 0.8, 0.1]


DECAY_UNITS = {"1.weight": "weights", "2.weight": "weights", "0.bias": "first"}


def split_for_both(model, **options):
    """Groups, in turn: ('', ''), ('', first), (one, ''), (one, weights), (two, ''), (two, weights)."""
    optimizer = optimizer_of(model, torch.optim.AdamW, **{"weight_decay": 0.2, **options})
    split_parameter_groups(optimizer, model, DECAY_UNITS, target="weight_decay")
    return optimizer


def test_each_target_is_multiplied_by_its_own_units_as_groups_with_these_values_would_be():
    model, other = model_of(), model_of()
    optimizer = split_for_both(model)
    controller = OptimizerScale(optimizer)
    assert (controller.units(), controller.units("weight_decay")) == (("one", "two"), ("first", "weights"))
    of_rates, of_decays = {"one": 2.0, "two": 0.5}, {"first": 0.0, "weights": 3.0}
    controller.set(of_rates)
    controller.set(of_decays, target="weight_decay")
    plain = torch.optim.AdamW(
        [
            {
                "params": [parameter],
                "lr": 0.1 * of_rates.get(UNITS.get(name, ""), 1.0),
                "weight_decay": 0.2 * of_decays.get(DECAY_UNITS.get(name, ""), 1.0),
            }
            for name, parameter in other.named_parameters()
        ]
    )
    trained(optimizer, model, 5)
    trained(plain, other, 5)
    assert equal(model.parameters(), other.parameters())
    assert set(rates(optimizer)) == {0.1}
    assert set(rates(optimizer, "weight_decay")) == {0.2}


def test_the_product_is_kept_where_targets_have_their_own_units():
    optimizer = split_for_both(model_of())
    controller = OptimizerScale(optimizer)
    controller.set({"one": 2.0, "two": 0.5}, keep_lr_times_wd=True)
    controller.set({"weights": 3.0}, target="weight_decay")
    with controller.applied():
        assert rates(optimizer) == [0.1, 0.1, 0.2, 0.2, 0.05, 0.05]
        assert rates(optimizer, "weight_decay") == pytest.approx([0.2, 0.2, 0.1, 0.3, 0.4, 1.2])


def test_a_name_of_the_other_target_is_no_unit():
    controller = OptimizerScale(split_for_both(model_of()))
    with pytest.raises(InputError, match=r"1 of 1 units have no parameter group: 'weights'.* 'units\(\)' lists"):
        controller.set({"weights": 2.0})
    with pytest.raises(InputError, match="have no parameter group: 'one'"):
        controller.set({"one": 2.0}, target="weight_decay")


def test_states_of_controller_and_optimizer_know_both_targets():
    optimizer = split_for_both(model_of())
    controller = OptimizerScale(optimizer)
    controller.set({"one": 2.0})
    controller.set({"first": 3.0}, target="weight_decay")
    other = OptimizerScale(split_for_both(model_of()))
    other.load_state_dict(json.loads(json.dumps(controller.state_dict())))
    assert other.scales() == {"one": 2.0, "two": 1.0}
    assert other.scales("weight_decay") == {"first": 3.0, "weights": 1.0}
    stored = copy.deepcopy(optimizer.state_dict())
    stored["param_groups"][3][DECAY_UNIT] = "others"
    with pytest.raises(InputError, match="split otherwise, from group 3 on"):
        optimizer.load_state_dict(stored)


def test_after_a_step_that_broke_off_groups_are_split_with_the_schedulers_values():
    model = model_of()
    optimizer = optimizer_of(model, torch.optim.AdamW, weight_decay=0.2)
    controller = OptimizerScale(optimizer)
    controller.set({"one": 2.0, "two": 0.5})
    break_off(optimizer)
    split_for_target(optimizer, model, DECAY_UNITS, "weight_decay")
    assert rates(optimizer) == [0.1] * 6
    with controller.applied():
        assert rates(optimizer) == [0.1, 0.1, 0.2, 0.2, 0.05, 0.05]


def test_groups_are_split_further_inside_applied():
    model = model_of()
    optimizer = optimizer_of(model, weight_decay=0.2)
    controller = OptimizerScale(optimizer)
    controller.set({"one": 2.0, "two": 0.5})
    with controller.applied():
        split_for_target(optimizer, model, DECAY_UNITS, "weight_decay")
        assert rates(optimizer) == [0.1, 0.1, 0.2, 0.2, 0.05, 0.05]
    assert rates(optimizer) == [0.1] * 6


def test_tensor_rates_survive_a_second_split_with_multipliers_at_work():
    model = model_of()
    optimizer = optimizer_of(model, torch.optim.AdamW, lr=torch.tensor(0.1), weight_decay=0.2, foreach=False)
    controller = OptimizerScale(optimizer)
    controller.set({"one": 2.0})
    trained(optimizer, model, 1)
    split_for_target(optimizer, model, DECAY_UNITS, "weight_decay")
    assert len({id(group["lr"]) for group in optimizer.param_groups}) == 6
    trained(optimizer, model, 1)
    assert len({float(rate) for rate in rates(optimizer)}) == 1
    with controller.applied():
        assert [round(float(rate), 6) for rate in rates(optimizer)] == [0.1, 0.1, 0.2, 0.2, 0.1, 0.1]
