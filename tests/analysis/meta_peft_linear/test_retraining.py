import numpy as np
import pytest

from analysis.meta_peft_linear.linear import (
    Moments,
    draw_problem,
    moments_of,
    population_moments,
    reachable_risk,
    relative_error,
    sample_moments,
    singular_values,
    stack_problems,
)
from analysis.meta_peft_linear.retraining import (
    Adapters,
    Alternating,
    asymmetric_start,
    lora_start,
    retrain_jointly,
    retrain_lora_ml,
    retrain_standard,
    symmetric_start,
)

STARTS = {"symmetric": symmetric_start, "LoRA": lora_start}


def tasks_of(seeds, **shape):
    return stack_problems([draw_problem(seed, **shape) for seed in seeds])


def start_of(kind, shape, seed=0):
    return STARTS[kind](np.random.default_rng(seed), shape)


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    return rng.standard_normal((3, 30, 4)), rng.standard_normal((3, 30, 4))  # of 3 tasks


def autograd(samples, base, *factors, of):
    """Gradients of half the mean squared errors, added up over tasks; two factors, or one for both sides."""
    import torch

    inputs, outputs = map(torch.tensor, samples)
    base, *factors = (torch.tensor(one, requires_grad=True) for one in (base, *factors))
    matrices = base + factors[0] @ factors[-1].mT
    losses = (inputs @ matrices.mT - outputs).square().sum(-1).mean(-1) / 2
    return [one.numpy() for one in torch.autograd.grad(losses.sum(), [base, *factors][of])]


@pytest.mark.parametrize("kind", STARTS)
def test_steps_of_adapters_follow_autograd_over_the_samples(samples, kind):
    start = start_of(kind, (3, 4, 2))
    factors = (start.left,) if start.symmetric else (start.left, start.right)
    gradients = autograd(samples, np.zeros((4, 4)), *factors, of=slice(1, None))
    once = Alternating(rounds=1, inner_steps=1, adapter_learning_rate=0.1, base_learning_rate=0.0)
    _, adapters = retrain_lora_ml(moments_of(*samples), start, once)
    assert adapters.left == pytest.approx(start.left - 0.1 * gradients[0], rel=1e-10)
    assert adapters.right == pytest.approx(start.right - 0.1 * gradients[-1], rel=1e-10)
    assert adapters.symmetric == start.symmetric


def test_a_step_of_the_base_follows_autograd_over_the_samples_after_the_steps_of_the_adapters(samples):
    moments, start = moments_of(*samples), start_of("LoRA", (3, 4, 2))
    base, adapters = retrain_lora_ml(moments, start, Alternating(rounds=1, inner_steps=3, base_learning_rate=0.3))
    (gradient,) = autograd(samples, np.zeros((4, 4)), adapters.left, adapters.right, of=slice(0, 1))
    assert base == pytest.approx(-0.3 * gradient / 3, rel=1e-10)


def test_a_joint_step_follows_autograd_over_the_samples(samples):
    start = asymmetric_start(np.random.default_rng(0), (3, 4, 2))
    base, adapters = retrain_jointly(moments_of(*samples), start, num_steps=1, learning_rate=0.1)
    gradients = autograd(samples, np.zeros((4, 4)), start.left, start.right, of=slice(None))
    expected = [before - 0.1 * of for before, of in zip((0.0, start.left, start.right), gradients, strict=True)]
    for ours, theirs in zip((base, adapters.left, adapters.right), expected, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-10)


def test_seeds_in_a_batch_do_not_touch_each_other():
    problem, start = tasks_of(range(3), dim=4, num_tasks=3, rank=1), start_of("LoRA", (3, 3, 4, 1))
    short = Alternating(rounds=20)
    together, _ = retrain_lora_ml(population_moments(problem.tasks), start, short)
    for seed in range(3):
        alone, _ = retrain_lora_ml(
            population_moments(problem.tasks[seed]), Adapters(start.left[seed], start.right[seed]), short
        )
        assert together[seed] == pytest.approx(alone, rel=1e-12)


@pytest.mark.parametrize("kind", STARTS)
def test_three_tasks_recover_the_base(kind):
    problem = tasks_of(range(3), dim=10, num_tasks=3, rank=1)
    base, adapters = retrain_lora_ml(population_moments(problem.tasks), start_of(kind, (3, 3, 10, 1)))
    assert np.sqrt(relative_error(problem.base, base)) == pytest.approx(0.0, abs=1e-3)
    assert adapters.product == pytest.approx(problem.tasks - problem.base[:, None], abs=0.02)  # of entries up to about 7


