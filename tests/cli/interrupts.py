"""Ctrl-C in the middle of a command that runs in this process."""

from __future__ import annotations

import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import FrameType

import pytest

needs_timers = pytest.mark.skipif(not hasattr(signal, "setitimer"), reason="no timers of signals on this system")


@contextmanager
def ctrl_c_when(condition: Callable[[FrameType | None], bool]) -> Iterator[None]:
    """Look every millisecond at where the program is, and raise SIGINT once when the condition holds."""

    def look(_: int, frame: FrameType | None) -> None:
        if condition(frame):
            signal.setitimer(signal.ITIMER_REAL, 0)
            signal.raise_signal(signal.SIGINT)

    before = signal.signal(signal.SIGALRM, look)
    signal.setitimer(signal.ITIMER_REAL, 0.001, 0.001)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@contextmanager
def ctrl_c_in(function: str, number: int = signal.SIGINT) -> Iterator[None]:
    """Raise SIGINT, or another signal, once, as soon as a function of Spectra with this name is called."""

    def look(frame: FrameType, event: str, _: object) -> None:
        is_ours = frame.f_globals.get("__name__", "").startswith("spectra.")
        if event == "call" and is_ours and frame.f_code.co_name == function:
            sys.setprofile(None)
            signal.raise_signal(number)

    before = sys.getprofile()
    sys.setprofile(look)
    try:
        yield
    finally:
        sys.setprofile(before)
