"""Malformed checkpoints, each named by what is wrong with it; and how they are written."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

#: What a case may end with. Most are refused. Some are analysed but for what is wrong: a row fails, or a tensor is skipped.
REFUSED, READ_BUT_FOR_IT, ANY_END = (2,), (0, 1), (0, 1, 2)

#: The file that code in a checkpoint would make, beside it.
MARKER = "marker"


@dataclass(frozen=True)
class Case:
    """One malformed checkpoint.

    Attributes:
        build: Writes it into an empty folder and returns the path to analyse.
        ends: Exit codes that are right.
        options: Further arguments of ``spectra analyze``.
    """

    build: Callable[[Path], Path]
    ends: tuple[int, ...] = REFUSED
    options: tuple[str, ...] = field(default=())


def matrix(rows: int = 24, cols: int = 16, seed: int = 0) -> np.ndarray:
    """A small matrix with a tail."""
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((rows, cols)) * (1.0 - rng.random(cols)) ** (-1 / 3)).astype(np.float32)


def entry(shape: Any, begin: Any, end: Any, dtype: Any = "F32") -> dict[str, Any]:
    """An entry of a safetensors header."""
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def container(header: Any, data: bytes = b"", *, length: int | None = None) -> bytes:
    """The bytes of a safetensors file with this header, right or wrong."""
    text = header if isinstance(header, bytes) else json.dumps(header).encode()
    return (len(text) if length is None else length).to_bytes(8, "little") + text + data


def whole(name: str = "fc.weight") -> bytes:
    """The bytes of a good safetensors file with one matrix."""
    values = matrix()
    return container({name: entry(list(values.shape), 0, values.nbytes)}, values.tobytes())


def written(content: bytes, name: str = "model.safetensors") -> Callable[[Path], Path]:
    """A builder of one file; the path is the file's."""

    def build(folder: Path) -> Path:
        (folder / name).write_bytes(content)
        return folder / name

    return build


def folder_of(files: dict[str, bytes | Any]) -> Callable[[Path], Path]:
    """A builder of a folder: what is no bytes is written as JSON."""

    def build(folder: Path) -> Path:
        for name, content in files.items():
            (folder / name).write_bytes(content if isinstance(content, bytes) else json.dumps(content).encode())
        return folder

    return build
