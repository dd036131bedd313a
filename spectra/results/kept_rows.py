"""Rows of the table that outlive their analysis: a folder of small files, one for each row, under a key.

A file ``DIR/ab/abcd….safetensors`` holds a row as JSON, its eigenvalues and a checksum over both and the key. It is written
under a name of its own and moved into place, so that any number of writers may share a folder: they never see a part, and what
they write under one key is the same. Whatever fails the checksum is no entry, and is written anew.
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import ResultsError
from spectra.results.records import LayerDiagnostics, layer_from_dict
from spectra.results.writing import CACHE_TAG, made, names_in, write_whole

KeptRow = tuple[LayerDiagnostics, NDArray[np.float64]]

# The first line is the same in every cache.
_TAG_TEXT = b"""Signature: 8a477f597d28d172789f06886806bc55
# Rows of analyses by Spectra. This folder may be deleted at any time.
"""


def open_rows(folder: str | os.PathLike[str]) -> Path:
    """Make a folder for rows, or find one.

    Args:
        folder: New, empty, or one that this function made.

    Returns:
        The folder.

    Raises:
        ResultsError: It holds something else, or cannot be made.
    """
    path = Path(folder).expanduser()
    tag = path / CACHE_TAG
    if tag.is_file():
        return path
    others = names_in(path) - {CACHE_TAG}
    if tag.is_file():  # asked for again after the names: another process may have made the folder
        return path
    if others:
        raise ResultsError(f"'{path}' is no cache: it holds other files ('{min(others)}'). Choose a new or an empty folder.")
    made(path)
    write_whole(tag, _TAG_TEXT)
    return path


def read_row(folder: Path, key: str, changes: Mapping[str, Any] = MappingProxyType({})) -> KeptRow | None:
    """Read a row.

    Args:
        folder: What ``open_rows`` gave.
        key: Hexadecimal.
        changes: Columns that are other ones here.

    Returns:
        The row and its eigenvalues; ``None`` where there is none, or none that can be trusted.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import load

    try:
        arrays = load(_file(folder, key).read_bytes())
        text, values = arrays["row"].tobytes(), arrays["eigenvalues"]
        if arrays["checksum"].tobytes() != _checksum(key, text, values):
            return None
        return layer_from_dict({**json.loads(text), **changes}), np.array(values, dtype=np.float64)
    except (OSError, SafetensorError, AttributeError, KeyError, TypeError, ValueError):
        return None


def write_row(folder: Path, key: str, row: LayerDiagnostics, eigenvalues: NDArray[np.float64]) -> None:
    """Keep a row, in place of any that is there.

    Args:
        folder: What ``open_rows`` gave.
        key: Hexadecimal.
        row: The row.
        eigenvalues: Its spectrum.

    Raises:
        ResultsError: The folder cannot be written.
    """
    from safetensors.numpy import save

    text = json.dumps(row.to_dict()).encode()
    values = np.ascontiguousarray(eigenvalues, dtype=np.float64)
    arrays = {"row": text, "checksum": _checksum(key, text, values)}
    content = save({"eigenvalues": values} | {name: np.frombuffer(data, dtype=np.uint8) for name, data in arrays.items()})
    path = _file(folder, key)
    made(path.parent)
    write_whole(path, content, to_disk=False)  # what a power failure tears fails its checksum


def _file(folder: Path, key: str) -> Path:
    # Folders by the first two digits: some file systems are slow with many thousand names in one.
    return folder / f"{key[:2]}/{key}.safetensors"


def _checksum(key: str, text: bytes, values: NDArray[np.float64]) -> bytes:
    """Cover the key, too: a file under another one's name, by a hand or a damaged file system, is no entry."""
    return hashlib.sha256(b"%s|%d|" % (key.encode(), len(text)) + text + values.tobytes()).digest()
