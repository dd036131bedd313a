"""Gram matrices that gave a spectrum, kept for the singular vectors of the same matrix."""

from __future__ import annotations

from spectra.esd.eigenvalues import FloatArray
from spectra.matrices import WeightMatrices

# Our choice: three of side 4096 (of a matrix before, after and of its change), beside the matrices themselves in float64.
MOST_BYTES = 3 * 8 * 4096**2


class KeptGrams:
    """Gram matrices by weight, as long as there is room: what does not fit is computed again.

    Args:
        most_bytes: Room for all of them.
    """

    def __init__(self, most_bytes: int = MOST_BYTES) -> None:
        self._room = most_bytes
        self._kept: dict[int, tuple[FloatArray, float]] = {}

    def keep(self, job: WeightMatrices, gram: FloatArray, scale: float) -> None:
        """Keep that of a weight that is one matrix.

        Args:
            job: The weight; it must live as long as this does.
            gram: Of the smaller side, of ``scale`` times the matrix.
            scale: A power of two.
        """
        if gram.nbytes <= self._room:
            self._room -= gram.nbytes
            self._kept[id(job)] = (gram, scale)

    def of(self, job: WeightMatrices, shape: tuple[int, int]) -> tuple[FloatArray, float] | None:
        """Return the Gram matrix and the scale.

        Args:
            job: The weight.
            shape: Of what it is asked for: of a part of its rows it is another one.

        Returns:
            ``None`` if it is not there.
        """
        return self._kept.get(id(job)) if shape == (job.num_rows, job.num_cols) else None
