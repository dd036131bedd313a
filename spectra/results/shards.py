"""Shards of an analysis: ``DIR/shards/i-of-n``, an ordinary result folder of some layers, and ``shard.json`` beside its files.

Each is written by one process only, so that machines which share a file system never write one file, and each continues as any
run does. ``shard.json`` says which analysis it is a part of and where its layers stand in the model: with it the shards can be
merged without the model.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import InputError, ResultsError
from spectra.results.records import ModelInfo
from spectra.results.resumable_run import PROGRESS
from spectra.results.store import SHARDS, Run, difference, header_of_result
from spectra.results.versioned_json import read_versioned, write_json
from spectra.results.writing import REPORT, holds_others, names_in

SHARD = "shard.json"
SHARD_SCHEMA_VERSION = 1


@dataclass(frozen=True, order=True)
class Shard:
    """One part of several.

    Attributes:
        index: Which one, from 0.
        count: Of how many.
    """

    index: int
    count: int

    @classmethod
    def parse(cls, text: str) -> Shard:
        """Read ``"i/n"``.

        Args:
            text: Such as ``"0/8"``, the first of eight.

        Returns:
            The shard.

        Raises:
            InputError: Anything else, ``"8/8"`` among it.
        """
        found = re.fullmatch(r"(\d+)/(\d+)", text, re.ASCII)
        if found is None:
            raise InputError(f"shard: expected I/N, such as 0/8 for the first of eight, or 'auto', got '{text}'.")
        shard = cls(int(found[1]), int(found[2]))
        if not shard.count:
            raise InputError(f"shard: expected at least one shard, got '{text}'.")
        if shard.index >= shard.count:
            last = cls(shard.count - 1, shard.count)
            raise InputError(f"shard: there is no '{text}': shards are counted from 0, from '0/{shard.count}' to '{last}'.")
        return shard

    @property
    def folder_name(self) -> str:
        """What the folder of its results is called."""
        return f"{self.index}-of-{self.count}"

    def __str__(self) -> str:
        return f"{self.index}/{self.count}"


@dataclass(frozen=True, kw_only=True)
class ShardRecord:
    """What ``shard.json`` holds: which part of which analysis a shard is.

    Attributes:
        index: Which shard, from 0.
        count: Of how many.
        header: What identifies the analysis, as in ``progress.jsonl``: versions, fingerprint, revision, settings.
        model: Which model, as in the merged ``report.json``.
        num_layers: Rows of the whole analysis.
        places: Of the rows of this shard, by matrix name: the place in model order, from 0.
    """

    index: int
    count: int
    header: Mapping[str, Any]
    model: ModelInfo
    num_layers: int
    places: Mapping[str, int]

    @property
    def shard(self) -> Shard:
        """Which shard."""
        return Shard(self.index, self.count)


@dataclass(frozen=True)
class SavedShard:
    """A shard that lies in a folder.

    Attributes:
        folder: ``DIR/shards/i-of-n``.
        record: Its ``shard.json``.
    """

    folder: Path
    record: ShardRecord

    @property
    def is_finished(self) -> bool:
        """Whether all of its layers are there, and nobody has begun it anew."""
        return (self.folder / REPORT).is_file() and not (self.folder / PROGRESS).is_file()


def open_shard(
    output: str | os.PathLike[str], record: ShardRecord, *, force: bool = False, check: Callable[[], None] = lambda: None
) -> Run:
    """Begin a shard, or go on with it.

    Args:
        output: Folder of all shards.
        record: Of this one.
        force: Start over with this shard, whatever ``output`` holds.
        check: Called before anything is written, if there is something to do.

    Returns:
        Its run, in a folder of its own.

    Raises:
        ResultsError: ``output`` holds another analysis, another division of this one or something else, or cannot be written.
    """
    path = Path(output).expanduser()
    if not force:
        _refuse_others(path, record)
    run = Run(path / SHARDS / record.shard.folder_name, record.header, force=force, check=check)
    # After Run has looked around, found nothing of others and taken the lock. A shard that is killed in between counts as not
    # begun, and its command goes on with it.
    if run.complete is None or not (run.folder / SHARD).is_file():
        with ExitStack() as held:
            held.callback(run.close)
            write_json(run.folder / SHARD, {"schema_version": SHARD_SCHEMA_VERSION, **dataclasses.asdict(record)})
            held.pop_all()
    return run


def saved_shards(folder: str | os.PathLike[str]) -> list[SavedShard]:
    """Find the shards in a folder.

    Args:
        folder: What ``--output`` was.

    Returns:
        Those that have been begun, finished or not, by number; none for a folder without shards.

    Raises:
        ResultsError: A damaged ``shard.json``.
    """
    found = [SavedShard(file.parent, _read(file)) for file in _records_in(Path(folder).expanduser())]
    return sorted(found, key=lambda shard: (shard.record.count, shard.record.index))


def numbers(indices: Iterable[int]) -> str:
    """Write the numbers of shards as batch systems take them.

    Args:
        indices: In any order.

    Returns:
        Such as ``"0,3-5"``.
    """
    runs: list[list[int]] = []
    for index in sorted(indices):
        if runs and runs[-1][-1] == index - 1:
            runs[-1].append(index)
        else:
            runs.append([index])
    return ",".join(str(run[0]) if len(run) == 1 else f"{run[0]}-{run[-1]}" for run in runs)


def _refuse_others(path: Path, record: ShardRecord) -> None:
    """Refuse at once what could not be merged in the end."""
    names = names_in(path)
    again = "Choose another folder, or start over with --force."
    others = [file for file in _records_in(path) if file.parent.name != record.shard.folder_name]  # its own Run looks at
    if others:  # one speaks for all: each was compared with one when it began
        other = _read(others[0])
        if reason := difference(other.header, record.header):
            raise ResultsError(f"'{path}' holds shards of another analysis ({reason}). {again}")
        if other.count != record.count:
            raise ResultsError(
                f"'{path}' holds shards of {other.count}, and this is one of {record.count}. Divide by {other.count}. {again}"
            )
    if REPORT in names:
        if reason := difference(header_of_result(path), record.header):
            raise ResultsError(f"'{path}' holds the result of another analysis ({reason}). {again}")
    elif SHARDS not in names and names:
        if PROGRESS in names:
            raise ResultsError(f"'{path}' holds an unfinished run that is not divided. Finish it without --shard. {again}")
        raise holds_others(path, names)


def _records_in(path: Path) -> list[Path]:
    return sorted((path / SHARDS).glob(f"*-of-*/{SHARD}"))


def _read(file: Path) -> ShardRecord:
    return read_versioned(
        file, "record of a shard", SHARD_SCHEMA_VERSION, _record, again="Run the shard's 'spectra analyze' command again."
    )


def _record(content: Mapping[str, Any]) -> ShardRecord:
    values = {field.name: content[field.name] for field in dataclasses.fields(ShardRecord)}
    model = values["model"]
    return ShardRecord(**values | {"model": ModelInfo(**model | {"notes": tuple(model["notes"])})})
