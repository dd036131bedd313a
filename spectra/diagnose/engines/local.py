"""Layers over the cores of this machine: worker threads with one BLAS thread each, longest layer first.

Two threads with one BLAS thread each beat one layer at a time on two BLAS threads by 1.3 (`performance.md`), and one
BLAS thread gives the same digits whatever the number of workers.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import TypeVar

from threadpoolctl import threadpool_limits

Job = TypeVar("Job")
Result = TypeVar("Result")


def usable_cores() -> int:
    """Return how many cores this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def run(
    function: Callable[[Job], Result], jobs: Sequence[Job], *, cost: Callable[[Job], float], workers: int
) -> Generator[tuple[Job, Result], None, None]:
    """Apply a function to jobs in parallel and yield results as they come.

    Args:
        function: Called in worker threads; an exception ends the run.
        jobs: In any order.
        cost: Relative duration of a job; the longest start first, so that none is left to run alone at the end.
        workers: Number of threads, at least 1.

    Yields:
        Each job with its result, in order of completion. Leaving the loop early cancels what has not started.
    """
    ordered = sorted(jobs, key=cost, reverse=True)
    executor = ThreadPoolExecutor(max_workers=max(1, workers), thread_name_prefix="spectra")
    with threadpool_limits(limits=1):
        futures: dict[Future[Result], Job] = {executor.submit(function, job): job for job in ordered}
        try:
            while futures:
                done, _ = wait(futures, return_when=FIRST_COMPLETED)
                for future in done:
                    yield futures.pop(future), future.result()
        finally:
            # Without waiting: a decomposition of minutes would hold an interrupted process.
            executor.shutdown(wait=False, cancel_futures=True)
