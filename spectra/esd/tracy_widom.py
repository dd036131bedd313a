r"""The Tracy-Widom law of the largest eigenvalue of a random matrix: how far above the bulk's edge noise reaches.

For a real :math:`N \times M` matrix of independent entries with variance :math:`\sigma^2`, the largest eigenvalue of
:math:`W^T W` is about :math:`\sigma^2 (\mu + \tau X)` with ``X`` of law TW1 (Johnstone 2001, Annals of Statistics 29).
"""

from __future__ import annotations

import math
from functools import lru_cache

import numpy as np

from spectra.errors import InputError

# Upper quantiles of TW1, Johnstone 2001 gives 0.45, 0.98, 2.02; digits by `tw1_cdf`. They spare the import of SciPy.
_KNOWN_QUANTILES = {0.90: 0.450143289058, 0.95: 0.979316053470, 0.99: 2.023449281380}

# The determinant has an absolute error of 1e-14: at this distance from 0 and 1 a quantile still has four digits.
_SMALLEST_LEVEL = 1e-10

# Gauss-Legendre nodes on (s, 28 - s), where the kernel has fallen below 1e-15; 60 and 100 nodes agree to 2e-14.
_NODES, _LAST_ARGUMENT = 60, 14.0


def tw1_cdf(s: float) -> float:
    r"""Compute the distribution function of the Tracy-Widom law TW1.

    .. math:: F_1(s) = \det(I - K), \quad K(x, y) = \tfrac12 \mathrm{Ai}\big(\tfrac{x + y}{2}\big) \text{ on } (s, \infty)

    by Gauss-Legendre quadrature of the determinant.

    Source: Ferrari and Spohn (2005), arXiv math-ph/0505012, eq. 1.2; Bornemann (2010), arXiv 0804.2543, section 4.

    Args:
        s: From -12 to 12, outside of which the probability is 0 or 1 to 1e-14.

    Returns:
        The probability, to about 1e-14 absolute.
    """
    from scipy.special import airy

    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    half_length = _LAST_ARGUMENT - s
    x = s + (nodes + 1.0) * half_length
    root = np.sqrt(weights * half_length)
    # The kernel is symmetric, and Airy functions are what takes the time.
    kernel = np.empty((_NODES, _NODES))
    i, j = np.triu_indices(_NODES)
    kernel[i, j] = kernel[j, i] = airy((x[i] + x[j]) / 2.0)[0] / 2.0
    return float(np.linalg.det(np.eye(_NODES) - root[:, None] * kernel * root[None, :]))


@lru_cache(maxsize=256)
def tw1_quantile(level: float) -> float:
    """Compute a quantile of the Tracy-Widom law TW1.

    Args:
        level: Probability, from 1e-10 to 1 - 1e-10.

    Returns:
        The value that TW1 stays below with that probability, to 1e-8 for levels from 1e-5 to 1 - 1e-5. (Chiani's shifted
        gamma, arXiv 1209.3394, which needs no determinant, is off by 0.01 at 0.99 and by 0.05 at 1 - 1e-6: measured.)

    Raises:
        InputError: A level outside that range.
    """
    if level in _KNOWN_QUANTILES:
        return _KNOWN_QUANTILES[level]
    if not _SMALLEST_LEVEL <= level <= 1.0 - _SMALLEST_LEVEL:
        raise InputError(
            f"Tracy-Widom level: expected a probability from {_SMALLEST_LEVEL} to 1 - {_SMALLEST_LEVEL}, got {level}."
        )
    from scipy.optimize import brentq

    return float(brentq(lambda s: tw1_cdf(s) - level, -12.0, 12.0, xtol=1e-12))


def largest_noise_eigenvalue(shape: tuple[int, int], level: float) -> float:
    r"""Compute the value that all eigenvalues of :math:`W^T W` stay below, for noise of unit variance.

    .. math:: \mu + q \tau, \quad \mu = (\sqrt{N - 1} + \sqrt{M})^2, \quad
        \tau = (\sqrt{N - 1} + \sqrt{M}) \big(1 / \sqrt{N - 1} + 1 / \sqrt{M}\big)^{1/3}

    Source: Johnstone (2001), Annals of Statistics 29, eq. 1.3 and 1.4 (N samples, M variables, N >= M).

    Args:
        shape: Rows and columns, in any order; the larger side at least 2.
        level: Probability, as for :func:`tw1_quantile`.

    Returns:
        The value; for an infinite number of rows it would be the edge of the bulk.
    """
    rows, cols = math.sqrt(max(shape) - 1), math.sqrt(min(shape))
    scale = (rows + cols) * math.cbrt(1.0 / rows + 1.0 / cols)
    return (rows + cols) ** 2 + tw1_quantile(level) * scale