@pytest.mark.parametrize("kind", STARTS)
def test_five_tasks_recover_the_base_in_a_fifth_of_the_rounds(kind):
    problem = tasks_of(range(4), dim=10, num_tasks=5, rank=1)
    base, _ = retrain_lora_ml(population_moments(problem.tasks), start_of(kind, (4, 5, 10, 1)), Alternating(rounds=600))
    assert np.sqrt(relative_error(problem.base, base)) == pytest.approx(0.0, abs=1e-3)


def test_samples_leave_an_error_of_the_size_of_their_noise():
    problem = tasks_of(range(3), dim=10, num_tasks=5, rank=1)
    tasks = sample_moments(problem.tasks, 2000, 0.1, np.random.default_rng(0))
    base, _ = retrain_lora_ml(tasks, start_of("symmetric", (3, 5, 10, 1)), Alternating(rounds=600))
    # About sigma^2 / (N T) an entry, 1e-6, over squared entries of 0.5 and more: no more than a few times this.
    assert relative_error(problem.base, base) == pytest.approx(0.0, abs=1e-5)


def test_joint_descent_recovers_the_base_too():
    problem = tasks_of(range(3), dim=10, num_tasks=5, rank=1)
    base, _ = retrain_jointly(population_moments(problem.tasks), start_of("LoRA", (3, 5, 10, 1)), num_steps=6000)
    assert np.sqrt(relative_error(problem.base, base)) == pytest.approx(0.0, abs=1e-3)


def test_standard_retraining_is_least_squares_over_all_samples(samples):
    inputs, outputs = (one.reshape(-1, 4) for one in samples)
    expected = np.linalg.lstsq(inputs, outputs)[0].T
    assert retrain_standard(moments_of(*samples)) == pytest.approx(expected, rel=1e-10)


@pytest.mark.parametrize("num_tasks", [3, 5])
def test_the_error_of_standard_retraining_is_the_mean_of_the_task_matrices(num_tasks):
    problem = draw_problem(0, dim=10, num_tasks=num_tasks, rank=1)
    mean = (problem.tasks - problem.base).mean(axis=0)
    assert retrain_standard(population_moments(problem.tasks)) - problem.base == pytest.approx(mean, abs=1e-12)
    sampled = sample_moments(problem.tasks, 20_000, 0.1, np.random.default_rng(0))
    # Rows in which tasks differ, of norms up to 8, meet the sampling error of the inputs' moments, 0.007 an entry.
    assert retrain_standard(sampled) - problem.base == pytest.approx(mean, abs=0.2)


@pytest.mark.parametrize("num_tasks", [2, 3, 5])
def test_only_the_rank_of_all_tasks_rescues_standard_retraining(num_tasks):
    problem = draw_problem(0, dim=10, num_tasks=num_tasks, rank=1)
    risks = reachable_risk(problem.new_task, retrain_standard(population_moments(problem.tasks)))
    assert risks[num_tasks] > 0.01
    assert risks[num_tasks + 1] == pytest.approx(0.0, abs=1e-12)


def test_adapters_of_too_high_a_rank_leave_that_much_of_the_base_wrong():
    problem = tasks_of(range(2), dim=10, num_tasks=5, rank=1)
    base, _ = retrain_lora_ml(population_moments(problem.tasks), start_of("symmetric", (2, 5, 10, 2)), Alternating(rounds=1000))
    values = singular_values(base - problem.base)
    assert (values[:, 0] > 0.5).all()
    assert values[:, 1:] == pytest.approx(0.0, abs=0.01)


def test_lora_begins_at_nothing_and_moves_its_zero_side_first():
    start = start_of("LoRA", (2, 5, 3))
    assert not start.product.any()
    assert np.abs(start.right).max() <= 1 / np.sqrt(5)
    moved = start.descended(np.ones((2, 5, 5)), 0.1)
    assert moved.left.any()
    assert (moved.right == start.right).all()


def test_moments_keep_leading_dimensions():
    moments = Moments(np.ones((7, 3, 4, 4)), np.zeros((7, 3, 4, 4)))
    assert moments.gradient(np.ones((4, 4))).shape == (7, 3, 4, 4)
