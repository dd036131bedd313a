import numpy as np
import pytest

from analysis.meta_peft_linear.fine_tuning import LEARNING_RATE, fine_tune
from analysis.meta_peft_linear.linear import draw_problem, excess_risk, moments_of, population_moments, reachable_risk
from analysis.meta_peft_linear.retraining import asymmetric_start, retrain_standard


def start_of(rank, dim=10):
    return asymmetric_start(np.random.default_rng(0), (dim, rank))


def test_a_step_follows_autograd_over_the_samples():
    import torch

    rng = np.random.default_rng(1)
    inputs, outputs, base, start = rng.standard_normal((9, 4)), rng.standard_normal((9, 4)), np.eye(4), start_of(2, dim=4)
    left, right = (torch.tensor(side, requires_grad=True) for side in (start.left, start.right))
    matrix = torch.tensor(base) + left @ right.T
    ((torch.tensor(inputs) @ matrix.T - torch.tensor(outputs)).square().sum(1).mean() / 2).backward()
    stepped = (left - LEARNING_RATE * left.grad) @ (right - LEARNING_RATE * right.grad).T
    (learned,) = fine_tune(base, moments_of(inputs, outputs), start, [1])
    assert learned == pytest.approx(base + stepped.detach().numpy(), rel=1e-12)


def test_steps_are_counted_from_the_start():
    problem = draw_problem(0, dim=10, num_tasks=3, rank=1)
    task = population_moments(problem.new_task)
    *_, late = fine_tune(problem.base, task, start_of(1), [3, 10, 50])
    (at_once,) = fine_tune(problem.base, task, start_of(1), [50])
    assert (late == at_once).all()


@pytest.mark.parametrize("rank", [1, 2, 3, 4])
def test_descent_finds_the_best_adapter_of_a_rank(rank):
    problem = draw_problem(0, dim=10, num_tasks=3, rank=1)
    base = retrain_standard(population_moments(problem.tasks))
    (learned,) = fine_tune(base, population_moments(problem.new_task), start_of(rank), [10_000])
    best = reachable_risk(problem.new_task, base)[rank]
    assert excess_risk(problem.new_task, learned) == pytest.approx(best, rel=1e-4, abs=1e-4)  # the tail of the descent


def test_the_rank_of_all_tasks_rescues_standard_retraining():
    problem = draw_problem(0, dim=10, num_tasks=3, rank=1)
    base = retrain_standard(population_moments(problem.tasks))
    (low,), (high,) = (fine_tune(base, population_moments(problem.new_task), start_of(rank), [10_000]) for rank in (1, 4))
    assert excess_risk(problem.new_task, low) > 1.0
    assert excess_risk(problem.new_task, high) < 1e-3
