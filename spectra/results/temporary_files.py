"""Files that are written under a temporary name and then moved into place, and what killed writers leave of them.

A writer keeps a lock on its file, so that whoever clears up tells the living from the dead, also between machines as far as the
file system has locks. Where it has none, leftovers stay: their names are unique and hidden, so that they harm nobody.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

# A random number; or that of a process, in names of files that a library writes, whose writers keep no lock.
_NAME = re.compile(r"\..+\.([0-9a-f]{16}|[0-9]+)\.tmp")
_RANDOM_BYTES = 8
_LONGEST_WRITE = 86_400.0  # seconds: our choice. What keeps no lock is abandoned when nobody has touched it for so long
_CANNOT_BE_ASKED = {errno.EINVAL, errno.ENOTSUP, errno.EBADF, errno.EACCES, errno.EPERM}


@contextmanager
def moved_into_place(path: Path, *, to_disk: bool = True) -> Iterator[BinaryIO]:
    """Write a file that appears whole, under its name, or not at all.

    Args:
        path: The file; replaced if it exists.
        to_disk: Wait until the file outlives a power failure, too. Without, such a failure may leave a part of it.

    Yields:
        An empty file beside it, which is moved there at the end, or removed if anything is raised, Ctrl-C included.

    Raises:
        OSError: The disk is full or gone.
    """
    temporary, file = _opened_beside(path)
    try:
        with file:
            yield file
            file.flush()
            if to_disk:
                os.fsync(file.fileno())
            if os.name == "nt":  # moves no open file; elsewhere the lock lasts until the file has its name
                file.close()
            os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):  # on a read-only file system this fails, too
            temporary.unlink(missing_ok=True)
        raise
    if to_disk:
        _bring_to_disk(path.parent)


def is_temporary(name: str) -> bool:
    """Tell whether a file is one that is being written, or was.

    Args:
        name: Without its folder.

    Returns:
        True if the name is one of those given here.
    """
    return _NAME.fullmatch(name) is not None


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written; files of living writers stay.

    Args:
        folder: Any; other files are left alone.
    """
    with suppress(OSError):  # a folder that is missing, or cannot be changed: leftovers harm nobody
        for leftover in [path for path in folder.iterdir() if is_temporary(path.name)]:
            _remove_abandoned(leftover)


def _opened_beside(path: Path) -> tuple[Path, BinaryIO]:
    """Open a new file with a lock on it; again if it was cleared away before it had one."""
    while True:
        temporary = path.with_name(
            f".{path.name}.{secrets.token_hex(_RANDOM_BYTES)}.tmp"
        )  # unique, whichever thread, process or machine
        file = temporary.open("xb")
        if _is_locked(file) and os.fstat(file.fileno()).st_nlink:
            return temporary, file
        file.close()


def _remove_abandoned(leftover: Path) -> None:
    from filelock import lock_descriptor

    keeps_lock = len(leftover.suffixes[-2]) == len(".") + 2 * _RANDOM_BYTES
    with suppress(OSError), leftover.open("r+b") as file:
        is_old = time.time() - leftover.stat().st_mtime > _LONGEST_WRITE
        if (keeps_lock or is_old) and lock_descriptor(file.fileno(), blocking=False):
            leftover.unlink(missing_ok=True)


def _is_locked(file: BinaryIO) -> bool:
    from filelock import lock_descriptor

    try:
        return lock_descriptor(file.fileno(), blocking=False)
    except OSError:  # no locks on this file system: nobody clears up there either
        return True


def _bring_to_disk(folder: Path) -> None:
    """A name outlives a power failure once its folder is on the disk; some file systems cannot be asked for that."""
    if os.name == "nt":
        return
    try:
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        if error.errno not in _CANNOT_BE_ASKED:
            raise
