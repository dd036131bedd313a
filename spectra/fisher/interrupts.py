"""Ctrl-C between batches: a batch is added whole or not at all, so that a run can be continued where it stopped."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any


class Interrupts:
    """Remembers that the user wants to stop."""

    def __init__(self) -> None:
        self.wanted = False

    def note(self, number: int, frame: FrameType | None) -> None:
        """Remember the first signal; the second one stops at once."""
        if self.wanted:
            raise KeyboardInterrupt
        self.wanted = True


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
