"""What a batch of networks computes, what its problems share, and what adapters in retraining give."""

from dataclasses import replace

import pytest
import torch

from analysis.meta_peft_two_layer.network import draw, fine_tune, loss, retrain

SMALL = {"tasks": 2, "width": 4, "rank": 1, "largest_rank": 3, "retraining": 12, "few": 8}


def double(of):
    """The same in float64, where sums in another order agree to many digits."""
    if isinstance(of, torch.Tensor):
        return of.double()
    return replace(of, **{name: double(getattr(of, name)) for name in of.__dataclass_fields__})


def test_the_loss_is_that_of_a_plain_loop():
    problem = double(draw([0, 1], **SMALL))
    found = loss(problem.start.first[:, None], problem.start.second, problem.retraining)
    for network in range(2):
        first, second = problem.start.first[network], problem.start.second[network]
        for task in range(2):
            inputs, targets = problem.retraining.inputs[network, task], problem.retraining.targets[network, task]
            errors = [float(second @ torch.sigmoid(first @ x) - y) ** 2 for x, y in zip(inputs.T, targets, strict=True)]
            assert float(found[network, task]) == pytest.approx(sum(errors) / len(errors), rel=1e-12)


def test_a_step_follows_the_gradients_of_finite_differences():
    problem = double(draw([3], **SMALL))
    moved, _ = retrain(problem.start, problem.retraining, None, epochs=1, every=1)
    step, decay = 1e-3, 1.0 - 1e-3 * 0.01  # AdamW's first step is the sign of the gradient

    def value(entry, by):
        first = problem.start.first.clone()
        first.view(-1)[entry] += by
        return float(loss(first[:, None], problem.start.second, problem.retraining).sum())

    for entry in range(16):
        slope = (value(entry, 1e-5) - value(entry, -1e-5)) / 2e-5
        expected = float(problem.start.first.view(-1)[entry]) * decay - step * slope / abs(slope)
        # Adam's epsilon of 1e-8 beside gradients of 1e-3 and more: a step is short by 1e-5 of itself at most.
        assert float(moved.first.view(-1)[entry]) == pytest.approx(expected, abs=1e-7)


@pytest.mark.parametrize("adapters", [True, False], ids=["LoRA-ML", "SR"])
def test_a_batch_is_as_many_single_runs(adapters):
    def trained(problem):
        down = problem.retraining_down if adapters else None
        base, losses = retrain(problem.start, problem.retraining, down, epochs=30, every=10)
        down = problem.fine_tuning_down[:, :, :2]
        risks = fine_tune(base, problem.few, problem.fresh, down, epochs=30, every=10)
        return base.first, base.second, losses.values.T, risks.values.T

    together = trained(double(draw([5, 6, 7], **SMALL)))
    alone = [trained(double(draw([seed], **SMALL))) for seed in (5, 6, 7)]
    for whole, parts in zip(together, zip(*alone, strict=True), strict=True):
        # float64: sums in another order; early steps of Adam hardly depend on the size of a gradient.
        torch.testing.assert_close(whole, torch.cat(parts), rtol=1e-9, atol=1e-11)


def test_adapters_that_start_at_zero_change_nothing_before_the_first_step():
    problem = draw([0, 1], **SMALL)
    traces = [
        retrain(problem.start, problem.retraining, down, epochs=0, every=1)[1] for down in (problem.retraining_down, None)
    ]
    assert torch.equal(traces[0].values, traces[1].values)


def test_the_base_is_frozen_in_fine_tuning_and_the_start_in_retraining():
    problem = draw([0], **SMALL)
    before = [layer.clone() for layer in (problem.start.first, problem.start.second, problem.fine_tuning_down)]
    retrain(problem.start, problem.retraining, problem.retraining_down, epochs=3, every=1)
    fine_tune(problem.start, problem.few, problem.fresh, problem.fine_tuning_down, epochs=3, every=1)
    after = [problem.start.first, problem.start.second, problem.fine_tuning_down]
    assert all(torch.equal(*pair) for pair in zip(before, after, strict=True))


def test_more_tasks_add_to_the_same_problem():
    few, many = draw([4], **SMALL), draw([4], **SMALL | {"tasks": 5})
    assert torch.equal(many.retraining.inputs[:, :2], few.retraining.inputs)
    assert torch.equal(many.retraining_down[:, :2], few.retraining_down)
    for name in ("truth", "start"):
        assert torch.equal(getattr(many, name).first, getattr(few, name).first)
    assert torch.equal(many.fresh.targets, few.fresh.targets)


def test_an_adapter_of_the_rank_of_the_tasks_takes_the_truth_to_the_new_one():
    problem = draw([2, 3], **SMALL | {"width": 3})
    trace = fine_tune(problem.truth, problem.fresh, problem.fresh, problem.fine_tuning_down[:, :, :1], epochs=2000, every=2000)
    # Such an adapter is there, and without noise nothing need be left; not every seed finds it as soon as these.
    assert bool((trace.values[-1] < 1e-3 * trace.values[0]).all())


def test_a_trace_has_the_start_and_the_end():
    problem = draw([0], **SMALL)
    _, trace = retrain(problem.start, problem.retraining, None, epochs=7, every=3)
    assert trace.epochs == (0, 3, 6, 7)


def test_adapters_in_retraining_fit_three_tasks_that_one_network_cannot(monkeypatch):
    monkeypatch.setattr("analysis.meta_peft_two_layer.network.LEARNING_RATE", 1e-2)  # ten times that: a tenth of the epochs
    problem = draw(range(3), tasks=3, width=6, rank=1, largest_rank=1, retraining=100, few=1)
    losses = {
        arm: retrain(problem.start, problem.retraining, down, epochs=1500, every=1500)[1].values[-1].mean()
        for arm, down in (("LoRA-ML", problem.retraining_down), ("SR", None))
    }
    assert losses["SR"] > 10.0 * losses["LoRA-ML"]  # 14 times was measured
