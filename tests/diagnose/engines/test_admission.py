"""Jobs in flight never take more than the memory there is; longer ones first, smaller ones may overtake."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.diagnose.engines import local
from spectra.diagnose.engines.admission import Admission, first_that_fits


@pytest.mark.parametrize(("free", "place"), [(None, 0), (9, 0), (8, 1), (3, 2), (1, None)])
def test_the_first_job_that_fits_is_chosen(free, place):
    assert first_that_fits([("a", 9), ("b", 5), ("c", 2)], free) == place


def test_a_smaller_job_overtakes_one_that_waits_for_memory():
    admission = Admission([6, 5, 3, 1], need=int, budget=10)
    assert [admission.take(), admission.take(), admission.take()] == [(6, 6), (3, 3), (1, 1)]
    admission.give_back(6)
    assert admission.take() == (5, 5)
    assert admission.take() is None


def test_who_waits_when_it_closes_gets_nothing():
    admission = Admission([2, 2], need=int, budget=2)
    admission.take()
    taken = []
    waiting = threading.Thread(target=lambda: taken.append(admission.take()))
    waiting.start()
    admission.close()
    waiting.join(timeout=10)
    assert taken == [None]


@settings(max_examples=50, deadline=None)
@given(
    needs=st.lists(st.integers(0, 100), max_size=30),
    spare=st.integers(0, 200),
    workers=st.integers(1, 6),
)
def test_no_more_is_in_flight_than_the_budget_and_every_job_runs_once(needs, spare, workers):
    budget = max(needs, default=0) + spare
    lock, in_flight, most = threading.Lock(), [0, 0], [0, 0]

    def work(job):
        for change in (1, -1):
            with lock:
                in_flight[0] += change * job[1]
                in_flight[1] += change
                most[:] = map(max, most, in_flight)
            time.sleep(0)  # lets the others run

    jobs = list(enumerate(needs))
    done = list(local.run(work, jobs, cost=lambda job: job[1], workers=workers, need=lambda job: job[1], budget=budget))
    assert sorted(job for job, _ in done) == jobs
    assert most[0] <= budget
    assert most[1] <= workers


def test_jobs_run_side_by_side_where_they_fit():
    # Both must be under way at once: each waits for the other.
    met = threading.Barrier(2)
    done = local.run(lambda job: met.wait(timeout=30), [1, 2], cost=float, workers=2, need=int, budget=3)
    assert sorted(arrived for _, arrived in done) == [0, 1]  # a barrier numbers who waits at it


def test_jobs_run_one_after_the_other_where_they_do_not():
    at_work, together = [], []

    def work(job):
        at_work.append(job)
        together.append(len(at_work))
        for _ in range(100):
            time.sleep(0)  # lets the others run
        at_work.remove(job)

    list(local.run(work, [3, 2, 2, 3], cost=float, workers=4, need=int, budget=3))
    assert together == [1] * 4


def test_memory_comes_back_from_a_job_that_fails():
    def fail_first(job):
        if job == 5:
            raise RuntimeError("first")
        return job

    run = local.run(fail_first, [5, 4], cost=float, workers=1, need=int, budget=5)
    with pytest.raises(RuntimeError, match="first"):
        list(run)


def test_leaving_early_ends_workers_that_wait_for_memory():
    before = threading.active_count()
    run = local.run(lambda job: job, [3, 3, 3, 3], cost=float, workers=3, need=int, budget=3)
    next(run)
    run.close()
    for thread in threading.enumerate():
        if thread.name.startswith("spectra"):
            thread.join(timeout=10)
    assert threading.active_count() <= before
