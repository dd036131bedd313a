"""The spectrum of a matrix, or of several pooled ones, with what it can be trusted for."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from spectra.errors import NonFiniteWeightsError

FloatArray = NDArray[np.float64]


@dataclass(frozen=True)
class Spectrum:
    """The eigenvalues of one matrix or of several pooled ones, and what they can be trusted for.

    Attributes:
        eigenvalues: Shape ``(n,)``, float64, ascending, >= 0.
        null_threshold: Eigenvalues at or below it are round-off of zero.
        method: ``"gram"`` or ``"svd"``: the route that gave the values.
        precision: ``"float64"`` or ``"float32"``: the arithmetic of the Gram product or of the singular values; on a device of
            torch's also of the eigensolver.
        rank: Number of singular values above ``max(shape) * eps * largest``; ``None`` where the route
            cannot tell.
        rank_loss: Number of singular values that are not, matrix by matrix; ``None`` likewise.
        smallest: Shape ``(number of matrices,)``: the smallest eigenvalue of each matrix of a pool.
        note: Where it was computed, if not where it was asked for.
    """

    eigenvalues: FloatArray
    null_threshold: float
    method: str
    precision: str
    rank: int | None
    rank_loss: int | None
    smallest: FloatArray
    note: str = ""

    def scaled(self, factor: float) -> Spectrum:
        """Multiply all eigenvalues by a positive number."""
        return replace(
            self,
            eigenvalues=self.eigenvalues * factor,
            null_threshold=self.null_threshold * factor,
            smallest=self.smallest * factor,
        )


def pool(spectra: Sequence[Spectrum], large: int) -> Spectrum:
    """Concatenate the spectra of the matrices of one layer, for example its kernel positions.

    Args:
        spectra: At least one spectrum, of matrices of equal shape.
        large: Their larger side; enters the tolerance of the pooled rank.

    Returns:
        All eigenvalues, ascending. ``rank`` counts against the largest singular value of the pool, ``rank_loss`` sums
        what each matrix loses against its own largest.
    """
    if len(spectra) == 1:
        return spectra[0]
    values = np.sort(np.concatenate([s.eigenvalues for s in spectra]))
    precision = spectra[0].precision
    losses = [s.rank_loss for s in spectra]
    rank = rank_loss = None
    if all(loss is not None for loss in losses):
        rank_loss = sum(loss for loss in losses if loss is not None)
        singular = np.sqrt(values)
        rank = int(np.count_nonzero(singular > singular[-1] * large * np.finfo(precision).eps))
    method = "svd" if any(s.method == "svd" for s in spectra) else "gram"
    smallest = np.concatenate([s.smallest for s in spectra])
    note = "; ".join(dict.fromkeys(s.note for s in spectra if s.note))
    return Spectrum(values, max(s.null_threshold for s in spectra), method, precision, rank, rank_loss, smallest, note)


def spectrum_of_singular_values(singular: FloatArray, large: int, precision: str, scale: float = 1.0) -> Spectrum:
    """Square the singular values of a matrix.

    Args:
        singular: Shape ``(small,)``, ascending, those of ``scale`` times the matrix.
        large: Its larger side.
        precision: Arithmetic that they come from.
        scale: A power of two.

    Returns:
        The spectrum of the matrix, as of the ``svd`` route.

    Raises:
        NonFiniteWeightsError: Squares outside the range of float64.
    """
    small = len(singular)
    tolerance = float(singular[-1]) * large * float(np.finfo(precision).eps)
    rank = int(np.count_nonzero(singular > tolerance))
    # Squared at unit scale, so that only the result can leave the range of float64.
    unit = unit_scale(float(singular[-1]))
    values = (singular * unit) ** 2
    found = Spectrum(values, (tolerance * unit) ** 2, "svd", precision, rank, small - rank, values[:1])
    return unscaled(found, scale * unit)


def unscaled(found: Spectrum, scale: float) -> Spectrum:
    """Undo a scale of the matrix.

    Args:
        found: Of ``scale`` times the matrix.
        scale: A power of two.

    Returns:
        The spectrum of the matrix.

    Raises:
        NonFiniteWeightsError: Squares outside the range of float64.
    """
    if scale == 1.0 and np.isfinite(found.eigenvalues[-1]):
        return found
    significant = found.eigenvalues[found.eigenvalues > found.null_threshold]
    with np.errstate(over="ignore", under="ignore"):
        factor = float(np.float64(1.0) / scale / scale)
        total = float(significant.sum() * factor)
        smallest = float(significant[0] * factor) if len(significant) else math.inf
        # Below the normal numbers digits get lost, one after the other.
        if not (np.isfinite(total) and smallest >= np.finfo(np.float64).tiny):
            raise NonFiniteWeightsError("the squares of the weights leave the range of float64; rescale or exclude the layer.")
        return found.scaled(factor)


def unit_scale(largest: float) -> float:
    """Return the power of two that brings a number between 1/2 and 1.

    Args:
        largest: >= 0, finite.

    Returns:
        The power; 1 for zero, and 2**1000 for subnormal numbers: the inverse of the smallest ones is infinite.
    """
    return math.ldexp(1.0, min(-math.frexp(largest)[1], 1000)) if largest > 0.0 else 1.0
