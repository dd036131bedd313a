"""Locks between processes: who may write to a folder or file of results, and who does.

Whatever writes to a place over more than one call holds its lock while it does, so that another writer is refused in words::

    with locked(folder / LOCK, folder, removed=True):
        ...

A lock ends with its process, however that ends. On NFS it holds between machines, unless mounted with ``nolock`` or
``local_lock``: then within one machine. Where a file system has no locks at all, filelock warns and makes marker files.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from tempfile import TemporaryFile

from spectra.errors import ResultsError
from spectra.results.writing import unwritable


@contextmanager
def locked(path: Path, output: Path, *, wait: float = 0.0, removed: bool = False) -> Iterator[None]:
    """Hold a lock.

    Args:
        path: The lock's file, in an existing folder. A killed process leaves it behind, and no lock on it.
        output: What it protects, for the message.
        wait: Seconds until another holder is an error.
        removed: Remove the file at the end, while nobody else can hold it; whoever waits for it meanwhile takes a new one.

    Yields:
        Nothing, while it is held.

    Raises:
        ResultsError: Somebody else holds it, or the file cannot be made.
    """
    from filelock import BaseFileLock, FileLock, SoftFileLock, Timeout

    lock: BaseFileLock = FileLock(path)
    try:
        with TemporaryFile(dir=path.parent):  # filelock takes a folder that takes no files for a lock that is held, and waits
            lock.acquire(timeout=wait)
    except Timeout:
        raise ResultsError(f"'{output}' is being written by {_holder(path)}. Let it end, or choose another --output.") from None
    except OSError as error:
        raise ResultsError(unwritable(path, error)) from error
    try:
        if not isinstance(lock, SoftFileLock):  # a marker file says whose it is, in its own words
            with suppress(OSError):  # a full disk does not change who holds the lock
                path.write_text(f"process {os.getpid()} on '{platform.node()}' since {_now()}", encoding="utf-8")
        yield
    finally:
        if removed:
            with suppress(OSError):  # Windows removes no open file; a lost disk takes it along
                path.unlink(missing_ok=True)
        lock.release()


def is_held(path: Path) -> bool:
    """Tell whether somebody holds a lock.

    Args:
        path: The lock's file.

    Returns:
        True if so, this process included.
    """
    from filelock import FileLock, Timeout

    try:
        with FileLock(path, timeout=0):
            return False
    except Timeout:
        return True


def refuse_others(locks: Sequence[Path], output: Path, what: str) -> None:
    """Stop if anybody is at work.

    Args:
        locks: Those that are held.
        output: What they protect.
        what: What cannot be done meanwhile, for the message.

    Raises:
        ResultsError: There are such locks.
    """
    if locks:
        raise ResultsError(
            f"'{output}' is being written by {_holder(locks[0])}, so that it cannot be {what}. Let that end, or choose "
            "another --output."
        )


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def _holder(path: Path) -> str:
    try:
        note = " ".join(path.read_text(encoding="utf-8", errors="replace").split())
    except OSError:
        note = ""
    return note or "another process"
