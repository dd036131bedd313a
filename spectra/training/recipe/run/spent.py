"""Where the time of a run goes."""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager


class Spent:
    """Seconds by what they were spent on.

    Args:
        clock: Seconds from any moment on.
    """

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._clock = clock

    @contextmanager
    def on(self, what: str) -> Iterator[None]:
        """Time something.

        Args:
            what: Its name.

        Yields:
            Nothing, while it lasts.
        """
        began = self._clock()
        try:
            yield
        finally:
            self.seconds[what] += self._clock() - began

    def add(self, seconds: Mapping[str, float]) -> None:
        """Count what others have timed."""
        for what, number in seconds.items():
            self.seconds[what] += number
