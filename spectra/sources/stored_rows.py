"""Rows of a tensor: widened, for NumPy; in what holds their bits, until then; and as torch has them, for a device."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class StoredRows:
    """A ``read`` that can give the same numbers without widening them.

    bfloat16 is half the bytes to hold and on the way to a device, and a live weight that is on a device already does not leave
    it. These forms belong to the first, and not to the tensor: whoever puts another ``read`` in its place (a difference, a
    dequantized weight) does away with all of them.

    Attributes:
        held: ``held(start, stop)`` returns those rows in what holds their bits: an array or a torch tensor.
        widen: Turns that, or any slice of it, into numbers as ``StoredTensor.read`` gives them.
        stored: ``stored(start, stop)`` returns the same rows as a torch tensor of the stored dtype, where they are.
    """

    held: Callable[[int, int], Any]
    widen: Callable[[Any], NDArray[Any]]
    stored: Callable[[int, int], Any]

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows as ``StoredTensor.read`` does."""
        return self.widen(self.held(start, stop))
