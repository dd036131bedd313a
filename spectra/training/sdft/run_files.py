"""The files of a rewriting run, beside its output: they let it stop anywhere, go on, and run in several processes.

For the output ``own.jsonl``:

========================================== =================================================================================
``own.manifest.json``                      the settings, written first; a run goes on only with the same
``own.records.rank-00000-of-00004.jsonl``  what one process has decided so far, a line each; also where it is the only one
``own.records.jsonl``                      all of it in the order of the data, when nothing is missing; those above go
``.own.lock``                              held while the files are looked through
``.own.records.rank-….lock``               held by the process that writes those records
``.own.records.rank-….awaited``            that process has yet to join others that were started over with it; holds ``ended``
                                           once one of them is done
========================================== =================================================================================

Processes never wait for each other, but for the moments in which one looks through the files. On NFS, too, the last one finds
what all have written: a file that is opened after its writer closed it is up to date.
"""

from __future__ import annotations

import glob
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import InputError, ResultsError
from spectra.results.journal import Journal, json_line, read_journal
from spectra.results.run_locks import is_held, locked, refuse_others
from spectra.results.writing import made, unwritable, write_whole

# In a manifest, and not compared: how the first process arranged the work (another may do so otherwise, on a smaller device),
# and what was written of the records last.
PLAN, OUTPUT = "batches", "output"
_ENDED = "ended"
_LONGEST_LOOK = 600.0  # seconds: reading and merging millions of records takes a minute; a process that hangs is to be named


@dataclass(frozen=True)
class RunFiles:
    """Where a run keeps what it has; the module's first lines show the names.

    Args:
        output: The file that the run is to write.
    """

    output: Path

    @property
    def manifest(self) -> Path:
        """The settings."""
        return self.output.with_name(f"{self.output.stem}.manifest.json")

    @property
    def records(self) -> Path:
        """All records, when the run is complete."""
        return self.output.with_name(f"{self.output.stem}.records.jsonl")

    def shard(self, rank: int, world: int) -> Path:
        """Return where one of several processes keeps its records.

        Args:
            rank: Which, from 0.
            world: Of how many.

        Returns:
            The file.
        """
        return self.output.with_name(f"{self.output.stem}.records.rank-{rank:05}-of-{world:05}.jsonl")

    def shards(self) -> list[Path]:
        """Return the records of single processes that there are, of every number of processes."""
        return _beside(self, f"{self.output.stem}.records.rank-", "*.jsonl")


def process_rank() -> tuple[int, int]:
    """Return which process this is, as ``torchrun`` and ``accelerate launch`` tell it.

    Returns:
        The rank and the number of processes; 0 and 1 without a launcher.

    Raises:
        InputError: ``RANK`` and ``WORLD_SIZE`` do not fit together.
    """
    rank, world = os.environ.get("RANK", "0"), os.environ.get("WORLD_SIZE", "1")
    if not (rank.isdecimal() and world.isdecimal() and int(rank) < int(world)):
        raise InputError(
            f"environment: RANK={rank!r} of WORLD_SIZE={world!r} is no process of several. Unset both, or start with torchrun."
        )
    return int(rank), int(world)


@contextmanager
def open_run(
    files: RunFiles, manifest: Mapping[str, Any], *, rank: int = 0, world: int = 1, force: bool = False
) -> Iterator[tuple[list[dict[str, Any]], Callable[[Mapping[str, Any]], None]]]:
    """Begin a run, or go on with it, as the only process that writes this part of it.

    Args:
        files: Of the run.
        manifest: Its settings: plain JSON values, short ones, as differences are shown. Those under ``PLAN`` are noted only.
        rank: Which process this is.
        world: Of how many. They have to divide all of the work in the same way, not what is left of it: they start one after
            the other, and each finds more finished than the one before.
        force: Start over: what is there is removed, the output too. Several processes that are started together with it join
            the first of them.

    Yields:
        The records that there are, of whichever process, and a function that adds one (with a ``row_id``).

    Raises:
        ResultsError: Another process writes to the same, the files are of other settings or not of a run at all, or cannot be
            read or written.
    """
    shard = files.shard(rank, world)
    with ExitStack() as held:
        with _looking(files):
            held.enter_context(locked(_lock(shard), files.output))
            at_work = [lock for lock in _hidden(files, "*.lock") if lock != _lock(shard) and is_held(lock)]
            if force and not _is_awaited(shard, at_work):
                refuse_others(at_work, files.output, "started over")
                _start_over(files, [files.shard(other, world) for other in range(world) if other != rank])
            others = [lock for lock in at_work if not lock.name.endswith(f"-of-{world:05}.lock")]
            refuse_others(others, files.output, f"written by another number of processes, {world}")
            if force:
                _awaited(shard).unlink(missing_ok=True)  # used up, also if it led to a run of other settings
            _keep_manifest(files, manifest)
            if not force:  # then those who are awaited were started another time, and killed
                _remove(_hidden(files, "*.awaited"))
            finished = list(_recorded(files).values())
            journal = held.enter_context(Journal(shard))
        yield finished, journal.append
        if force:
            _end(files)  # while the lock is held


def merge(files: RunFiles, expected_ids: Sequence[str]) -> list[dict[str, Any]] | None:
    """Put the records of all processes together, if none is missing; to be called after the run is closed, by each process.

    Args:
        files: Of the run.
        expected_ids: The ``row_id`` of every record, in the order of the data.

    Returns:
        The records in that order; ``None`` while some are missing.

    Raises:
        ResultsError: Files cannot be read or written.
    """
    with _looking(files):
        found = _recorded(files)
        if not found.keys() >= set(expected_ids):
            return None
        ordered = [found[row_id] for row_id in expected_ids]
        if shards := files.shards():
            write_whole(files.records, b"".join(map(json_line, ordered)))
        # Asking removes the marker of a killed process, where there are no locks.
        _remove((*shards, *(lock for lock in _hidden(files, "*.lock") if not is_held(lock))))
        return ordered


