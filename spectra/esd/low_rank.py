r"""Eigenvalues of a product of thin factors, :math:`W = L R` of rank at most ``r``, without forming the product.

With thin QR factorisations :math:`L = Q_L T_L` and :math:`R^T = Q_R T_R` the singular values of the product are those of
the core :math:`T_L T_R^T`, of shape at most ``(r, r)``. That takes :math:`O((m + n) r^2)` operations instead of the
:math:`O(m n \min(m, n))` of the dense matrix, and keeps the digits that forming it would round away.
"""

from __future__ import annotations

from typing import cast

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra.errors import InputError, NonFiniteWeightsError
from spectra.esd.eigenvalues import PRECISIONS, AnyArray, FloatArray, Precision, Spectrum


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
    return low_rank_spectra(left, right, precision=precision)[0]


def low_rank_spectra(
    left: ArrayLike, right: ArrayLike, *, num_positions: int = 1, precision: Precision = "float64"
) -> list[Spectrum]:
    """Compute the spectra of the kernel positions of a convolution ``left @ right``; ``left`` is factorised once.

    Args:
        left: Shape ``(out, r)``, finite.
        right: Shape ``(r, in * num_positions)``: a kernel ``(r, in, *kernel)`` with its axes flattened, position last.
        num_positions: Product of the kernel's sides; 1 for a dense weight.
        precision: As for :func:`low_rank_spectrum`.

    Returns:
        One spectrum per kernel position, each as from :func:`low_rank_spectrum`, to be pooled by
        :func:`spectra.esd.eigenvalues.pool`.

    Raises:
        InputError: Shapes that do not fit, complex numbers, or an unknown precision.
        NonFiniteWeightsError: A NaN or infinite entry, or eigenvalues outside the range of float64.
    """
    if precision not in PRECISIONS:
        raise InputError(f"unknown precision {precision!r}. Known: {', '.join(PRECISIONS)}.")
    first, second = _checked("left", left), _checked("right", right)
    if first.shape[1] != second.shape[0] or num_positions < 1 or second.shape[1] % num_positions:
        raise InputError(
            f"left {first.shape} and right {second.shape} cannot be multiplied at {num_positions} kernel positions. Expected "
            "(rows, r) and (r, cols * positions)."
        )
    rank, cols = second.shape[0], second.shape[1] // num_positions
    if min(len(first), cols, rank) == 0:
        none = min(len(first), cols)
        return [Spectrum(np.empty(0), 0.0, "svd", precision, 0, none, np.empty(0))] * num_positions
    first, second, exponent = _balanced(first, second)
    left_core = _triangular(first.astype(precision))
    positions = second.astype(precision).reshape(rank, cols, num_positions)
    return [_of_position(left_core, positions[:, :, p], len(first), exponent) for p in range(num_positions)]


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


def _of_position(left_core: AnyArray, right: AnyArray, rows: int, exponent: int) -> Spectrum:
    cols = right.shape[1]
    precision, eps = right.dtype.name, float(np.finfo(right.dtype).eps)
    right_core = _triangular(right.T)
    singular = np.linalg.svd(left_core @ right_core.T, compute_uv=False)[::-1].astype(np.float64)
    # The core is exact to the product of the norms of its factors, which is more than its own norm where they cancel.
    bound = float(np.linalg.norm(left_core, 2)) * float(np.linalg.norm(right_core, 2))
    tolerance = eps * max(max(rows, cols) * float(singular[-1]), left_core.shape[1] * bound)
    rank = int(np.count_nonzero(singular > tolerance))
    with np.errstate(over="ignore", under="ignore"):
        values = np.ldexp(singular**2, 2 * exponent)
        threshold = float(np.ldexp(tolerance**2, 2 * exponent))
    if not np.isfinite(values[-1]) or (values[-1] == 0.0 and rank > 0):
        raise NonFiniteWeightsError("the squares of the product leave the range of float64; rescale or exclude the layer.")
    return Spectrum(values, threshold, "svd", precision, rank, min(rows, cols) - rank, values[:1])
