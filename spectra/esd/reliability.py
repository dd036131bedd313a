r"""Is a fitted tail evidence of anything? Four conditions, calibrated in ``analysis/fit_quality``.

A fit by itself proves little: a Gaussian matrix gets a finite alpha too, often between 2 and 6. What a random matrix
cannot do is reach far: its eigenvalues end at the edge of the Marchenko–Pastur law. So the tail is compared with the
longest one that law has, which is that of a square matrix (singular values on the quarter circle). With the mean log
excess, the quantity that Hill's estimator inverts,

.. math:: H = \frac{1}{k} \sum_{i=1}^{k} \ln \frac{x_{(n-i+1)}}{x_{(n-k+1)}} \approx \frac{1}{\alpha - 1}, \qquad
          H_0(s) = \mathrm{E}\left[\ln (x / x_s) \mid x \ge x_s\right], \qquad
          z = \sqrt{k} \left( \frac{H}{H_0(k/n)} - 1 \right),

where :math:`x_s` is exceeded by a share :math:`s` of the quarter-circle law: the tail is longer than a random one by
:math:`z` standard errors of Hill's estimator (:math:`H / \sqrt{k}`, arXiv 0706.1062 eq. 3.2). Neither the scale nor the
shape of the matrix is needed: taller ones only have shorter tails.

Of pooled matrices the ends of all their spectra come together. The largest eigenvalue of a small matrix scatters beyond the
edge, and the few largest of many look like a tail; what is one reaches further in than the first value of each matrix.
"""

from __future__ import annotations

import math
from functools import cache

import numpy as np

from spectra.errors import InputError
from spectra.esd.eigenvalues import FloatArray

# Measured in analysis/fit_quality, where "trained" means 183 layers of five models, and thresholds were chosen on one half.
#
# The specification's guess, kept for tails that `ks` did not choose: the median fit of an ideal random spectrum lies at 0.175
# (fixture C). After the other two conditions it refuses no trained layer under `ks`, and 0.2 % of the planted tails.
MAX_KS_DISTANCE = 0.15
# The standard error is then a third of alpha - 1: our choice. Not needed against noise; costs 3 % of the trained layers.
MIN_RELIABLE_TAIL = 10
# The round number at which 0.5 % of the noise matrices still have an alpha in [2, 6] that is called reliable; 0.6 % on the
# other half. At 1.5 it would be about 1 %.
MIN_STANDARD_ERRORS = 2.0
# Of a longer tail, only the largest quarter of the spectrum is compared: the quarter circle reaches down to zero, so that the
# whole of it is as long as any power law. A tenth keeps 3 % fewer trained layers at equal noise; a half keeps 2 % more, but
# no spectrum that is a power law throughout with alpha above 2.1 (a quarter: 3.5).
MAX_COMPARED_SHARE = 0.25

# Up to this angle the largest 55 % of the quarter-circle law lie. 2049 points: H_0 to 1e-4 for shares above 0.1 %, relative.
_LARGEST_ANGLE, _NUM_ANGLES = 1.2, 2049


