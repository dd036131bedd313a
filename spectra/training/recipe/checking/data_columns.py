"""The columns of a data file, by its first line where that tells them: a header needs no reading of gigabytes."""

from __future__ import annotations

import csv
import json
from importlib import import_module
from pathlib import Path
from typing import Any

from spectra.training.data_files import read_records

_DELIMITERS = {".csv": ",", ".tsv": "\t"}


def columns_of(path: Path) -> tuple[str, ...]:
    """Name the columns of a file.

    Args:
        path: As :func:`spectra.training.data_files.read_records` reads it.

    Returns:
        The columns of the first record.

    Raises:
        InputError: The file cannot be read.
    """
    try:
        found = _by_first_line(path)
    except (OSError, ValueError, TypeError, StopIteration, ImportError, csv.Error):
        found = None
    return tuple(read_records(path)[0]) if found is None else found  # which says what is wrong, if something is


def _by_first_line(path: Path) -> tuple[str, ...] | None:
    kind = path.suffix.lower()
    if kind == ".parquet":
        return tuple(import_module("pyarrow.parquet").read_schema(path).names)
    if kind not in (*_DELIMITERS, ".jsonl", ".txt"):
        return None
    with path.open(encoding="utf-8-sig", newline="") as file:
        if kind in _DELIMITERS:
            return tuple(next(csv.reader(file, delimiter=_DELIMITERS[kind], strict=True))) or None
        if kind == ".txt":
            return ("text",)
        first: Any = json.loads(next(line for line in file if line.strip()))
    return tuple(first) if isinstance(first, dict) else None
