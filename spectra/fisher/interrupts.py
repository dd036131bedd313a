"""Ctrl-C between batches: a batch is added whole or not at all, so that a run can be continued where it stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from spectra.errors import Terminated


class Interrupts:
    """Remembers that the user wants to stop."""

    def __init__(self) -> None:
        self._number: int | None = None

    @property
    def wanted(self) -> bool:
        """Whether a signal came."""
        return self._number is not None

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember a signal; the second one stops at once, by its own number."""
        is_second, self._number = self.wanted, number
        if is_second:
            raise self.interrupt()

    def interrupt(self) -> KeyboardInterrupt:
        """Return what to raise where it is time to stop: by its signal, if it came to this process and not to others alone."""
        return Terminated() if self._number == signal.SIGTERM else KeyboardInterrupt()


@contextmanager
def deferred_interrupts() -> Iterator[Interrupts]:
    """Let SIGINT and SIGTERM set a flag instead of raising anywhere; the handlers found are put back.

    Yields:
        The flag. Outside the main thread, where handlers cannot be set, it stays down.
    """
    interrupts = Interrupts()
    if threading.current_thread() is not threading.main_thread():
        yield interrupts
        return
    found: dict[signal.Signals, Any] = {}
    try:
        for number in (signal.SIGINT, signal.SIGTERM):
            found[number] = signal.signal(number, interrupts.note)
        yield interrupts
    finally:
        for number, handler in found.items():
            signal.signal(number, handler)