def reliability_notes(values: FloatArray, *, num_tail: int, ks_distance: float, num_matrices: int = 1) -> list[str]:
    """Say what speaks against the power-law fit of a tail.

    Args:
        values: Shape ``(n,)``, n >= 2, positive, ascending: the whole spectrum without its null values.
        num_tail: How many of the largest values were fitted.
        ks_distance: Kolmogorov–Smirnov distance of the fit.
        num_matrices: How many matrices the spectrum is pooled from. A tail has at least as many values. Default 1. Without
            this condition 27 of 30 grouped convolutions of Gaussian weights (288 matrices of 4 x 4) are reliable, 12 of them
            with an alpha between 2 and 6, and 8 of 8 Gaussian 1024 x 1024 matrices in windows of 64 rows; with it none. It
            refuses no convolution of the ResNets of ``analysis/fit_quality``. Twice as many values would also refuse most of
            what Student's t with 5 degrees leaves, and 14 of the 49 of ResNet-56.

    Returns:
        One note for each condition that does not hold; empty for a fit that can be relied on.

    Raises:
        InputError: ``num_tail`` out of range.

    Example:
        >>> pareto = (1 - (np.arange(400) + 0.5) / 400) ** (-1 / 1.2)  # alpha 2.2
        >>> reliability_notes(pareto, num_tail=400, ks_distance=0.01)
        []
        >>> reliability_notes(np.linspace(0.5, 1.0, 400), num_tail=40, ks_distance=0.1)
        ['random-like tail, z -5.5 < 2']
    """
    notes = []
    if not ks_distance <= MAX_KS_DISTANCE:
        notes.append(f"KS distance {ks_distance:.3f} > {MAX_KS_DISTANCE}")
    if num_tail < MIN_RELIABLE_TAIL:
        notes.append(f"only {num_tail} tail values")
    if num_tail < num_matrices:
        notes.append(f"{num_tail} tail values of {num_matrices} matrices: the ends of their spectra")
    excess = tail_excess(values, num_tail)
    if not excess > MIN_STANDARD_ERRORS:
        notes.append(f"random-like tail, z {excess:.1f} < {MIN_STANDARD_ERRORS:.0f}")
    return notes


def tail_excess(values: FloatArray, num_tail: int) -> float:
    """Compute by how many standard errors a tail is longer than that of a random square matrix.

    Args:
        values: Shape ``(n,)``, n >= 2, positive, ascending.
        num_tail: How many of the largest values form the tail; at most a quarter of all is compared.

    Returns:
        The number ``z`` of the module's description. About 0 for a random square matrix, below for a random tall one,
        above 2 for a tail that random weights do not have.

    Raises:
        InputError: ``num_tail`` not in ``[1, n]``.
    """
    if not 1 <= num_tail <= len(values):
        raise InputError(f"num_tail: expected 1 to {len(values)}, the number of values, got {num_tail}.")
    size = min(num_tail, math.ceil(MAX_COMPARED_SHARE * len(values)))
    logs = np.log(values[-size:])  # not of ratios, which overflow where the range exceeds that of float64
    log_excess = float((logs - logs[0]).mean())
    return math.sqrt(size) * (log_excess / random_log_excess(size / len(values)) - 1.0)


def random_log_excess(share: float) -> float:
    r"""Compute the mean log excess of the largest eigenvalues of a large random square matrix.

    With :math:`\lambda = 4 \cos^2 u`, the share above it is :math:`s(u) = (2u - \sin 2u) / \pi`, and

    .. math:: H_0 = \frac{1}{s} \int_0^u s(v) \, 2 \tan v \, dv .

    Source: the Marchenko–Pastur law at aspect ratio 1, integrated by parts.

    Args:
        share: Which part of the spectrum is the tail, in ``(0, 0.5]``.

    Returns:
        The mean of ``ln(x / x_share)`` over that part; :math:`0.4\,(3\pi s/4)^{2/3}` for small shares.

    Raises:
        InputError: A share outside the range.

    Example:
        >>> round(random_log_excess(0.25), 4)  # a tail of a quarter looks like alpha = 1 + 1 / 0.4061
        0.4061
    """
    if not 0.0 < share <= 0.5:
        raise InputError(f"share: expected a number in (0, 0.5], got {share}.")
    shares, integrals = _quarter_circle()
    return float(np.interp(share, shares, integrals)) / share


@cache
def _quarter_circle() -> tuple[FloatArray, FloatArray]:
    """Tabulate, in equal steps of the angle u, the share s(u) and the integral of s(v) 2 tan(v) from 0 to u."""
    angles = np.linspace(0.0, _LARGEST_ANGLE, _NUM_ANGLES)
    shares = (2.0 * angles - np.sin(2.0 * angles)) / np.pi
    integrand = 2.0 * shares * np.tan(angles)
    steps = 0.5 * (integrand[1:] + integrand[:-1]) * np.diff(angles)
    return shares, np.concatenate([[0.0], np.cumsum(steps)])
