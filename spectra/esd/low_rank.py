r"""Spectrum and singular vectors of a product of thin factors, :math:`W = L R` of rank at most ``r``, without forming it.

With thin QR factorisations :math:`L = Q_L T_L` and :math:`R^T = Q_R T_R` the singular values of the product are those of
the core :math:`T_L T_R^T`, of shape at most ``(r, r)``. That takes :math:`O((m + n) r^2)` operations instead of the
:math:`O(m n \min(m, n))` of the dense matrix, and keeps the digits that forming it would round away.
"""

from __future__ import annotations

import math
from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra.errors import InputError, NonFiniteWeightsError
from spectra.esd.eigenvalues import PRECISIONS, FloatArray, Precision
from spectra.esd.gram import AnyArray
from spectra.esd.spectrum import Spectrum
from spectra.esd.subspaces import SingularVectors


def low_rank_spectrum(left: ArrayLike, right: ArrayLike, *, precision: Precision = "float64") -> Spectrum:
    r"""Compute the eigenvalues :math:`\sigma_i^2` of ``left @ right`` that can differ from zero.

    Args:
        left: Shape ``(rows, r)``, finite.
        right: Shape ``(r, cols)``, finite.
        precision: Arithmetic of the factorisations, ``"float64"`` or ``"float32"``.

    Returns:
        ``min(r, rows, cols)`` eigenvalues, ascending; the other ``min(rows, cols) - r`` of the dense matrix are exactly
        zero and left out, but count in ``rank_loss``. A singular value is null at or under
        ``max(rows, cols) * eps * largest``, as for a dense matrix, or under the round-off of the core where the factors
        cancel each other.

    Raises:
        InputError: Shapes that cannot be multiplied, complex numbers, or an unknown precision.
        NonFiniteWeightsError: A NaN or infinite entry, or eigenvalues outside the range of float64.

    Example:
        >>> import numpy as np
        >>> left, right = np.eye(5)[:, :2], np.diag([3.0, 2.0]) @ np.eye(7)[:2]
        >>> low_rank_spectrum(left, right).eigenvalues.round(12)
        array([4., 9.])
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}. Known: {', '.join(PRECISIONS)}.")
    first, second = _checked_pair(left, right)
    rows, cols = len(first), second.shape[1]
    if min(rows, cols, len(second)) == 0:
        return Spectrum(np.empty(0), 0.0, "svd", precision, 0, min(rows, cols), np.empty(0))
    first, second, exponent = _balanced(first, second)
    return _of_cores(_triangular(first.astype(precision)), _triangular(second.astype(precision).T), (rows, cols), exponent)


def low_rank_vectors(left: ArrayLike, right: ArrayLike, k: int) -> SingularVectors:
    """Compute the leading singular vectors of ``left @ right``.

    Args:
        left: Shape ``(rows, r)``, finite.
        right: Shape ``(r, cols)``, finite.
        k: How many, at least 1.

    Returns:
        Those of them whose singular value is above round-off, as for :func:`low_rank_spectrum`.

    Raises:
        InputError: Shapes that cannot be multiplied, or complex numbers.
        NonFiniteWeightsError: A NaN or infinite entry.
    """
    first, second = _checked_pair(left, right)
    if min(len(first), second.shape[1], len(second)) == 0:
        return SingularVectors(np.zeros((len(first), 0)), np.zeros(0), np.zeros((second.shape[1], 0)))
    first, second, exponent = _balanced(first, second)
    (left_basis, left_core), (right_basis, right_core) = np.linalg.qr(first), np.linalg.qr(second.T)
    of_left, singular, of_right = np.linalg.svd(left_core @ right_core.T)
    tolerance = _round_off(left_core, right_core, float(singular[0]), (len(first), second.shape[1]))
    count = min(k, int(np.count_nonzero(singular > tolerance)))
    values = np.ldexp(singular[:count], exponent)
    return SingularVectors(left_basis @ of_left[:, :count], values, right_basis @ of_right[:count].T)


def _checked_pair(left: ArrayLike, right: ArrayLike) -> tuple[FloatArray, FloatArray]:
    first, second = _checked("left", left), _checked("right", right)
    if first.shape[1] != second.shape[0]:
        raise InputError(f"left {first.shape} and right {second.shape} cannot be multiplied. Expected (rows, r) and (r, cols).")
    return first, second


def _checked(name: str, factor: ArrayLike) -> FloatArray:
    array = np.asarray(factor)
    if array.ndim != 2 or array.dtype.kind not in "fiub":
        raise InputError(f"{name}: expected a real matrix, got shape {array.shape} and dtype {array.dtype}.")
    if not np.isfinite(array).all():
        num_nan, num_inf = int(np.isnan(array).sum()), int(np.isinf(array).sum())
        raise NonFiniteWeightsError(
            f"factor '{name}' holds {num_nan} NaN and {num_inf} infinite values; repair or exclude the layer."
        )
    return array.astype(np.float64)


def _balanced(left: FloatArray, right: FloatArray) -> tuple[FloatArray, FloatArray, int]:
    """Return ``L`` and ``R`` with entries of at most one, and ``e``, so that ``left @ right`` is ``2**e * L @ R``."""
    # Column by column of left and row by row of right, by powers of two, which are exact: pairs of opposite scales, as
    # 1e20 and 1e-20, would drown in each other's round-off. What remains of a pair's size, relative to the largest, is R's.
    of_left, of_right = _exponents(np.abs(left).max(axis=0)), _exponents(np.abs(right).max(axis=1))
    together = of_left + of_right
    exponent = int(together.max())
    with np.errstate(under="ignore"):
        return np.ldexp(left, -of_left), np.ldexp(right, (together - exponent - of_right)[:, None]), exponent


def _exponents(largest: NDArray[np.float64]) -> NDArray[np.intp]:
    # A pair with a zero column contributes nothing: an exponent so low that it never counts as the largest.
    return np.where(largest > 0.0, np.frexp(largest)[1], -5000).astype(np.intp)


def _triangular(matrix: AnyArray) -> AnyArray:
    return cast(AnyArray, np.linalg.qr(matrix, mode="r"))


def _of_cores(left_core: AnyArray, right_core: AnyArray, shape: tuple[int, int], exponent: int) -> Spectrum:
    rows, cols = shape
    precision = right_core.dtype.name
    singular = np.linalg.svd(left_core @ right_core.T, compute_uv=False)[::-1].astype(np.float64)
    tolerance = _round_off(left_core, right_core, float(singular[-1]), shape)
    rank = int(np.count_nonzero(singular > tolerance))
    with np.errstate(over="ignore", under="ignore"):
        values = np.ldexp(singular**2, 2 * exponent)
        threshold = float(np.ldexp(tolerance**2, 2 * exponent))
        total = float(values.sum())
    # Below the normal numbers digits get lost, one after the other.
    if not math.isfinite(total) or (rank > 0 and values[-rank] < np.finfo(np.float64).tiny):
        raise NonFiniteWeightsError("the squares of the product leave the range of float64; rescale or exclude the layer.")
    return Spectrum(values, threshold, "svd", precision, rank, min(rows, cols) - rank, values[:1])


def _round_off(left_core: AnyArray, right_core: AnyArray, largest: float, shape: tuple[int, int]) -> float:
    """Return the singular value under which there is none."""
    # The core is exact to the product of the norms of its factors, which is more than its own norm where they cancel.
    bound = float(np.linalg.norm(left_core, 2)) * float(np.linalg.norm(right_core, 2))
    return float(np.finfo(right_core.dtype).eps * max(max(shape) * largest, left_core.shape[1] * bound))
