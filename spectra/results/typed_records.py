"""Dataclasses of plain values as lines of JSON: checked field by field, and read from the file beside a run's output."""

from __future__ import annotations

import dataclasses
import glob
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from spectra.errors import ResultsError, did_you_mean
from spectra.results.journal import read_journal

_SUFFIX = ".records.jsonl"
# What JSON gives back for a field: whole numbers for numbers, too, but no truth values.
_KINDS: Mapping[str, tuple[type, ...]] = {
    "str": (str,),
    "str | None": (str, type(None)),
    "int": (int,),
    "float": (int, float),
    "float | None": (int, float, type(None)),
    "bool": (bool,),
    "bool | None": (bool, type(None)),
}


Record = TypeVar("Record")


def checked_fields(kind: type[Any], content: Mapping[str, Any], what: str) -> dict[str, Any]:
    """Check what JSON gives back for a record.

    Args:
        kind: The dataclass.
        content: Its fields by name.
        what: What a record is of, in words.

    Returns:
        The fields.

    Raises:
        ResultsError: A field that is missing, unknown or of another type; all are named.
    """
    types = {field.name: str(field.type) for field in dataclasses.fields(kind)}
    faults = [f"there is no '{name}'" for name in types if name not in content]
    faults += [f"'{name}' is not known.{did_you_mean(name, types)}" for name in content if name not in types]
    faults += [
        f"'{name}' is {type(value).__name__}, expected {types[name].replace(' | None', ' or null')}"
        for name, value in content.items()
        if name in types and not _is_of(types[name], value)
    ]
    if faults:
        raise ResultsError(f"this is no record of {what}: {'; '.join(faults).removesuffix('.')}.")
    return dict(content)


def records_beside(
    path: str | os.PathLike[str], read: Callable[[Mapping[str, Any]], Record], *, what: str, command: str
) -> tuple[Record, ...]:
    """Read the records of a run that is complete.

    Args:
        path: The run's output, or the records beside it, ``OUT.records.jsonl``.
        read: Makes a record of what JSON gives back, or raises ``ResultsError``.
        what: What they are, in words.
        command: What writes them.

    Returns:
        Them, in the order of the data.

    Raises:
        ResultsError: There are none, or a line is none.
    """
    given = Path(path).expanduser()
    file = given if given.name.endswith(_SUFFIX) else given.with_name(f"{given.stem}{_SUFFIX}")
    if not file.is_file():
        stem = file.name.removesuffix(_SUFFIX)
        written = sum(len(read_journal(part)) for part in file.parent.glob(f"{glob.escape(stem)}.records.rank-*.jsonl"))
        so_far = f" (so far {written:,})" if written else ""
        raise ResultsError(
            f"there are no {what} at '{file}'{so_far}. '{command}' writes them beside its output once nothing is missing; the "
            "same command continues a run that stopped."
        )
    records = []
    for number, content in enumerate(read_journal(file), 1):
        try:
            records.append(read(content))
        except ResultsError as error:
            raise ResultsError(f"'{file}', line {number}: {error} Delete the line to go on without it.") from error
    return tuple(records)


def _is_of(kind: str, value: object) -> bool:
    return isinstance(value, _KINDS[kind]) and (not isinstance(value, bool) or "bool" in kind)
