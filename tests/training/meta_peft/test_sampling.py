"""Every row as often as promised, the same tasks on all processes, and probabilities as asked for."""

from collections import Counter
from itertools import islice, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.utils.data import DataLoader

from spectra.errors import InputError
from spectra.training.meta_peft.sampling import Part, StepSampler

SAMPLINGS = ("round_robin", "proportional", "uniform", "temperature")


@st.composite
def arguments(draw, on_exhausted=(None, "drop", "restart")):
    sizes = draw(st.lists(st.integers(1, 12), min_size=1, max_size=4))
    sampling = draw(st.sampled_from(SAMPLINGS))
    return {
        "sizes": sizes,
        "batch_size": draw(st.integers(3, 6)),
        "tasks_per_step": draw(st.integers(1, len(sizes))),
        "sampling": sampling,
        "temperature": draw(st.sampled_from([0.5, 3.0])) if sampling == "temperature" else 1.0,
        "on_exhausted": draw(st.sampled_from(on_exhausted)),
        "seed": draw(st.integers(0, 5)),
    }


def of_epoch(sampler, epoch):
    sampler.set_epoch(epoch)
    return list(sampler)


def tasks_of(steps):
    return [tuple(part.task for part in step) for step in steps]


@given(given=arguments(on_exhausted=("drop",)), epoch=st.integers(0, 3))
@settings(deadline=None)
def test_an_epoch_that_drops_takes_every_row_of_every_task_once(given, epoch):
    rows = [(part.task, row) for step in of_epoch(StepSampler(**given), epoch) for part in step for row in part.indices]
    assert sorted(rows) == [(task, row) for task, size in enumerate(given["sizes"]) for row in range(size)]


@given(given=arguments(), epoch=st.integers(0, 3), num_processes=st.integers(1, 3))
@settings(deadline=None)
def test_processes_share_the_rows_of_every_part_and_average_to_its_mean(given, epoch, num_processes):
    value = np.random.default_rng(0).standard_normal((4, 12))
    ranks = [of_epoch(StepSampler(**given, rank=rank, num_processes=num_processes), epoch) for rank in range(num_processes)]
    for whole, *shared in zip(of_epoch(StepSampler(**given), epoch), *ranks, strict=True):
        for part, *of_ranks in zip(whole, *shared, strict=True):
            assert {own.task for own in of_ranks} == {part.task}
            assert sorted(row for own in of_ranks if own.share for row in own.indices) == sorted(part.indices)
            assert all(own.indices for own in of_ranks)
            means = [own.share * value[own.task, list(own.indices)].mean() for own in of_ranks]
            # a dozen additions of numbers around 1 in float64
            np.testing.assert_allclose(np.mean(means), value[part.task, list(part.indices)].mean(), atol=1e-13)


@given(given=arguments(), epoch=st.integers(0, 3), number=st.integers(0, 6))
@settings(deadline=None)
def test_steps_are_the_same_again_whatever_was_taken_before(given, epoch, number):
    used = StepSampler(**given)
    of_epoch(used, epoch + 1)
    used.set_epoch(epoch)
    first = list(islice(used, number))
    assert first == of_epoch(StepSampler(**given), epoch)[:number]
    assert len(used) == len(list(used))


