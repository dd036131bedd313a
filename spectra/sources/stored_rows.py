"""Rows of a tensor in two forms: widened, for NumPy on the host, and as they are stored, for a device of torch's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray


@dataclass(frozen=True)
class StoredRows:
    """A ``read`` that can give the same numbers without widening them.

    bfloat16 is half the bytes on the way to a device, and a live weight that is on a device already does not leave it. The
    second form belongs to the first, and not to the tensor: whoever puts another ``read`` in its place (a difference, a
    dequantized weight) does away with both.

    Attributes:
        widened: ``widened(start, stop)`` returns those rows as ``StoredTensor.read`` does.
        stored: ``stored(start, stop)`` returns the same rows as a torch tensor of the stored dtype, where they are.
    """

    widened: Callable[[int, int], NDArray[Any]]
    stored: Callable[[int, int], Any]

    def __call__(self, start: int, stop: int) -> NDArray[Any]:
        """Return rows as ``widened`` does."""
        return self.widened(start, stop)
