"""The log of a training run whose learning rates or weight decays were balanced: one line of JSON for each update.

The first line says which run it is (:class:`ScaleLogHeader`), each other line is a :class:`ScaleRecord`. Lines are only ever
appended, so that the file can be read, and drawn, while training goes on. A run that continues from a checkpoint appends too:
its first record takes the place of everything that was recorded from that step on.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import ResultsError
from spectra.results.writing import made, unwritable, write_whole

SCALE_LOG_SCHEMA_VERSION = 1
SUFFIX = ".jsonl"


@dataclass(frozen=True, kw_only=True)
class ScaleLogHeader:
    """Which run a log is of.

    Attributes:
        policy: Its settings, as plain values.
        units: Names of the layers of every unit, in the order of the model.
        model: Class name.
        version: Of Spectra.
    """

    policy: Mapping[str, Any]
    units: Mapping[str, Sequence[str]]
    model: str
    version: str


@dataclass(frozen=True, kw_only=True)
class ScaleRecord:
    """One update of the multipliers.

    Attributes:
        step: Optimizer steps that were done before it.
        seconds: What all updates took so far.
        share: Of the wall time since then.
        scores: The metric of each unit that has one; NaN where it could not be measured.
        scales: The multiplier of each unit, from this step on.
        num_measured: Layers whose spectrum was computed anew for it.
        target: What is multiplied: ``"learning_rate"`` or ``"weight_decay"``.
    """

    step: int
    seconds: float
    share: float
    scores: Mapping[str, float]
    scales: Mapping[str, float]
    num_measured: int
    target: str


@dataclass(frozen=True)
class ScaleLogContent:
    """A log as it was read.

    Attributes:
        header: Which run.
        records: By step; those that a continued run has replaced are gone.
        notes: What could not be read.
    """

    header: ScaleLogHeader
    records: tuple[ScaleRecord, ...]
    notes: tuple[str, ...] = ()


class ScaleLog:
    """A log that is being written.

    A file that holds the log of the same run (policy, units and model) is continued; lines that a crash has cut off, and
    records that were replaced, are dropped from it first.

    Args:
        path: Ends in ``.jsonl``; its folder is made if missing.
        header: Which run.
        force: Replace a file that holds anything else.

    Raises:
        ResultsError: Another ending, a file that holds something else, or one that cannot be written.
    """

    def __init__(self, path: str | os.PathLike[str], header: ScaleLogHeader, *, force: bool = False) -> None:
        self.path = _checked(path)
        self.header = header
        records = () if force or not self.path.exists() else _continued(self.path, header)
        made(self.path.parent)
        first = {"schema_version": SCALE_LOG_SCHEMA_VERSION} | vars(header)
        write_whole(self.path, b"".join(map(_line, (first, *map(vars, records)))))

    def append(self, record: ScaleRecord) -> None:
        """Append one record; it survives the process from here on.

        Args:
            record: Of a step that was just done.

        Raises:
            ResultsError: The disk is full, or the file is gone.
        """
        try:
            # "r+" and not "a": a file that somebody removed must not come back without its header.
            with self.path.open("r+b") as file:
                file.seek(0, os.SEEK_END)
                file.write(_line(vars(record)))
        except OSError as error:
            raise ResultsError(unwritable(self.path, error)) from error


def load_scale_log(path: str | os.PathLike[str]) -> ScaleLogContent:
    """Read a log, of a run that is over or under way.

    Args:
        path: The file.

    Returns:
        Its header and records. Lines that are no records, such as the last one after a crash, are left out; a note names them.

    Raises:
        ResultsError: No such file, no log of scales, or one of another schema version.
    """
    file = _checked(path)
    try:
        first, *lines = file.read_bytes().split(b"\n")
    except FileNotFoundError as error:
        raise ResultsError(f"there is no log at '{file}'. Training with TempBalance writes one where it is told to.") from error
    except OSError as error:
        raise ResultsError(f"cannot read '{file}': {error.strerror or error}. Check its permissions.") from error
    header = _header(file, first)
    records, damaged = [], []
    for number, line in enumerate(lines, 2):
        try:
            records += [_record(json.loads(line))] if line else []
        except (AttributeError, KeyError, TypeError, ValueError):
            damaged.append(number)
    notes = [
        f"line {number} is no record and is left out: it was cut off by a crash, is being written, or was edited"
        for number in damaged
    ]
    return ScaleLogContent(header, _latest(records), tuple(notes))


def _checked(path: str | os.PathLike[str]) -> Path:
    file = Path(path).expanduser()
    if file.suffix != SUFFIX:
        raise ResultsError(f"'{file}': a log of scales is a file that ends in {SUFFIX}. Choose such a name.")
    return file


def _header(file: Path, line: bytes) -> ScaleLogHeader:
    """Read the first line, and refuse what is no log of scales."""
    try:
        content = json.loads(line)
        version = content.pop("schema_version")
        units = {unit: tuple(layers) for unit, layers in content["units"].items()}
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultsError(
            f"'{file}' is no log of scales: its first line does not say of which run. Give the {SUFFIX} file that training "
            "with TempBalance wrote."
        ) from error
    if version != SCALE_LOG_SCHEMA_VERSION:
        raise ResultsError(
            f"'{file}' has schema version {version}, this Spectra reads {SCALE_LOG_SCHEMA_VERSION}. Read it with the Spectra "
            "that wrote it."
        )
    try:
        return ScaleLogHeader(**content | {"units": units})
    except TypeError as error:
        raise ResultsError(f"'{file}' is damaged: {error}. Train again, with another file for the log.") from error


def _record(content: dict[str, Any]) -> ScaleRecord:
    numbers = {name: _number(content[name]) for name in ("seconds", "share")}
    mappings = {name: {unit: _number(v) for unit, v in content[name].items()} for name in ("scores", "scales")}
    return ScaleRecord(**content | numbers | mappings)


def _latest(records: Iterable[ScaleRecord]) -> tuple[ScaleRecord, ...]:
    """Keep the last telling of the run: a record replaces those of its own and of later steps that stand before it."""
    kept: dict[str, list[ScaleRecord]] = {}
    for record in records:
        of_target = kept.setdefault(record.target, [])
        while of_target and of_target[-1].step >= record.step:
            of_target.pop()
        of_target.append(record)
    return tuple(sorted((record for of_target in kept.values() for record in of_target), key=lambda record: record.step))


def _continued(file: Path, header: ScaleLogHeader) -> tuple[ScaleRecord, ...]:
    """Return the records of an earlier part of the same run."""
    found = load_scale_log(file)
    before, now = (json.loads(_line(vars(one))) for one in (found.header, header))
    different = [name for name in ("policy", "units", "model") if before[name] != now[name]]
    if different:
        raise ResultsError(
            f"'{file}' holds the log of another run (its {' and '.join(different)} differ). Choose another file, or move that "
            "one away."
        )
    return found.records


def _line(content: Mapping[str, Any]) -> bytes:
    return json.dumps(_without_nan(content), allow_nan=False).encode() + b"\n"


def _without_nan(value: Any) -> Any:
    """Write numbers that are not finite as ``null``: JSON has no other word for them."""
    if isinstance(value, Mapping):
        return {name: _without_nan(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without_nan(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)
