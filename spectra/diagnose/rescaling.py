"""Whether a change is a rescaling of the matrix, or rounding: what its entries are beside those of the matrix."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from spectra.esd.eigenvalues import FloatArray
from spectra.esd.gram import pieces_of
from spectra.matrices import WeightMatrices


@dataclass(frozen=True)
class BesideMatrix:
    """A change beside the matrix that it is a change of.

    Attributes:
        scale: The multiple of the matrix that is nearest to the one after; NaN for a zero matrix.
        scale_share: Share of the squared norm of the change that lies along the matrix, in [0, 1].
        is_rounding: Every entry changed by no more than rounding does.
    """

    scale: float
    scale_share: float
    is_rounding: bool


def beside_matrix(change: WeightMatrices, after: WeightMatrices, errors: tuple[float, float]) -> BesideMatrix:
    r"""Compare a change with the matrix, by :math:`\langle \Delta, W \rangle` over blocks of rows.

    Args:
        change: :math:`\Delta`.
        after: :math:`W + \Delta`, in the same orientation; it may have more rows.
        errors: Of rounding, relative and absolute, as :func:`spectra.diagnose.change_spectrum.rounding_errors` gives them.

    Returns:
        What they have to do with each other.
    """
    inner = of_change = of_before = 0.0
    is_rounding = change.tensor.factors is None and not math.isnan(errors[0])
    for difference, new in _blocks_of_both(change, after):
        old = new - difference
        inner += float(np.vdot(difference, old))
        of_change += float(np.vdot(difference, difference))
        of_before += float(np.vdot(old, old))
        if is_rounding:
            largest = np.maximum(np.abs(old), np.abs(new))
            is_rounding = bool((np.abs(difference) <= np.maximum(errors[0] * largest, errors[1])).all())
    if of_before == 0.0 or of_change == 0.0:
        return BesideMatrix(math.nan, math.nan, is_rounding)
    explained = inner / math.sqrt(of_change) / math.sqrt(of_before)
    return BesideMatrix(1.0 + inner / of_before, min(explained**2, 1.0), is_rounding)


def _blocks_of_both(change: WeightMatrices, after: WeightMatrices) -> Iterator[tuple[FloatArray, FloatArray]]:
    shape = (change.num_rows, change.num_cols)
    for first, second in zip(change.readers(), after.readers(), strict=True):
        for difference, new in zip(pieces_of(first, shape), pieces_of(second, shape), strict=True):
            yield difference.astype(np.float64), new.astype(np.float64)
