"""Which job starts next: the longest that still fits into the memory; a smaller one may overtake a larger one that waits."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from typing import Generic, TypeVar

Job = TypeVar("Job")


def first_that_fits(waiting: Sequence[tuple[Job, int]], free: int | None) -> int | None:
    """Choose the next job.

    Args:
        waiting: Jobs with the bytes that they need, in the order of preference.
        free: Bytes; ``None``: as many as there are.

    Returns:
        The place of the first that fits; ``None`` if none does.
    """
    return next((place for place, (_, need) in enumerate(waiting) if free is None or need <= free), None)


class Admission(Generic[Job]):
    """Hands jobs to worker threads while their memory lasts.

    Args:
        jobs: In the order of preference.
        need: Bytes that a job takes. No job may need more than there are: it would wait for ever.
        budget: Bytes of all jobs in flight together; ``None``: any number.
    """

    def __init__(self, jobs: Sequence[Job], *, need: Callable[[Job], int], budget: int | None) -> None:
        self._waiting = [(job, need(job) if budget is not None else 0) for job in jobs]
        self._free = budget
        self._changed = threading.Condition()

    def take(self) -> tuple[Job, int] | None:
        """Wait until some job fits, and take it.

        Returns:
            The job, and what to give back after it; ``None`` once no job is left, or after :meth:`close`.
        """
        with self._changed:
            while self._waiting:
                place = first_that_fits(self._waiting, self._free)
                if place is not None:
                    job, need = self._waiting.pop(place)
                    if self._free is not None:
                        self._free -= need
                    return job, need
                self._changed.wait()
            return None

    def give_back(self, need: int) -> None:
        """Return the memory of a job that is done."""
        with self._changed:
            if self._free is not None:
                self._free += need
            self._changed.notify_all()

    def close(self) -> None:
        """Hand out no more jobs, and wake who waits for one."""
        with self._changed:
            self._waiting.clear()
            self._changed.notify_all()
