"""How a command ends at Ctrl-C and at SIGTERM, which batch systems send before they kill: in one line, and by its exit code."""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import click

from spectra.errors import Terminated

INTERRUPTED, TERMINATED = 130, 143  # as shells have it: 128 and the number of the signal


class Interrupted(Exception):  # noqa: N818 - no error; and no KeyboardInterrupt, to which click adds words of its own
    """A command was stopped by a signal, and has cleared up.

    Args:
        words: What the user should know, as a sentence; may be empty.
        code: The exit code.
    """

    def __init__(self, words: str, code: int) -> None:
        super().__init__(words)
        self.code = code


def exit_code(interrupt: BaseException | None) -> int:
    """Return the exit code after a signal.

    Args:
        interrupt: What it raised.

    Returns:
        143 after SIGTERM, otherwise 130.
    """
    return TERMINATED if isinstance(interrupt, Terminated) else INTERRUPTED


@contextmanager
def sigterm_like_ctrl_c() -> Iterator[None]:
    """Let SIGTERM raise :class:`Terminated` in the main thread, unless the process has its own way with it.

    Yields:
        Nothing.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    is_ours = threading.current_thread() is threading.main_thread() and signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    if is_ours:
        signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        if is_ours:
            signal.signal(signal.SIGTERM, signal.SIG_DFL)


@contextmanager
def keeping(what: str, kept: Path | None, shown: Path | None = None, *, force: bool = False) -> Iterator[None]:
    """Say after a signal where the work so far is kept.

    Args:
        what: The work so far, in the plural, as the beginning of a sentence.
        kept: The file or folder that holds it; ``None``, or if it does not exist: nothing is kept.
        shown: The place that is named. Default: ``kept``.
        force: Whether the command was told to start over, as it would again.

    Yields:
        Nothing.

    Raises:
        Interrupted: In place of ``KeyboardInterrupt``.
    """
    try:
        yield
    except KeyboardInterrupt as interrupt:
        words = ""
        if kept is not None and kept.exists():
            without = " without --force" if force else ""
            words = f"{what} are kept in '{shown or kept}'; the same command{without} continues there."
        raise Interrupted(words, exit_code(interrupt)) from interrupt


def ended(interrupt: KeyboardInterrupt, afterwards: str = "", *, speaks: bool = True) -> click.exceptions.Exit:
    """Say that a command was stopped by a signal, where nothing is left running that need not be waited for.

    Args:
        interrupt: What the signal raised.
        afterwards: How it goes on, with the punctuation before it; may be empty.
        speaks: Whether this process is the one that says so.

    Returns:
        To be raised.
    """
    if speaks:
        print(f"spectra: interrupted{afterwards}", file=sys.stderr)
    return click.exceptions.Exit(exit_code(interrupt))