@contextmanager
def publishing(files: RunFiles, noted: Mapping[str, Any]) -> Iterator[None]:
    """Write the output meanwhile: of several processes that have all of it, one after the other.

    Args:
        files: Of the run.
        noted: What to note of the output.

    Yields:
        Nothing.

    Raises:
        ResultsError: Files cannot be written.
    """
    with _looking(files):
        yield
        text = json.dumps(_read_manifest(files.manifest) | {OUTPUT: noted}, indent=1, allow_nan=False)
        write_whole(files.manifest, (text + "\n").encode())


def noted_output(files: RunFiles) -> dict[str, Any]:
    """Return what was noted of the output when it was written.

    Args:
        files: Of the run.

    Returns:
        It; nothing where there is no manifest.

    Raises:
        ResultsError: The manifest is damaged.
    """
    return dict(_read_manifest(files.manifest).get(OUTPUT, {})) if files.manifest.exists() else {}


def _start_over(files: RunFiles, other_shards: Sequence[Path]) -> None:
    """Remove a run, and note who else was started to do so: a slow one must not remove what a fast one has already written."""
    _remove((files.output, files.records, *files.shards(), *_hidden(files, "*.awaited"), files.manifest))
    for shard in other_shards:
        _awaited(shard).touch()


def _remove(paths: Iterable[Path]) -> None:
    for path in paths:
        path.unlink(missing_ok=True)


def _is_awaited(shard: Path, at_work: Sequence[Path]) -> bool:
    """Tell whether others were started over together with this process, or before, and killed: those leave markers, too."""
    marker = _awaited(shard)
    return marker.exists() and (bool(at_work) or marker.read_text() == _ENDED)


def _end(files: RunFiles) -> None:
    """Let those who are awaited know that nobody was killed, even if they find nobody at work."""
    with _looking(files):
        for marker in _hidden(files, "*.awaited"):
            marker.write_text(_ENDED)


def _keep_manifest(files: RunFiles, manifest: Mapping[str, Any]) -> None:
    """Write the settings first of all, or make sure that they are those of the files."""
    text = json.dumps(manifest, indent=1, allow_nan=False)
    if files.manifest.exists():
        if differences := _differences(_read_manifest(files.manifest), json.loads(text)):
            raise ResultsError(
                f"'{files.manifest}' is of a run with other settings: {'; '.join(differences)}. Choose another --output, or "
                "start over with --force."
            )
    elif strangers := [path for path in (files.output, files.records, *files.shards()) if path.exists()]:
        raise ResultsError(
            f"'{strangers[0]}' exists, without a '{files.manifest.name}' that says how it was made. Choose another --output, "
            "or replace it with --force."
        )
    else:
        write_whole(files.manifest, (text + "\n").encode())


def _read_manifest(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_bytes())
    except (OSError, ValueError) as error:
        raise ResultsError(
            f"'{path}' cannot be read ({error}). Choose another --output, or start over with --force."
        ) from error
    return content if isinstance(content, dict) else {}


def _differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    before, after = _flat(old), _flat(new)
    names = [
        name
        for name in before | after
        if before.get(name) != after.get(name) and not name.startswith((f"{PLAN}.", f"{OUTPUT}."))
    ]
    return [f"{name} {before.get(name, 'missing')} there, {after.get(name, 'missing')} now" for name in names]


def _flat(values: Mapping[str, Any], start: str = "") -> dict[str, str]:
    """Name what is inside of a setting by its path, ``generation.top_k``; values as they are shown."""
    flat: dict[str, str] = {}
    for name, value in values.items():
        flat |= _flat(value, f"{start}{name}.") if isinstance(value, dict) else {f"{start}{name}": repr(value)}
    return flat


def _recorded(files: RunFiles) -> dict[str, dict[str, Any]]:
    """Return every record by its row; a merge that was killed leaves some twice, alike."""
    found: dict[str, dict[str, Any]] = {}
    for path in (files.records, *files.shards()):
        for number, record in enumerate(read_journal(path) if path.exists() else (), start=1):
            if "row_id" not in record:
                raise ResultsError(f"'{path}', line {number}: no record of a run, it has no 'row_id'. Delete the line.")
            found.setdefault(record["row_id"], record)
    return found


@contextmanager
def _looking(files: RunFiles) -> Iterator[None]:
    """Keep others from starting and merging meanwhile, and remove what a killed one left half-written."""
    if files.output.is_dir():
        raise ResultsError(f"'{files.output}' is a folder. Name a file in it as the output.")
    guard = made(files.output.parent) / f".{files.output.stem}.lock"
    with locked(guard, files.output, wait=_LONGEST_LOOK):
        try:
            for whole in (files.manifest, files.records, files.output):
                for leftover in _beside(files, f".{whole.name}.", "*.tmp"):
                    leftover.unlink()
            yield
        except OSError as error:
            raise ResultsError(unwritable(Path(error.filename or files.output), error)) from error


def _beside(files: RunFiles, start: str, ending: str) -> list[Path]:
    return sorted(files.output.parent.glob(glob.escape(start) + ending))


def _hidden(files: RunFiles, ending: str) -> list[Path]:
    return _beside(files, f".{files.output.stem}.records.rank-", ending)


def _lock(shard: Path) -> Path:
    return shard.with_name(f".{shard.stem}.lock")


def _awaited(shard: Path) -> Path:
    return shard.with_name(f".{shard.stem}.awaited")
