"""Files of weights, copied and then changed where the pruned tensors stand.

Setting weights to zero changes neither a dtype nor a size: header, order and all other bytes of a safetensors file stay as they
are, and only one tensor at a time is in memory. The format is a length, a JSON header and raw numbers (github
huggingface/safetensors); its package writes a file only from all its tensors at once.
"""

from __future__ import annotations

import json
import math
import os
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from spectra.sources.names import unwrapped_names


@dataclass(frozen=True)
class Place:
    """Where the numbers of a tensor stand.

    Attributes:
        file: Its name in the folder.
        offset: Of the first byte.
        count: How many numbers.
        itemsize: Bytes of each.
    """

    file: str
    offset: int
    count: int
    itemsize: int


def places_of(files: Sequence[Path]) -> dict[str, list[Place]]:
    """Find where the tensors of a checkpoint stand.

    Args:
        files: In safetensors format; read before, so that they are known to be whole.

    Returns:
        Places by name, without wrappers' prefixes. More than one where several files hold a tensor.
    """
    found = [pair for file in files for pair in _places_in(file)]
    places: dict[str, list[Place]] = defaultdict(list)
    names = list(dict.fromkeys(name for name, _ in found))
    plain = dict(zip(names, unwrapped_names(names), strict=True))
    for name, place in found:
        places[plain[name]].append(place)
    return places


def _places_in(file: Path) -> list[tuple[str, Place]]:
    with file.open("rb") as opened:
        length = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(length))
    places = []
    for name, entry in header.items():
        if name != "__metadata__":
            begin, end = entry["data_offsets"]
            count = math.prod(entry["shape"])
            places.append((name, Place(file.name, 8 + length + begin, count, (end - begin) // max(count, 1))))
    return places


def set_to_zero(folder: Path, place: Place, is_pruned: NDArray[np.bool_]) -> None:
    """Set numbers of a file to zero; the others stay as they are, to the bit.

    Args:
        folder: Of the file.
        place: Of the tensor.
        is_pruned: For each number, in any shape.
    """
    with (folder / place.file).open("r+b") as file:
        file.seek(place.offset)
        numbers = np.fromfile(file, dtype=f"u{place.itemsize}", count=place.count)
        numbers[is_pruned.ravel()] = 0  # the bits of zero in every floating-point format
        file.seek(place.offset)
        numbers.tofile(file)


def to_disk(file: Path) -> None:
    """Have a finished file written out, so that a folder that has its name is whole after a power cut too.

    Args:
        file: Written before.
    """
    with file.open("rb") as opened:
        os.fsync(opened.fileno())
