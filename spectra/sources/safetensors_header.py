"""The header of a safetensors file, checked before it is believed.

What the safetensors package refuses is refused here, too (its ``Metadata.validate``, safetensors/src/tensor.rs): tensors must
follow each other without gap or overlap and fill the file, offsets must be those that shape and dtype ask for, numbers must
be whole. Beyond it: names must be there once and be writable; a longer header than 32 MB is not read. One thing more is
accepted: a dtype that is not known yet, which is listed and never read.
"""

from __future__ import annotations

import json
import math
import reprlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import SourceError
from spectra.printable import named
from spectra.sources.file_checks import LONGEST_JSON, file_size, reading, unique_pairs
from spectra.sources.names import name_fault

# Bits of one number, under the format's names.
BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "F8_E4M3FNUZ", "F8_E5M2FNUZ", "F8_E8M0", "I8", "U8", "BOOL"), 8),
    **dict.fromkeys(("F6_E2M3", "F6_E3M2"), 6),
    "F4": 4,
}

_MOST_DIMENSIONS = 64  # NumPy's limit
_MOST_NUMBERS = 2**63  # of a shape, its zeros left out: the format counts in 64 bits


@dataclass(frozen=True, slots=True)
class Entry:
    """One tensor of the header.

    Attributes:
        name: Of the tensor.
        dtype: Under the format's name.
        shape: As stored.
        begin: First byte, counted from the end of the header.
        end: Byte after the last.
    """

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


class _FaultError(Exception):
    """What is wrong with a header, in words that follow 'is damaged:'."""


def read_header(path: Path) -> tuple[list[Entry], int]:
    """Read and check the header of a file.

    Args:
        path: A ``.safetensors`` file.

    Returns:
        The tensors in the order of the header, and the byte at which the numbers begin.

    Raises:
        SourceError: Not a safetensors file, damaged or truncated.
    """
    size = file_size(path)
    with reading(path), path.open("rb") as file:
        length_bytes = file.read(8)
        length = int.from_bytes(length_bytes, "little")
        if len(length_bytes) < 8 or length > min(size - 8, LONGEST_JSON):
            raise SourceError(
                f"'{path}' is no safetensors file, or truncated: its header length reads {length} bytes, the file has {size}, "
                f"and at most {LONGEST_JSON} are read as a header. Check what the file is, or download it again."
            )
        text = file.read(length)
    start = 8 + length
    try:
        entries = entries_of(text)
        _check_places(entries, size - start)
    except _FaultError as fault:
        raise SourceError(f"'{path}' is damaged: {fault}. Download or copy it again.") from None
    except _CutError as cut:
        raise SourceError(
            f"'{path}' is truncated: tensor '{named(cut.entry.name)}' ends at byte {start + cut.entry.end}, the file at byte "
            f"{size}. Download or copy it again."
        ) from None
    return entries, start


class _CutError(Exception):
    """A tensor ends after the file does."""

    def __init__(self, entry: Entry) -> None:
        super().__init__(entry.name)
        self.entry = entry


def entries_of(text: bytes) -> list[Entry]:
    """Parse a header.

    Args:
        text: JSON in UTF-8.

    Returns:
        The tensors, each checked by itself.

    Raises:
        _FaultError: What is wrong.
    """
    try:
        header = json.loads(text.decode(), object_pairs_hook=unique_pairs)
    except (ValueError, RecursionError, MemoryError) as error:
        why = f" ({named(error)})" if "twice" in str(error) else ""
        raise _FaultError(f"its header is not a JSON object{why}") from None
    if not isinstance(header, dict):
        raise _FaultError("its header is not a JSON object")
    metadata = header.pop("__metadata__", None) or {}
    if not isinstance(metadata, dict) or not all(isinstance(value, str) for value in metadata.values()):
        raise _FaultError("its '__metadata__' is no table of texts")
    return [_entry(name, content) for name, content in header.items()]


def _entry(name: str, content: Any) -> Entry:
    if fault := name_fault(name):
        raise _FaultError(fault)
    fields = content if isinstance(content, dict) else {}
    dtype, shape, offsets = fields.get("dtype"), _whole_numbers(fields.get("shape")), _whole_numbers(fields.get("data_offsets"))
    if not isinstance(dtype, str) or shape is None or offsets is None or len(offsets) != 2:
        raise _FaultError(f"{_shown(name)} has the entry {named(reprlib.repr(content))}")
    entry = Entry(name, dtype, shape, *offsets)
    if not 0 <= entry.begin <= entry.end or min(entry.shape, default=0) < 0:
        offsets_shown = f"{named(entry.begin)} to {named(entry.end)}"
        raise _FaultError(f"{_shown(name)} has shape {named(entry.shape)} and offsets {offsets_shown}")
    if len(entry.shape) > _MOST_DIMENSIONS or math.prod(max(side, 1) for side in entry.shape) >= _MOST_NUMBERS:
        raise _FaultError(f"{_shown(name)} has the shape {named(entry.shape)}, which no machine can hold")
    bits, stored = math.prod(entry.shape) * BITS.get(dtype, 1), 8 * (entry.end - entry.begin)
    if bits != stored if dtype in BITS else bits > stored:
        raise _FaultError(f"{_shown(name)} of shape {entry.shape} and dtype {named(dtype)} takes {named(stored // 8)} bytes")
    return entry


def _shown(name: str) -> str:
    return f"tensor '{named(name)}'"


def _whole_numbers(numbers: Any) -> tuple[int, ...] | None:
    # True is an int to isinstance
    return tuple(numbers) if isinstance(numbers, list) and all(type(number) is int for number in numbers) else None


def _check_places(entries: Sequence[Entry], data_size: int) -> None:
    """Check that tensors follow each other and fill the file: what lies twice or nowhere is a fault, or hidden."""
    cut = next((entry for entry in entries if entry.end > data_size), None)
    if cut is not None:
        raise _CutError(cut)
    place = 0
    for entry in sorted(entries, key=lambda entry: (entry.begin, entry.end)):
        if entry.begin != place:
            what = (
                "overlaps the one before it" if entry.begin < place else f"leaves {entry.begin - place} bytes before it unused"
            )
            raise _FaultError(f"tensor '{named(entry.name)}' at offset {entry.begin} {what}")
        place = entry.end
    if place != data_size:
        raise _FaultError(f"{data_size - place} bytes at its end belong to no tensor")
