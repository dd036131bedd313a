import numpy as np
import pytest

from analysis.meta_peft_linear.linear import (
    draw_problem,
    excess_risk,
    moments_of,
    population_moments,
    reachable_risk,
    relative_error,
    sample_moments,
    stack_problems,
)


def test_the_gradient_of_the_moments_is_that_of_the_samples():
    import torch

    rng = np.random.default_rng(0)
    inputs, outputs, matrix = rng.standard_normal((7, 4)), rng.standard_normal((7, 4)), rng.standard_normal((4, 4))
    weight = torch.tensor(matrix, requires_grad=True)
    residual = torch.tensor(inputs) @ weight.T - torch.tensor(outputs)
    (residual.square().sum(1).mean() / 2).backward()
    assert moments_of(inputs, outputs).gradient(matrix) == pytest.approx(weight.grad.numpy(), rel=1e-12)


def test_moments_of_many_samples_come_near_those_of_the_population():
    tasks = draw_problem(0, dim=4, num_tasks=3, rank=1).tasks
    sampled = sample_moments(tasks, 100_000, 0.1, np.random.default_rng(0))
    whole = sample_moments(tasks, None, 0.1, np.random.default_rng(0))
    # Standard errors: sqrt(2 / N) = 0.005 of an entry of the inputs; of outputs, up to the norm of a task's row (8) times that.
    assert sampled.inputs == pytest.approx(whole.inputs, abs=0.02)
    assert sampled.outputs == pytest.approx(whole.outputs, abs=0.15)


def test_the_population_is_what_noise_free_samples_of_unit_inputs_give():
    task = draw_problem(3, dim=4, num_tasks=1, rank=1).new_task
    inputs = 2.0 * np.eye(4)  # X^T X / N = 1
    for ours, expected in zip(_sides(population_moments(task)), _sides(moments_of(inputs, inputs @ task.T)), strict=True):
        assert ours == pytest.approx(expected, abs=1e-12)


def test_tasks_differ_from_the_base_by_matrices_of_the_rank():
    problem = draw_problem(1, dim=6, num_tasks=2, rank=2)
    differences = [*(problem.tasks - problem.base), problem.new_task - problem.base]
    assert [np.linalg.matrix_rank(one) for one in differences] == [2, 2, 2]
    assert problem.base == pytest.approx(problem.base.T)


def test_settings_of_a_seed_are_cut_out_of_one_problem():
    small, large = draw_problem(5, dim=5, num_tasks=2, rank=1), draw_problem(5, dim=20, num_tasks=10, rank=3)
    assert (small.base == large.base[:5, :5]).all()
    assert (small.factors[:2] == large.factors[:2, :5, :1]).all()
    assert (small.factors[-1] == large.factors[-1, :5, :1]).all()


def test_problems_side_by_side_are_what_they_are_alone():
    one, other = (draw_problem(seed, dim=4, num_tasks=2, rank=1) for seed in (0, 1))
    both = stack_problems([one, other])
    assert both.tasks == pytest.approx(np.stack([one.tasks, other.tasks]), rel=1e-12)
    assert both.new_task == pytest.approx(np.stack([one.new_task, other.new_task]), rel=1e-12)


def test_the_excess_risk_is_the_error_on_fresh_inputs():
    rng = np.random.default_rng(0)
    task, matrix = rng.standard_normal((2, 3, 3))
    inputs = rng.standard_normal((200_000, 3))
    measured = np.square(inputs @ (task - matrix).T).sum(1).mean()
    assert excess_risk(task, matrix) == pytest.approx(measured, rel=0.02)  # standard error 0.3 %
    assert relative_error(task, 0.9 * task) == pytest.approx(0.01)


def test_what_a_rank_can_reach_is_what_the_best_of_it_leaves():
    rng = np.random.default_rng(0)
    task, base = rng.standard_normal((2, 5, 5))
    u, s, vt = np.linalg.svd(task - base)
    expected = [excess_risk(task, base + (u[:, :rank] * s[:rank]) @ vt[:rank]) for rank in range(6)]
    assert reachable_risk(task, base) == pytest.approx(expected, abs=1e-12)


def _sides(moments):
    return moments.inputs, moments.outputs
