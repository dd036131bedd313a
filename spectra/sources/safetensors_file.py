"""Tensors of a safetensors file, read by rows.

The format is a length, a JSON header and raw little-endian numbers (github huggingface/safetensors). It is read here
and not through the package because its NumPy side refuses bfloat16, its torch side imports torch (a second and 200 MB),
and both keep the file mapped, so that its pages count as memory; plain reads keep one block. The package writes our files.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from io import RawIOBase
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import SourceError
from spectra.printable import named
from spectra.sources.file_checks import reading
from spectra.sources.safetensors_header import read_header
from spectra.sources.small_floats import values_of
from spectra.sources.stored_rows import StoredRows
from spectra.sources.tensors import StoredTensor

if TYPE_CHECKING:
    import torch

# Name in the file → name in torch's words, NumPy dtype of the stored bits.
_DTYPES = {
    "F64": ("float64", "<f8"),
    "F32": ("float32", "<f4"),
    "F16": ("float16", "<f2"),
    "BF16": ("bfloat16", "<u2"),
    "F8_E4M3": ("float8_e4m3fn", "|u1"),
    "F8_E5M2": ("float8_e5m2", "|u1"),
    "F8_E4M3FNUZ": ("float8_e4m3fnuz", "|u1"),
    "F8_E5M2FNUZ": ("float8_e5m2fnuz", "|u1"),
    "F8_E8M0": ("float8_e8m0fnu", "|u1"),
    "I64": ("int64", "<i8"),
    "I32": ("int32", "<i4"),
    "I16": ("int16", "<i2"),
    "I8": ("int8", "|i1"),
    "U64": ("uint64", "<u8"),
    "U32": ("uint32", "<u4"),
    "U16": ("uint16", "<u2"),
    "U8": ("uint8", "|u1"),
    "BOOL": ("bool", "|b1"),
}

# What reading widens and a device takes as it is.
_SHORT = ("bfloat16", "float16")


def read_tensors(path: Path) -> list[StoredTensor]:
    """List the tensors of a file from its header.

    Args:
        path: A ``.safetensors`` file.

    Returns:
        The tensors, in the order of the header.

    Raises:
        SourceError: Not a safetensors file, damaged or truncated.
    """
    entries, start = read_header(path)
    tensors = []
    for entry in entries:
        dtype, stored = _DTYPES.get(entry.dtype, (entry.dtype.lower(), ""))
        reader = _reader(path, start + entry.begin, entry.shape, stored, dtype)
        tensors.append(StoredTensor(name=entry.name, shape=entry.shape, dtype=dtype, read=reader))
    return tensors


def _reader(path: Path, offset: int, shape: tuple[int, ...], stored: str, dtype: str) -> Callable[[int, int], NDArray[Any]]:
    row_size = math.prod(shape[1:])

    def bits_of(start: int, stop: int) -> NDArray[Any]:
        if not stored:
            raise SourceError(f"'{path}' holds numbers of dtype '{named(dtype)}', which are not read. Convert them.")
        count = (stop - start) * row_size
        itemsize = np.dtype(stored).itemsize
        bits = np.empty(count, dtype=stored)
        with reading(path), path.open("rb", buffering=0) as file:
            # Opened anew for every block: thread-safe without a lock, and 10 µs beside a read of megabytes.
            file.seek(offset + start * row_size * itemsize)
            found = _read_into(file, bits)
        if found != bits.nbytes:
            raise SourceError(f"'{path}' became shorter while it was read. Do not write to a checkpoint under analysis.")
        return bits.reshape(stop - start, *shape[1:])

    widen = partial(_widened, dtype=dtype)

    def as_stored(start: int, stop: int) -> torch.Tensor:
        import torch

        return torch.from_numpy(bits_of(start, stop)).view(getattr(torch, dtype))

    return StoredRows(bits_of, widen, as_stored) if dtype in _SHORT else lambda start, stop: widen(bits_of(start, stop))


def _read_into(file: RawIOBase, bits: NDArray[Any]) -> int:
    """Fill an array, by two gigabytes at a time if the system likes; np.fromfile takes twice the time for a row."""
    room = bits.view(np.uint8).data
    found = 0
    while found < len(room) and (number := file.readinto(room[found:])):
        found += number
    return found


def _widened(bits: NDArray[Any], dtype: str) -> NDArray[Any]:
    if dtype == "bfloat16":  # the upper half of a float32
        words = bits.astype(np.uint32)
        words <<= np.uint32(16)
        return words.view(np.float32)
    if dtype.startswith("float8"):
        return np.asarray(values_of(dtype)[bits])
    return bits.astype(np.float32) if dtype == "float16" else bits
