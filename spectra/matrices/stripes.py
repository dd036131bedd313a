"""Evenly spaced blocks of rows or columns: the one pattern by which fused weights hold their parts.

Contiguous thirds, parts interleaved head by head, groups of queries with their key and value, and even and odd columns
are all "``count`` times ``width`` rows, ``period`` apart".
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Stripes:
    """The indices ``start + i * period + j`` with ``i < count`` and ``j < width``, in this order.

    Attributes:
        start: First index.
        width: Neighbouring indices of one stripe.
        period: From one stripe to the next.
        count: Number of stripes.
    """

    start: int
    width: int
    period: int
    count: int = 1

    @property
    def length(self) -> int:
        """Number of indices."""
        return self.width * self.count

    def intervals(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield what indices ``start`` to ``stop`` of the part are in the whole.

        Args:
            start: First index of the part.
            stop: One past the last; cut at the end of the part, as a slice is.

        Yields:
            Intervals ``(first, past_last)`` of the whole.
        """
        position, stop = start, min(stop, self.length)
        while position < stop:
            stripe, offset = divmod(position, self.width)
            taken = min(self.width - offset, stop - position)
            first = self.start + stripe * self.period + offset
            yield first, first + taken
            position += taken

    def of(self, array: NDArray[Any], axis: int) -> NDArray[Any]:
        """Take the part out of an array.

        Args:
            array: The whole.
            axis: Along which the stripes run.

        Returns:
            A view where one slice can express the stripes, a copy elsewhere.
        """
        before = (slice(None),) * axis
        if self.count == 1:
            return array[(*before, slice(self.start, self.start + self.width))]
        if self.width == 1:
            return array[(*before, slice(self.start, self.start + self.count * self.period, self.period))]
        indices = np.add.outer(self.start + self.period * np.arange(self.count), np.arange(self.width)).ravel()
        if hasattr(array, "detach"):  # rows as stored, a torch tensor: indexed in the same words
            tensor: Any = array
            found: NDArray[Any] = tensor[(*before, indices)]
            return found
        return np.take(array, indices, axis=axis)

    def block(self, number: int, size: int) -> Stripes:
        """Cut the part into blocks of equal size, such as heads, and return one.

        Args:
            number: Of the block.
            size: Of a block; divides ``width``.

        Returns:
            The block, as a part of the whole.
        """
        ((first, past_last),) = self.intervals(number * size, (number + 1) * size)
        return Stripes(first, past_last - first, past_last - first)


def interleaved(count: int, widths: Sequence[tuple[str, int]]) -> dict[str, Stripes]:
    """Describe parts that take turns: ``count`` times one stripe of each.

    Args:
        count: Number of turns; 1 for contiguous parts.
        widths: Names of the parts, in stored order, and the width of one stripe of each.

    Returns:
        The stripes of each part, by name.

    Example:
        >>> interleaved(2, [("q", 3), ("k", 1)])["k"]
        Stripes(start=3, width=1, period=4, count=2)
    """
    period = sum(width for _, width in widths)
    parts: dict[str, Stripes] = {}
    start = 0
    for name, width in widths:
        parts[name] = Stripes(start, width, period, count)
        start += width
    return parts