@given(given=arguments(), epoch=st.integers(0, 3))
@settings(deadline=None)
def test_tasks_of_a_step_are_different_and_as_many_as_asked_for_or_left(given, epoch):
    left = Counter({task: -(-size // given["batch_size"]) for task, size in enumerate(given["sizes"])})
    drops = given["on_exhausted"] == "drop"
    for tasks in tasks_of(of_epoch(StepSampler(**given | {"on_exhausted": given["on_exhausted"] or "restart"}), epoch))[:-1]:
        assert len(set(tasks)) == len(tasks) == min(given["tasks_per_step"], len(+left) if drops else len(given["sizes"]))
        left -= Counter(tasks) if drops else Counter()


def test_tasks_come_in_turn_until_they_are_seen_whole():
    steps = list(StepSampler([5, 2, 4], batch_size=2))
    assert tasks_of(steps) == [(0,), (1,), (2,), (0,), (2,), (0,)]
    assert [len(part.indices) for (part,) in steps] == [2, 2, 2, 2, 2, 1]


@pytest.mark.parametrize(
    ("number", "expected"),
    [(2, [(0, 1), (2, 0), (2, 0)]), (3, [(0, 1, 2), (0, 2), (0,)])],
    ids=["two", "all"],
)
def test_groups_of_tasks_follow_one_another(number, expected):
    assert tasks_of(StepSampler([5, 2, 4], batch_size=2, tasks_per_step=number)) == expected


def test_round_robin_with_restart_takes_all_tasks_as_often_as_the_longest():
    steps = list(StepSampler([5, 2, 3], batch_size=2, on_exhausted="restart"))
    assert tasks_of(steps) == [(0,), (1,), (2,)] * 3
    assert sorted(row for (part,) in steps if part.task == 0 for row in part.indices) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize(("number", "expected"), [(1, 8), (2, 4), (3, 3)])
def test_draws_that_restart_take_as_many_batches_as_all_tasks_have(number, expected):
    assert len(StepSampler([10, 3, 1], 2, tasks_per_step=number, sampling="uniform")) == expected


def test_a_task_that_begins_again_is_in_a_new_order():
    rows = [part.indices for (part, _) in StepSampler([9, 900], 9, tasks_per_step=2, on_exhausted="restart")]
    assert all(sorted(order) == list(range(9)) for order in rows)
    assert len(set(rows)) == len(rows) == 100  # of 9! orders


def test_epochs_and_seeds_have_orders_of_their_own():
    orders = [
        tuple(part.indices for (part,) in of_epoch(StepSampler([9, 9], 9, seed=seed), epoch))
        for seed in (0, 1)
        for epoch in (0, 1)
    ]
    assert len({order for pair in orders for order in pair}) == 8


@pytest.mark.parametrize(
    ("sampling", "temperature", "weights"),
    [
        ("proportional", 1.0, [10, 30, 60]),
        ("uniform", 1.0, [1, 1, 1]),
        ("temperature", 2.0, [10**0.5, 30**0.5, 60**0.5]),
        ("temperature", float("inf"), [1, 1, 1]),
    ],
)
def test_pairs_are_drawn_as_one_after_the_other_without_replacement(sampling, temperature, weights):
    sampler = StepSampler([10, 30, 60], 1, tasks_per_step=2, sampling=sampling, temperature=temperature)
    counts = Counter(tasks for epoch in range(100) for tasks in tasks_of(of_epoch(sampler, epoch)))
    number, p = counts.total(), np.array(weights) / sum(weights)
    assert number == 5000
    for first, second in permutations(range(3), 2):
        expected = p[first] * p[second] / (1 - p[first])
        # five standard deviations of a share of 5000 draws
        assert abs(counts[first, second] / number - expected) < 5 * np.sqrt(expected * (1 - expected) / number)


def test_a_low_temperature_draws_the_largest_tasks_only():
    sampler = StepSampler([8, 20, 9], 4, tasks_per_step=2, sampling="temperature", temperature=1e-320)
    assert {tasks[0] for tasks in tasks_of(sampler)} == {1}


def test_one_task_a_step_that_drops_has_as_many_steps_as_batches_whatever_is_drawn():
    assert {len(list(StepSampler([7, 2], 2, sampling="uniform", on_exhausted="drop", seed=seed))) for seed in range(9)} == {5}


@given(given=arguments(), epoch=st.integers(1, 5))
@settings(deadline=None)
def test_all_epochs_are_as_long(given, epoch):
    sampler = StepSampler(**given | {"batch_size": 1})
    first = len(sampler)
    assert len(of_epoch(sampler, epoch)) == len(sampler) == first


def test_where_the_length_depends_on_the_draws_epochs_share_tasks_and_not_rows():
    def steps(seed, epoch):
        return of_epoch(StepSampler([8, 3, 3], 1, tasks_per_step=2, sampling="uniform", on_exhausted="drop", seed=seed), epoch)

    of_seeds = [[steps(seed, epoch) for epoch in range(3)] for seed in range(9)]
    for first, second, third in of_seeds:
        assert tasks_of(first) == tasks_of(second) == tasks_of(third)
        assert first != second != third != first
    assert len({len(first) for first, _, _ in of_seeds}) > 1


def test_one_task_a_step_is_drawn_anew_in_every_epoch():
    sampler = StepSampler([9, 9], 1, sampling="uniform", on_exhausted="drop")
    assert tasks_of(of_epoch(sampler, 0)) != tasks_of(of_epoch(sampler, 1))


def test_a_loader_takes_steps_as_batches():
    class Rows:
        def __getitem__(self, part):
            return [f"{part.task}:{row}" for row in part.indices]

    loader = DataLoader(Rows(), batch_sampler=StepSampler([3, 2], 2, tasks_per_step=2), collate_fn=list)
    assert [[len(rows) for rows in step] for step in loader] == [[2, 2], [1]]
    assert len(loader) == 2


def test_a_process_without_a_row_takes_one_that_counts_nothing():
    first, second = (next(iter(StepSampler([1], 4, rank=rank, num_processes=2))) for rank in (0, 1))
    assert first == [Part(task=0, indices=(0,), share=2.0)]
    assert second == [Part(task=0, indices=(0,), share=0.0)]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"sizes": []}, "sizes: expected at least one task"),
        ({"sizes": [3, 0, 2, 0]}, r"sizes: no rows in task 1, 3 \(counted from 0\)"),
        ({"tasks_per_step": 3}, "tasks_per_step: expected 1 to 2, the number of tasks, got 3"),
        ({"tasks_per_step": 0}, "tasks_per_step: expected 1 to 2, the number of tasks, got 0"),
        ({"batch_size": 0}, "batch_size: expected at least 1, a row for each process, got 0"),
        ({"num_processes": 3}, "batch_size: expected at least 3, a row for each process, got 2"),
        ({"num_processes": 0}, "num_processes: expected at least 1, got 0"),
        ({"rank": 1}, "rank: expected 0 to 0, got 1"),
        ({"sampling": "temperature", "temperature": 0.0}, "temperature: expected a number above 0, got 0.0"),
        ({"sampling": "temperature", "temperature": float("nan")}, "temperature: expected a number above 0, got nan"),
        ({"temperature": 2.0}, "temperature: counts with sampling 'temperature' only, got sampling 'round_robin'"),
        ({"seed": -1}, "seed: expected at least 0, got -1"),
        ({"sampling": "round-robin"}, "unknown sampling 'round-robin'. Did you mean 'round_robin'?"),
        ({"on_exhausted": "dropped"}, "unknown on_exhausted 'dropped'. Did you mean 'drop'?"),
    ],
    ids=lambda value: "" if isinstance(value, str) else ", ".join(value),
)
def test_what_cannot_be_is_refused(changes, message):
    with pytest.raises(InputError, match=message):
        StepSampler(**{"sizes": [3, 2], "batch_size": 2} | changes)


def test_all_faults_are_named_at_once():
    with pytest.raises(InputError, match=r"batch_size: .* seed: "):
        StepSampler([3], 0, seed=-1)
