"""Reading the two files of a Fisher; how they are written: ``fisher_writing.py``."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import ResultsError
from spectra.results.fisher import Fisher
from spectra.results.fisher_records import FISHER_SCHEMA_VERSION, FisherInfo, FisherTensor, SiteBlock
from spectra.results.fisher_writing import COLS, HEADER, ROWS, VALUES, content_fingerprint

_AGAIN = "Run 'spectra fisher' again."


def load_fisher(path: str | os.PathLike[str]) -> Fisher:
    """Read a Fisher; its arrays are read when they are asked for.

    Args:
        path: Either of its two files.

    Returns:
        The Fisher.

    Raises:
        ResultsError: A file is missing, damaged, of another schema version, or not the other's.
    """
    arrays_file, summary_file = _pair(path)
    content = _summary(summary_file)
    try:
        fingerprint = content_fingerprint(content)
        info = _record(FisherInfo, content["info"])
        tensors = tuple(_record(FisherTensor, row) for row in content["tensors"])
        sites = tuple(_record(SiteBlock, row) for row in content["sites"])
    except (KeyError, TypeError) as error:
        raise ResultsError(f"'{summary_file}' is damaged: {error!r}. {_AGAIN}") from error
    with _opened(arrays_file, fingerprint) as file:
        keys = set(file.keys())
    parts = {
        prefix: SavedArrays(arrays_file, fingerprint, prefix, [t.name for t in tensors if prefix + t.name in keys])
        for prefix in (VALUES, ROWS, COLS)
    }
    return Fisher(info, tensors, sites, values=parts[VALUES], row_sums=parts[ROWS], col_sums=parts[COLS])


def fisher_fingerprint(path: str | os.PathLike[str]) -> str:
    """Return what tells one saved Fisher from another.

    Args:
        path: Either of its two files.

    Returns:
        SHA-256 of the arrays' file, in hex; the same for equal Fishers.

    Raises:
        ResultsError: The file is missing or cannot be read.
    """
    arrays_file, _ = _pair(path)
    try:
        with arrays_file.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise ResultsError(f"'{arrays_file}' cannot be read ({error.strerror}). {_AGAIN}") from error


class SavedArrays(Mapping[str, NDArray[Any]]):
    """Arrays of a saved Fisher, each read from its file when it is asked for.

    Args:
        file: The safetensors file.
        fingerprint: Which Fisher it held when it was loaded.
        prefix: Stands before the names in the file.
        names: Of the parameters.
    """

    def __init__(self, file: Path, fingerprint: str, prefix: str, names: Sequence[str]) -> None:
        self._file = file
        self._fingerprint = fingerprint
        self._keys = {name: prefix + name for name in names}

    def __getitem__(self, name: str) -> NDArray[Any]:
        key = self._keys[name]
        with _opened(self._file, self._fingerprint) as file:
            return np.asarray(file.get_tensor(key))

    def __contains__(self, name: object) -> bool:
        return name in self._keys  # without reading it

    def __iter__(self) -> Iterator[str]:
        return iter(self._keys)

    def __len__(self) -> int:
        return len(self._keys)


def _pair(path: str | os.PathLike[str]) -> tuple[Path, Path]:
    given = Path(path).expanduser()
    if given.suffix not in (".safetensors", ".json"):
        raise ResultsError(f"'{given}' is no Fisher: give its .safetensors or its .json file.")
    return given.with_suffix(".safetensors"), given.with_suffix(".json")


def _summary(file: Path) -> dict[str, Any]:
    if not file.exists():
        raise ResultsError(
            f"'{file}' is missing. Make it: spectra fisher MODEL --data FILE -o {file.with_suffix('.safetensors')}"
        )
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"'{file}' cannot be read ({error}). {_AGAIN}") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != FISHER_SCHEMA_VERSION:
        raise ResultsError(f"'{file}' has schema version {version}, this Spectra reads {FISHER_SCHEMA_VERSION}. {_AGAIN}")
    return dict(content)


def _record(kind: type[Any], row: Mapping[str, Any]) -> Any:
    """Rebuild a record from its JSON; a row of a table has columns beside its fields."""
    values = {f.name: row[f.name] for f in dataclasses.fields(kind)}
    for name, value in values.items():
        if isinstance(value, list):
            values[name] = tuple(value)
        elif value is None:
            values[name] = math.nan
    return kind(**values)


def _opened(path: Path, fingerprint: str) -> Any:
    """Open the arrays of this very Fisher: nobody must read those of another one that took its place."""
    from safetensors import SafetensorError, safe_open

    try:
        file: Any = safe_open(path, framework="np")
        header = json.loads((file.metadata() or {}).get(HEADER, "{}"))
    except (OSError, SafetensorError, ValueError) as error:
        raise ResultsError(f"'{path}' cannot be read ({error}). {_AGAIN}") from error
    if header.get("fingerprint") != fingerprint:
        raise ResultsError(
            f"'{path}' does not belong to '{path.with_suffix('.json').name}': one of them was replaced or edited. "
            "Copy both from one run, or load again."
        )
    return file
