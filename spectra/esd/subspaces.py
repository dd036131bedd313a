r"""Singular vectors of a matrix, and how subspaces of them lie to each other.

Vectors come from the Gram matrix of the smaller side, the route of :mod:`spectra.esd.eigenvalues`. Leading ones, at most a
few, by Lanczos' method (ARPACK) and checked: the residual, and the eigenvalues against the whole spectrum, which the caller
has; a repeated eigenvalue of which a copy was missed shows there. What does not pass, and where no spectrum is at hand, is
solved by LAPACK. All singular vectors, which intruders may need, by LAPACK's divide and conquer.

Seconds on one core, OpenBLAS 0.3.31, for ten leading vectors beside all eigenvalues (``eigvalsh``), without the product:

===============  ==========  ============  ============  ================
Gram matrix      Lanczos     LAPACK, ten   LAPACK, all   all eigenvalues
===============  ==========  ============  ============  ================
384              0.004       0.010         0.025         0.009
4096             0.25 - 4.7  7.8           17            7.9
===============  ==========  ============  ============  ================

The larger number is that of Gaussian noise, whose leading eigenvalues lie close together.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Literal

import numpy as np

from spectra.errors import InputError, NonFiniteWeightsError
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.gram import AnyArray, ReadRows, block_rows, safe_gram, transposed_reader

Side = Literal["left", "right"]

_EPS = float(np.finfo(np.float64).eps)
# Up to this side LAPACK takes 0.02 s at most; Lanczos' method gains nothing for noise, and a third of it for weights.
SMALL_SIDE = 512
# Lanczos vectors kept, or twice what is asked for. ARPACK's default of 20 takes 1.8 times as long for noise of side 4096, and
# as long for weights.
_LANCZOS_VECTORS = 60
# Of the largest eigenvalue: two routes to the spectrum of side n agree to about n * eps, 1e-12 for 4096.
_AGREEMENT = 1e-10


@dataclass(frozen=True)
class SingularVectors:
    """Leading singular vectors.

    Attributes:
        left: Shape ``(rows, k)``, orthonormal columns.
        values: Shape ``(k,)``, descending.
        right: Shape ``(cols, k)``, orthonormal columns.
    """

    left: FloatArray
    values: FloatArray
    right: FloatArray

    def of(self, side: Side) -> FloatArray:
        """Return the vectors of a side."""
        return self.left if side == "left" else self.right


class SingularBasis:
    """The singular vectors of a matrix that is read by blocks of rows, computed when they are asked for.

    Holds the Gram matrix of the smaller side; of a matrix with fewer rows than columns all its numbers, too.

    Args:
        read: ``read(start, stop)`` returns those rows.
        shape: ``(rows, cols)``, both at least 1.
        known: All eigenvalues of the Gram matrix, ascending, if they are known: they make leading vectors cheap. Checked: those
            of another matrix cost time, and change nothing.
        gram: The Gram matrix and its scale, if they are at hand, as :func:`spectra.esd.gram.safe_gram` gives them.

    Attributes:
        shape: ``(rows, cols)``.
        tall: Reads the matrix, or its transpose, by blocks along the larger side.
    """

    def __init__(
        self,
        read: ReadRows,
        shape: tuple[int, int],
        *,
        known: FloatArray | None = None,
        gram: tuple[FloatArray, float] | None = None,
    ) -> None:
        self.shape = shape
        self._is_wide = shape[0] < shape[1]
        self.tall = transposed_reader(read(0, shape[0])) if self._is_wide else read
        self._known = known
        if gram is not None:
            self.gram = gram

    def leading(self, k: int) -> SingularVectors:
        r"""Return the leading singular vectors.

        Args:
            k: How many, at least 1.

        Returns:
            Those of them whose eigenvalue the Gram matrix resolves, :math:`\sigma^2 > n \epsilon \sigma_1^2`; fewer than ``k``
            for a matrix of lower rank. Orthonormal to round-off. Where :math:`\sigma_k` is repeated, they are any of its space.

        Raises:
            NonFiniteWeightsError: A NaN or infinite entry.
        """
        small = min(self.shape)
        gram, scale = self.gram
        known = None if self._known is None or len(self._known) != small else self._known[-k:] * scale * scale
        values, vectors = _leading_eigenvectors(gram, min(k, small), known)
        vectors = vectors[:, values > small * _EPS * max(values[0], 0.0)]
        # The singular vectors inside the subspace found: orthonormal on the larger side, too, however small the values.
        left, singular, turn = np.linalg.svd(self.times(vectors), full_matrices=False)
        right = vectors @ turn.T
        return SingularVectors(right, singular, left) if self._is_wide else SingularVectors(left, singular, right)

    def largest_cosines(self, vectors: FloatArray, side: Side) -> FloatArray:
        r"""Find how close unit vectors come to any singular vector.

        Args:
            vectors: Shape ``(rows, p)`` for the left side, ``(cols, p)`` for the right one; columns of length 1.
            side: ``"left"`` or ``"right"``.

        Returns:
            Shape ``(p,)``: for each the largest absolute cosine to a singular vector of the side, over all that the Gram matrix
            resolves, :math:`\sigma^2 > n \epsilon \sigma_1^2`: below a millionth of the largest singular value directions count
            as absent. 0 for a zero matrix.

        Raises:
            NonFiniteWeightsError: A NaN or infinite entry.
        """
        of_small, values = self._all
        if (side == "right") != self._is_wide:
            cosines = np.abs(vectors.T @ of_small)
        else:
            cosines = np.abs(self.transposed_times(vectors).T @ of_small) / values
        return np.asarray(np.minimum(cosines.max(axis=1, initial=0.0), 1.0))

    def times(self, vectors: FloatArray) -> FloatArray:
        """Multiply the tall matrix, shape ``(large, small)``, by vectors of shape ``(small, k)``."""
        blocks = [block.astype(np.float64) @ vectors for _, _, block in self._blocks()]
        return blocks[0] if len(blocks) == 1 else np.concatenate(blocks)

    def transposed_times(self, vectors: FloatArray) -> FloatArray:
        """Multiply the transpose of the tall matrix by vectors of shape ``(large, k)``."""
        total = np.zeros((min(self.shape), vectors.shape[1]))
        for start, stop, block in self._blocks():
            total += block.astype(np.float64).T @ vectors[start:stop]
        return total

    @cached_property
    def gram(self) -> tuple[FloatArray, float]:
        """The Gram matrix of the smaller side, of ``scale`` times the matrix, and that scale.

        Raises:
            NonFiniteWeightsError: A NaN or infinite entry.
        """
        gram, scale = safe_gram(self.tall, max(self.shape), min(self.shape), "float64")
        if not np.isfinite(np.trace(gram)):
            raise NonFiniteWeightsError("the weights hold NaN or infinite values; repair or exclude the layer.")
        return gram, scale

    @cached_property
    def _all(self) -> tuple[FloatArray, FloatArray]:
        """Resolved singular vectors of the smaller side, and their singular values."""
        gram, scale = self.gram
        values, vectors = np.linalg.eigh(gram)
        is_resolved = values > len(values) * _EPS * max(values[-1], 0.0)
        return vectors[:, is_resolved], np.sqrt(values[is_resolved]) / scale

    def _blocks(self) -> Iterator[tuple[int, int, AnyArray]]:
        large, step = max(self.shape), block_rows(min(self.shape))
        for start in range(0, large, step):
            stop = min(start + step, large)
            yield start, stop, self.tall(start, stop)


def principal_angles(first: FloatArray, second: FloatArray) -> FloatArray:
    """Compute the principal angles between two subspaces.

    Small ones by their sine, large ones by their cosine, as each loses half its digits at the other end (Björck and Golub
    1973, doi:10.2307/2005662; Knyazev and Argentati 2002, doi:10.1137/S1064827500377332).

    Args:
        first: Shape ``(n, p)``, orthonormal columns.
        second: Shape ``(n, q)``, orthonormal columns.

    Returns:
        Shape ``(min(p, q),)``: radians in [0, pi/2], ascending.

    Raises:
        InputError: Vectors of different length.

    Example:
        >>> import numpy as np
        >>> plane, line = np.eye(3)[:, :2], np.array([[1.0], [0.0], [1.0]]) / np.sqrt(2)
        >>> np.degrees(principal_angles(plane, line)).round(6)
        array([45.])
    """
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second):
        raise InputError(f"principal angles need vectors of equal length, got shapes {first.shape} and {second.shape}.")
    if first.shape[1] < second.shape[1]:
        first, second = second, first
    cross = first.T @ second
    cosines = np.linalg.svd(cross, compute_uv=False)
    sines = np.linalg.svd(second - first @ cross, compute_uv=False)[::-1]
    is_large = cosines**2 < 0.5
    angles = np.where(is_large, np.arccos(np.minimum(cosines, 1.0)), np.arcsin(np.minimum(sines, 1.0)))
    return np.asarray(np.sort(angles))


def _leading_eigenvectors(gram: FloatArray, k: int, known: FloatArray | None) -> tuple[FloatArray, FloatArray]:
    """Return the ``k`` largest eigenvalues, descending, and their vectors."""
    small = len(gram)
    found = None if known is None or small <= SMALL_SIDE else _by_lanczos(gram, k, known)
    if found is None:
        from scipy.linalg import eigh

        found = eigh(gram, subset_by_index=[small - k, small - 1], driver="evr", check_finite=False)
    values, vectors = found
    return values[::-1], vectors[:, ::-1]


def _by_lanczos(gram: FloatArray, k: int, known: FloatArray) -> tuple[FloatArray, FloatArray] | None:
    """Return eigenvalues, ascending, and vectors if they are what they should be."""
    from scipy.sparse.linalg import ArpackError, eigsh

    small, largest = len(gram), float(known[-1])
    kept = max(_LANCZOS_VECTORS, 2 * k)
    if k + kept >= small or largest <= 0.0:
        return None
    rng = np.random.default_rng(0)  # of the start and of restarts, so that digits repeat
    try:
        values, vectors = eigsh(gram, k=k, which="LA", v0=rng.standard_normal(small), ncv=kept, rng=rng)
    except ArpackError:  # no convergence
        return None
    residual = float(np.linalg.norm(gram @ vectors - vectors * values, axis=0).max())
    is_right = max(residual, float(np.abs(values - known).max())) <= _AGREEMENT * largest
    return (values, vectors) if is_right else None
