"""The trace-log condition: how many of the largest eigenvalues have a product of one (exact renormalisation group)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from spectra.errors import InputError
from spectra.esd.power_law import ascending_spectrum


@dataclass(frozen=True)
class TraceLog:
    r"""The trace-log condition of a spectrum :math:`\lambda_i`, with :math:`y_i = \lambda_i / \bar\lambda`.

    Attributes:
        num_erg: Smallest ``k`` for which the product of the ``k`` largest ``y`` is below 1, so that the value that crosses
            is included; all of them where only the smallest is missing; 0 for fewer than 2 values or a constant spectrum.
        value: Eigenvalue of that rank, in the unit of the eigenvalues; NaN where ``num_erg`` is 0. (WeightWatcher's
            ``detX_val``.)
        value_rescaled: The same divided by the mean (WeightWatcher's ``detX_val_unrescaled``).
        gap: ``num_erg - num_tail``; ``None`` without a tail.
        logdet_tail: Sum of ``ln y`` over the tail, which vanishes where the condition holds; NaN without a tail or with
            zeros in it.
        mean_logdet_tail: The same divided by ``num_tail``.
    """

    num_erg: int
    value: float
    value_rescaled: float
    gap: int | None
    logdet_tail: float
    mean_logdet_tail: float


def trace_log_condition(eigenvalues: ArrayLike, num_tail: int | None = None, *, num_removed: int = 0) -> TraceLog:
    r"""Find the number of largest eigenvalues for which :math:`\det X = 1`, at a mean eigenvalue of 1.

    .. math:: \sum_{i = n - k}^{n - 1} \ln y_i < 0 \quad\text{for the smallest } k, \qquad y_i = \lambda_i / \bar\lambda

    The sum of logarithms replaces WeightWatcher's product, which overflows from about 2800 values on.

    Source: WeightWatcher 0.7.7, ``RMT_Util.detX_constraint``; SETOL, arXiv 2507.17912, which asks for the sum over the
    tail to vanish.

    Args:
        eigenvalues: Shape ``(n,)``, any order, zeros included.
        num_tail: Number of values in the tail of a power-law fit.
        num_removed: Values above that tail which were left out of the fit, as the fingers of ``xmin="clip"``. They count for
            the mean and ``num_erg``, and not for ``logdet_tail``.

    Returns:
        The condition. It has no unit and no free parameter: multiplying all eigenvalues by a number changes only ``value``.

    Raises:
        InputError: A negative, infinite or NaN eigenvalue; a tail of fewer than one value or of more than there are; fewer than
            none removed.

    Example:
        >>> trace_log_condition([0.5, 1.0, 2.0, 4.5], num_tail=2).num_erg  # 4.5 * 2 * 1 * 0.5 < 16 = mean**4
        4
    """
    values, _ = ascending_spectrum(eigenvalues)
    n = len(values)
    if not 0 <= num_removed <= n:
        raise InputError(f"num_removed: expected a number from 0 to {n}, the number of eigenvalues, got {num_removed}.")
    if num_tail is not None and not 1 <= num_tail <= n - num_removed:
        of = "the number of eigenvalues" if num_removed == 0 else "the eigenvalues that were not removed"
        raise InputError(f"num_tail: expected a number from 1 to {n - num_removed}, {of}, got {num_tail}.")
    if n == 0 or values[-1] == 0.0:
        return TraceLog(0, math.nan, math.nan, None if num_tail is None else -num_tail, math.nan, math.nan)

    # Divided by the largest first, so that the sum stays in range. Base 2, so that products of powers of two are exact.
    rescaled = values / values[-1]
    rescaled /= rescaled.mean()
    with np.errstate(divide="ignore"):
        log2_products = np.cumsum(np.log2(rescaled[::-1]))
    num_erg = 0
    value = value_rescaled = math.nan
    if values[0] < values[-1]:
        below = np.flatnonzero(log2_products[:-1] < 0.0)
        # As WeightWatcher, which never forms the product of all values: it is at most 1 anyway.
        num_erg, index = (int(below[0]) + 1, n - 1 - int(below[0])) if len(below) else (n, 1)
        value, value_rescaled = float(values[index]), float(rescaled[index])
    logdet = math.nan
    gap = None
    if num_tail is not None:
        gap = num_erg - num_tail
        above = float(log2_products[num_removed - 1]) if num_removed else 0.0
        log2_product = float(log2_products[num_removed + num_tail - 1]) - above
        logdet = log2_product * math.log(2.0) if math.isfinite(log2_product) else math.nan
    return TraceLog(num_erg, value, value_rescaled, gap, logdet, logdet / num_tail if num_tail else math.nan)
