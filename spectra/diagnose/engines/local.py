"""Layers over the cores of this machine: worker threads with one BLAS thread each, longest layer first.

Two threads with one BLAS thread each beat one layer at a time on two BLAS threads by 1.3 (`performance.md`), and one
BLAS thread gives the same digits whatever the number of workers. How many run at once is a matter of memory, too.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from threadpoolctl import threadpool_limits

from spectra.diagnose.engines.admission import Admission

Job = TypeVar("Job")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    function: Callable[[Job], Result],
    jobs: Sequence[Job],
    *,
    cost: Callable[[Job], float],
    workers: int,
    need: Callable[[Job], int] = lambda job: 0,
    budget: int | None = None,
) -> Generator[tuple[Job, Result], None, None]:
    """Apply a function to jobs in parallel and yield results as they come.

    Args:
        function: Called in worker threads; an exception ends the run.
        jobs: In any order.
        cost: Relative duration of a job; the longest start first, so that none is left to run alone at the end.
        workers: Number of threads, at least 1.
        need: Bytes that a job takes while it runs.
        budget: Bytes of all jobs in flight together, at least the need of each. Default: no limit.

    Yields:
        Each job with its result, in order of completion. Leaving the loop early cancels what has not started.
    """
    admission = Admission(sorted(jobs, key=cost, reverse=True), need=need, budget=budget)
    executor = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="spectra")
    with threadpool_limits(limits=1):
        # Not wait(): it looks at all that are left each time, which for 30 000 experts took two minutes. No list of them is
        # kept here, so that a result goes when its taker lets it go.
        futures = as_completed([executor.submit(_next, admission, function) for _ in jobs])
        try:
            for future in futures:
                if (found := future.result()) is not None:
                    yield found
        finally:
            # Without waiting: a decomposition of minutes would hold an interrupted process.
            admission.close()
            executor.shutdown(wait=False, cancel_futures=True)


def _next(admission: Admission[Job], function: Callable[[Job], Result]) -> tuple[Job, Result] | None:
    taken = admission.take()
    if taken is None:
        return None
    job, need = taken
    try:
        return job, function(job)
    finally:
        admission.give_back(need)
