"""Files of JSON lines that grow record by record, and outlive a kill, an interrupt or a full disk.

A record is kept once ``append`` has returned: a kill of the process takes back nothing. A power failure can take what was
appended since the file was last brought to the disk, which happens at most once a second and when the journal is closed.
"""

from __future__ import annotations

import errno
import json
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from spectra.errors import ResultsError
from spectra.results.writing import unwritable

_SECONDS_BETWEEN_SYNCS = 1.0  # our choice: with an fsync for each, 130 records a second instead of 7,000 (ext4)


class Journal:
    """A file of JSON lines, opened to append to it by its only writer; whoever shares it keeps a lock.

    What a killed writer left of its last line is cut off when the file is opened.

    Args:
        path: New, or a journal.

    Raises:
        ResultsError: It cannot be opened for writing.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.touch()
            with path.open("r+b") as file:
                self._end = file.truncate(sum(len(line) for line in file if line.endswith(b"\n")))
            self._file = path.open("ab", buffering=0)
        except OSError as error:
            raise ResultsError(unwritable(path, error)) from error
        self._is_torn = False
        self._synced = time.monotonic()

    def append(self, record: Mapping[str, Any]) -> None:
        """Write one record, whole or not at all; it survives the process from here on.

        Args:
            record: Plain JSON values, no NaN.

        Raises:
            ResultsError: The disk is full, or the disk or file is gone: a folder that was moved away or replaced takes no more.
                The journal holds the records before this one.
        """
        line = json_line(record)
        try:
            self._check_place()
            self._write(line)
            if time.monotonic() - self._synced >= _SECONDS_BETWEEN_SYNCS:
                self._sync()
        except OSError as error:
            raise ResultsError(unwritable(self.path, error)) from error

    def check(self) -> None:
        """Make sure that the file is still the one that is found under its name.

        Raises:
            ResultsError: It was removed, moved away or replaced, and its folder with it, perhaps.
        """
        try:
            self._check_place()
        except OSError as error:
            raise ResultsError(unwritable(self.path, error)) from error

    def close(self) -> None:
        """Bring the file to the disk and close it.

        Raises:
            ResultsError: The disk is full or gone.
        """
        try:
            with self._file:
                self._sync()
        except OSError as error:
            raise ResultsError(unwritable(self.path, error)) from error

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _check_place(self) -> None:
        """The system writes on to a file that was moved away, and to one that nobody finds any more."""
        if not os.path.samestat(self.path.stat(), os.fstat(self._file.fileno())):
            raise FileNotFoundError(errno.ENOENT, "another file has taken its place")

    def _write(self, line: bytes) -> None:
        if self._is_torn:
            self._cut()
        rest = memoryview(line)
        try:
            while rest:  # a write may take only a part, most of all shortly before the disk is full
                rest = rest[self._file.write(rest) :]
        except BaseException:  # an interrupt, too: a later record must not continue a torn line
            self._is_torn = True
            self._cut()
            raise
        self._end += len(line)

    def _cut(self) -> None:
        """Take back what is torn; where the disk refuses that, too, it is done before the next record."""
        self._file.truncate(self._end)
        self._is_torn = False

    def _sync(self) -> None:
        os.fsync(self._file.fileno())
        self._synced = time.monotonic()


def read_journal(path: Path) -> list[dict[str, Any]]:
    """Read the records of a journal, which may be written to meanwhile.

    Args:
        path: What :class:`Journal` wrote.

    Returns:
        Those whose line is finished. A torn last line is left out, and left alone: its writer may be at it.

    Raises:
        ResultsError: It cannot be read, or a finished line is no record.
    """
    try:
        with path.open("rb") as file:
            return [
                _record(line, f"'{path}', line {number}") for number, line in enumerate(file, start=1) if line[-1:] == b"\n"
            ]
    except OSError as error:
        raise ResultsError(_unreadable(path, error)) from error


def sound_records(path: Path) -> Iterator[dict[str, Any]]:
    """Read the records of a journal one by one, without those that are damaged: what they held is to be made again.

    Args:
        path: What :class:`Journal` wrote.

    Yields:
        Those whose line is finished and sound.

    Raises:
        ResultsError: It cannot be read.
    """
    try:
        with path.open("rb") as file:
            for line in file:
                try:
                    record = _record(line, str(path)) if line[-1:] == b"\n" else None
                except ResultsError:
                    continue
                if record is not None:
                    yield record
    except OSError as error:
        raise ResultsError(_unreadable(path, error)) from error


def json_line(record: Mapping[str, Any]) -> bytes:
    """Return the line that stands for a record.

    Args:
        record: Plain JSON values, no NaN.

    Returns:
        UTF-8, readable as it is in every script, with the newline.
    """
    try:
        return (json.dumps(record, ensure_ascii=False, allow_nan=False) + "\n").encode()
    except UnicodeEncodeError:  # half of a surrogate pair, as JSON can hold and UTF-8 cannot
        return (json.dumps(record, allow_nan=False) + "\n").encode()


def _record(line: bytes, where: str) -> dict[str, Any]:
    try:
        record = json.loads(line)
    except (ValueError, RecursionError) as error:
        raise ResultsError(f"{where}: damaged ({error}). Delete the line to go on without its record.") from error
    if not isinstance(record, dict):
        raise ResultsError(f"{where}: expected a record, got {type(record).__name__}. Delete the line to go on without it.")
    return record


def _unreadable(path: Path, error: OSError) -> str:
    return f"cannot read '{path}': {error.strerror or error}. Check the path."
