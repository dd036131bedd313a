"""A result folder while a run is under way: one process holds it, and what is finished is kept in ``progress.jsonl``.

Steps come in such an order that a kill between any two of them leaves a folder in which the same command goes on:

1. The lock is taken, the file of which is ``.lock``. From here on nobody else changes what the folder holds.
2. ``progress.jsonl`` appears whole: what identifies the run, and what is taken over from an earlier result.
3. The files of an earlier result go; first the one without which the others are no result.
4. Each part that is finished is appended to ``progress.jsonl``.
5. The files of the result appear; last the one that makes them a result. They are on the disk then.
6. ``progress.jsonl`` goes, and the lock.

So a folder that has a ``progress.jsonl`` is unfinished, whatever else it holds.
"""

from __future__ import annotations

import errno
import json
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar, Generic, TypeVar

from spectra.errors import ResultsError
from spectra.results.journal import Journal, json_line, sound_records
from spectra.results.run_locks import locked
from spectra.results.temporary_files import remove_leftovers
from spectra.results.writing import LOCK, holds_others, made, names_in, unwritable, write_whole

PROGRESS = "progress.jsonl"

Part = TypeVar("Part")
Result = TypeVar("Result")


class ResumableRun(ABC, Generic[Part, Result]):
    """A result folder while its run is under way; what it holds is for subclasses to say.

    Args:
        folder: Where results go.
        header: What identifies the run. A folder with another header is not continued.
        force: Start over in a folder that holds another run or result of Spectra's, or other files (which are left alone).
        among: Names of files of others that may be there.
        check: Called before anything is written, if there is something to do; raises what speaks against it.

    Attributes:
        finished: Parts of an interrupted run of the same header, by name.
        complete: The result, if the folder already holds the finished one of this header; then nothing is locked or written.

    Raises:
        ResultsError: The folder holds something else, another process is at work in it, or it cannot be written.
    """

    what: ClassVar[str]  # a word for the work
    key: ClassVar[str]  # of the header, in the first line of progress
    files: ClassVar[tuple[str, str, str]]  # of a result; the first makes a folder complete

    def __init__(
        self,
        folder: str | os.PathLike[str],
        header: Mapping[str, Any],
        *,
        force: bool = False,
        among: Collection[str] = (),
        check: Callable[[], None] = lambda: None,
    ) -> None:
        self.folder = Path(folder).expanduser()
        self.finished: dict[str, Part] = {}
        self.complete: Result | None = None
        self._header: dict[str, Any] = json.loads(json.dumps(header))
        self._among = frozenset(among)
        self._journal: Journal | None = None
        self._held = ExitStack()
        if not force:  # before a lock is put into what may be somebody else's folder, or one that cannot be written to
            self._look_around(is_held=False)
        if self.complete is None:
            check()
        self._begin(force)

    def finish(self, result: Result) -> None:
        """Write the finished result, remove the record of progress and let others in.

        Args:
            result: With all parts.

        Raises:
            ResultsError: The folder cannot be written; what was added stays there for the next run.
        """
        self._opened().check()  # a result is not put into a folder that has taken the place of this one
        self._write(result)
        self._close_journal()
        self._remove(PROGRESS)
        self.close()

    def close(self) -> None:
        """Let others in; what was added stays there for the next run.

        Raises:
            ResultsError: The disk is full or gone.
        """
        with self._held:
            self._close_journal()

    @abstractmethod
    def _load(self) -> tuple[Mapping[str, Any], Result]:
        """Return the result in the folder, and what identifies it."""

    @abstractmethod
    def _write(self, result: Result) -> None:
        """Write the files of the result, the first of :attr:`files` last."""

    @abstractmethod
    def _to_continue(self, result: Result) -> Mapping[str, Part] | None:
        """Return what is taken over from a finished result of which something is to be tried again; ``None``: nothing is."""

    @abstractmethod
    def _record(self, name: str, part: Part) -> Mapping[str, Any]:
        """Return the line of progress for a part."""

    @abstractmethod
    def _part(self, record: Mapping[str, Any]) -> tuple[str, Part] | None:
        """Return name and part of a line of progress; ``None`` for what is to be tried again.

        Any of ``AttributeError``, ``KeyError``, ``TypeError`` and ``ValueError`` says that the line is damaged.
        """

    @abstractmethod
    def _difference(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
        """Say in words how two headers differ; empty if they do not."""

    def _add(self, name: str, part: Part) -> None:
        self._opened().append(self._record(name, part))

    def _look_around(self, *, is_held: bool) -> None:
        names = names_in(self.folder) - self._among
        if PROGRESS in names:
            if is_held:
                self._resume()
        elif self.files[0] in names:
            self._consider(is_held=is_held)
        elif names:
            raise holds_others(self.folder, names)

    def _resume(self) -> None:
        records = sound_records(self.folder / PROGRESS)
        header = next(records, {}).get(self.key)
        if not isinstance(header, dict):
            raise ResultsError(
                f"'{self.folder}' holds a file '{PROGRESS}' of something else. Choose another folder, or overwrite it with "
                "--force."
            )
        if difference := self._difference(header, self._header):
            raise ResultsError(
                f"'{self.folder}' holds an unfinished run of another {self.what} ({difference}). Run that command again, "
                "choose another folder, or start over with --force."
            )
        for record in records:
            try:
                found = self._part(record)
            except (AttributeError, KeyError, TypeError, ValueError):
                continue  # damaged: this part is made again
            if found is not None:
                self.finished[found[0]] = found[1]

    def _consider(self, *, is_held: bool) -> None:
        header, result = self._load()
        if difference := self._difference(header, self._header):
            raise ResultsError(
                f"'{self.folder}' holds the result of another {self.what} ({difference}). Choose another folder, or replace it "
                "with --force."
            )
        kept = self._to_continue(result)
        if kept is None:
            self.complete = result
        elif is_held:
            self.finished.update(kept)

    def _begin(self, force: bool) -> None:
        if self.complete is not None:
            if (self.folder / LOCK).exists():  # of a process that was killed in its last moment
                with suppress(ResultsError), self._locked():
                    pass
            return
        with ExitStack() as held:  # whatever fails, the lock is let go
            made(self.folder)
            held.enter_context(self._locked())
            if not force:
                self._look_around(is_held=True)
            if self.complete is None:  # nobody else has finished it meanwhile
                self._make_room(goes_on=not force and (self.folder / PROGRESS).is_file())
                self._held = held.pop_all()

    @contextmanager
    def _locked(self) -> Iterator[None]:
        with locked(self.folder / LOCK, self.folder, removed=True):
            remove_leftovers(self.folder)
            yield

    def _make_room(self, *, goes_on: bool) -> None:
        """Begin a record of progress, which is never seen without its first lines; then remove an earlier result."""
        if not goes_on:
            lines = [json_line({self.key: self._header})]
            lines += [json_line(self._record(name, part)) for name, part in self.finished.items()]
            write_whole(self.folder / PROGRESS, b"".join(lines))
        for name in self.files:
            self._remove(name)

    def _opened(self) -> Journal:
        """Open the record of progress when it is needed: a fleet holds hundreds of folders, and few files may be open."""
        if self._journal is None:
            progress = self.folder / PROGRESS
            if not progress.is_file():
                raise ResultsError(unwritable(progress, FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))))
            self._journal = Journal(progress)
        return self._journal

    def _remove(self, name: str) -> None:
        try:
            (self.folder / name).unlink(missing_ok=True)
        except OSError as error:
            raise ResultsError(unwritable(self.folder / name, error)) from error

    def _close_journal(self) -> None:
        journal, self._journal = self._journal, None
        if journal is not None:
            journal.close()
