"""Scalar metrics of a spectrum: norms, ranks, entropy. Base-10 logarithms carry it in their name."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from spectra.esd.eigenvalues import FloatArray

WEAK_RANK_TOLERANCE = 1e-6  # on eigenvalues, as WeightWatcher


@dataclass(frozen=True)
class NormMetrics:
    r"""Norms and ranks of a spectrum :math:`\lambda_i` (all eigenvalues, null ones included).

    Attributes:
        lambda_max: Largest eigenvalue (WeightWatcher's ``spectral_norm``).
        log10_lambda_max: Its logarithm; NaN for a zero matrix.
        spectral_norm: Largest singular value, ``sqrt(lambda_max)``.
        sv_min: Smallest singular value.
        sum_eigenvalues: Sum of the eigenvalues (WeightWatcher's ``norm``).
        log10_sum_eigenvalues: Its logarithm; NaN for a zero matrix.
        frobenius_norm: ``sqrt(sum_eigenvalues)``.
        stable_rank: ``sum_eigenvalues / lambda_max``, in ``[1, n]``; NaN for a zero matrix.
        weak_rank_loss: Number of eigenvalues below 1e-6.
        relative_weak_rank_loss: Number of eigenvalues below ``1e-6 * lambda_max``.
    """

    lambda_max: float
    log10_lambda_max: float
    spectral_norm: float
    sv_min: float
    sum_eigenvalues: float
    log10_sum_eigenvalues: float
    frobenius_norm: float
    stable_rank: float
    weak_rank_loss: int
    relative_weak_rank_loss: int


def norm_metrics(values: FloatArray) -> NormMetrics:
    """Compute norms and ranks from eigenvalues.

    Args:
        values: Shape ``(n,)``, n >= 1, ascending, >= 0.

    Returns:
        The metrics; logarithms and ratios of a zero spectrum are NaN.
    """
    largest, total = float(values[-1]), float(values.sum())
    return NormMetrics(
        lambda_max=largest,
        log10_lambda_max=_log10(largest),
        spectral_norm=math.sqrt(largest),
        sv_min=math.sqrt(float(values[0])),
        sum_eigenvalues=total,
        log10_sum_eigenvalues=_log10(total),
        frobenius_norm=math.sqrt(total),
        stable_rank=total / largest if largest > 0.0 else math.nan,
        weak_rank_loss=int(np.count_nonzero(values < WEAK_RANK_TOLERANCE)),
        relative_weak_rank_loss=int(np.count_nonzero(values < WEAK_RANK_TOLERANCE * largest)),
    )


def log10_alpha_norm(values: FloatArray, alpha: float) -> float:
    r"""Compute :math:`\log_{10} \sum_i \lambda_i^\alpha` without overflow.

    Args:
        values: Shape ``(n,)``, >= 0.
        alpha: The exponent.

    Returns:
        The logarithm; NaN for a zero spectrum or a NaN exponent.
    """
    positive = values[values > 0.0]
    if len(positive) == 0 or math.isnan(alpha):
        return math.nan
    exponents = alpha * np.log(positive)
    largest = float(exponents.max())
    return (largest + math.log(float(np.exp(exponents - largest).sum()))) / math.log(10.0)


def spectral_entropy(values: FloatArray, rank: int, *, epsilon: float = 0.0) -> float:
    r"""Compute :math:`-\sum_i p_i \ln p_i / \ln(\mathrm{rank})` with :math:`p_i = \lambda_i / \sum_j \lambda_j`.

    Args:
        values: Shape ``(n,)``, >= 0.
        rank: The rank of the matrix.
        epsilon: Added to every ``p`` and to the rank. Default 0, with ``0 ln 0 = 0``; WeightWatcher adds 1e-10.

    Returns:
        The entropy, about in ``[0, 1]``; 0 for a matrix of rank one or less.
    """
    if rank <= 1:
        return 0.0
    p = values / values.sum() + epsilon
    p = p[p > 0.0]
    return float(-(p * np.log(p)).sum() / math.log(rank + epsilon))


def _log10(x: float) -> float:
    return math.log10(x) if x > 0.0 else math.nan
