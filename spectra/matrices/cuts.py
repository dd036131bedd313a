"""Three ways in which a stored tensor holds matrices, and how each of them is read.

============  =================================  ==================================  ================================
cut           tensor                             a matrix is                         reading one needs
============  =================================  ==================================  ================================
``Dense``     two axes                           some of its rows or columns         the rows wanted
``Entries``   a stack along the first axis       rows or columns of one entry        that entry, once
``Kernel``    ``(first, second, *kernel)``       one kernel position of one group    the rows of its group
============  =================================  ==================================  ================================
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.matrices.stripes import Stripes
from spectra.sources.tensors import StoredTensor

Array = NDArray[Any]
ReadRows = Callable[[int, int], Array]
Factors = tuple[Array, Array]


@dataclass(frozen=True)
class Dense:
    """A part of a two-dimensional weight; all of it by default.

    Attributes:
        rows: Its rows, or ``None`` for all.
        cols: Its columns, or ``None`` for all.
    """

    rows: Stripes | None = None
    cols: Stripes | None = None

    #: A matrix can be read by blocks of rows.
    by_rows = True

    def readers(self, tensor: StoredTensor) -> Iterator[ReadRows]:
        """Yield the one reader; it reads no row that is not asked for."""
        yield tensor.read if self.rows is None and self.cols is None else _reader_of_part(tensor, self.rows, self.cols)

    def factors(self, tensor: StoredTensor) -> Iterator[Factors]:
        """Yield the rows of the left factor and the columns of the right one."""
        left, right = _factors(tensor)
        yield _taken(left, self.rows, None), _taken(right, None, self.cols)


@dataclass(frozen=True)
class Entries:
    """The same part of some matrices of a stack: experts, or the slices of a bilinear form.

    Attributes:
        numbers: Which entries of the first axis.
        height: For entries packed below one another in a two-dimensional tensor: rows of one of them.
        rows: The rows of an entry, or ``None`` for all.
        cols: The columns of an entry, or ``None`` for all.
    """

    numbers: range
    height: int = 0
    rows: Stripes | None = None
    cols: Stripes | None = None

    by_rows = True

    def readers(self, tensor: StoredTensor) -> Iterator[ReadRows]:
        """Yield one reader per entry. It reads the entry at its first call and keeps it for the other blocks."""
        for number in self.numbers:
            yield self._reader(tensor, number)

    def _reader(self, tensor: StoredTensor, number: int) -> ReadRows:
        @cache
        def entry() -> Array:
            if self.height:
                return tensor.read(number * self.height, (number + 1) * self.height)
            found: Array = tensor.read(number, number + 1)[0]
            return found

        return lambda start, stop: _taken(entry(), self.rows, self.cols)[start:stop]

    def factors(self, tensor: StoredTensor) -> Iterator[Factors]:
        """Yield the rows of the left factor, or for a stack of three axes each entry and the identity.

        A product that is thin for the flattened stack is not thin for one entry.
        """
        left, right = _factors(tensor)
        for number in self.numbers:
            if self.height:
                block = left[number * self.height : (number + 1) * self.height]
                yield _taken(block, self.rows, None), _taken(right, None, self.cols)
            else:
                entry = _taken((left[number] @ right).reshape(tensor.shape[1:]), self.rows, self.cols)
                yield entry, np.eye(entry.shape[1], dtype=entry.dtype)


@dataclass(frozen=True)
class Kernel:
    """Matrices of a convolution, one per kernel position and group, position by position.

    Attributes:
        groups: Number of groups of the convolution, along the first axis.
        chosen: Which groups.
        positions: Which positions of the flattened kernel.
    """

    groups: int
    chosen: range
    positions: range

    by_rows = False

    def readers(self, tensor: StoredTensor) -> Iterator[ReadRows]:
        """Read the rows of the chosen groups once and yield readers of views of them."""
        stack = self.stack(tensor)
        for position in self.positions:
            for kernel in stack:
                yield _rows_of(kernel[:, :, position])

    def stack(self, tensor: StoredTensor) -> Array:
        """Return the kernels of the chosen groups, shape ``(chosen, first / groups, second, positions)``."""
        first, second, *kernel = tensor.shape
        size = first // self.groups
        rows = tensor.read(self.chosen.start * size, self.chosen.stop * size)
        return rows.reshape(len(self.chosen), size, second, math.prod(kernel))

    def factors(self, tensor: StoredTensor) -> Iterator[Factors]:
        """Yield a group's rows of the left factor and a position's columns of the right one."""
        left, right = _factors(tensor)
        first, second, *kernel = tensor.shape
        by_position = right.reshape(len(right), second, math.prod(kernel))
        by_group = left.reshape(self.groups, first // self.groups, -1)
        for position in self.positions:
            for group in self.chosen:
                yield by_group[group], by_position[:, :, position]


Cut = Dense | Entries | Kernel


def _reader_of_part(tensor: StoredTensor, rows: Stripes | None, cols: Stripes | None) -> ReadRows:
    def read(start: int, stop: int) -> Array:
        if rows is None:
            return _taken(tensor.read(start, stop), None, cols)
        pieces = [tensor.read(first, past_last) for first, past_last in rows.intervals(start, stop)]
        found = pieces[0] if len(pieces) == 1 else _joined(pieces) if pieces else tensor.read(0, 0)
        return _taken(found, None, cols)

    return read


def _joined(pieces: list[Array]) -> Array:
    if not hasattr(pieces[0], "detach"):
        return np.concatenate(pieces)
    import torch

    cat: Any = torch.cat  # rows as stored
    joined: Array = cat(pieces)
    return joined


def _taken(array: Array, rows: Stripes | None, cols: Stripes | None) -> Array:
    array = array if rows is None else rows.of(array, 0)
    return array if cols is None else cols.of(array, 1)


def _rows_of(array: Array) -> ReadRows:
    return lambda start, stop: array[start:stop]


def _factors(tensor: StoredTensor) -> Factors:
    assert tensor.factors is not None
    return tensor.factors()
