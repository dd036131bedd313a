r"""The Marchenko-Pastur bulk of a spectrum: what independent weights would give, and the spikes that stand above it.

Of an :math:`N \times M` matrix, :math:`N \ge M`, :math:`\gamma = M / N`, with independent entries of variance
:math:`\sigma^2`, the eigenvalues of :math:`W^T W / N` have the density

.. math:: \rho(x) = \frac{\sqrt{(x_+ - x)(x - x_-)}}{2 \pi \gamma \sigma^2 x}, \qquad x_\pm = \sigma^2 (1 \pm \sqrt\gamma)^2 .

Eigenvalues here are not divided by ``N``: the bulk ends at :math:`\lambda_+ = N x_+`. Source: arXiv 1810.01075, section 3.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike

from spectra.errors import InputError, did_you_mean
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.power_law import ascending_spectrum
from spectra.esd.tracy_widom import largest_noise_eigenvalue

if TYPE_CHECKING:
    import torch


class MarchenkoPasturMethod(StrEnum):
    """How the variance of the bulk is estimated."""

    QUANTILE = "quantile"
    """The median of the spectrum without its spikes."""
    KDE = "kde"
    """Least squares to a kernel density, as WeightWatcher, with the quarter circle of square matrices put right."""
    KDE_COMPAT = "kde_compat"
    """Least squares to a kernel density with the numbers of WeightWatcher 0.7.7."""


# Independent Gaussian or uniform entries: 99 % of the matrices with 64 eigenvalues stay below 0.058, with 256 below 0.02 (200
# draws each). Up to this distance one variance describes the bulk: in 8 such layers of all-MiniLM-L6-v2 and stories260K the
# median and the 90 % quantile give variances 2 to 3 % apart (medians), in 33 with 0.06 to 0.1 14 to 34 %, in 23 above 0.1 41
# to 49 %. So few trained layers pass: 3 of the 38 of all-MiniLM-L6-v2 (0.04 to 0.16); its pooler, never trained, has 0.006.
MAX_BULK_KS_DISTANCE = 0.06
# Below it the noise alone exceeds that distance.
MIN_RELIABLE_EIGENVALUES = 50


@dataclass(frozen=True)
class MarchenkoPasturFit:
    r"""A Marchenko-Pastur bulk fitted to a spectrum.

    Where there is no bulk to fit, all numbers but ``scale`` are NaN, ``num_spikes`` is ``None`` and ``notes`` says why.

    Attributes:
        sigma: Standard deviation of the bulk's weights, in their unit.
        sigma_rescaled: The same for eigenvalues of mean 1 (WeightWatcher's ``sigma_mp``): 1 for pure noise, less the more
            of the norm is in spikes.
        scale: Factor on the weights that makes the mean eigenvalue 1 (WeightWatcher's ``W_scale``).
        lambda_minus: Lower edge :math:`N \sigma^2 (1 - \sqrt\gamma)^2`, in the unit of the eigenvalues (``bulk_min``).
        lambda_plus: Upper edge :math:`N \sigma^2 (1 + \sqrt\gamma)^2` (``bulk_max``).
        spike_threshold: Where noise ends: the edge and its Tracy-Widom fluctuation.
        num_spikes: Number of eigenvalues above ``spike_threshold``.
        soft_rank: ``lambda_plus / lambda_max``, arXiv 1810.01075 section 5.1; above 1 where the edge is not reached.
        ks_distance: Kolmogorov-Smirnov distance of the whole spectrum and the bulk; at least the share of spikes.
        bulk_ks_distance: The same for the spectrum without its spikes.
        method: How the variance was estimated.
        is_reliable: ``False`` when a note speaks against the fit.
        notes: Why the fit is doubtful; empty when it is not.
    """

    sigma: float
    sigma_rescaled: float
    scale: float
    lambda_minus: float
    lambda_plus: float
    spike_threshold: float
    num_spikes: int | None
    soft_rank: float
    ks_distance: float
    bulk_ks_distance: float
    method: MarchenkoPasturMethod
    is_reliable: bool
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        verdict = "reliable" if self.is_reliable else "doubtful: " + "; ".join(self.notes)
        return (
            f"sigma {self.sigma:.4g}, bulk {self.lambda_minus:.4g} to {self.lambda_plus:.4g}, {self.num_spikes} spikes above "
            f"{self.spike_threshold:.4g}, soft rank {self.soft_rank:.3f} ({verdict})"
        )


def fit_marchenko_pastur(
    eigenvalues: ArrayLike | torch.Tensor,
    shape: tuple[int, int],
    *,
    num_matrices: int = 1,
    method: str = "quantile",
    tw_level: float | Literal["ww"] = 0.99,
) -> MarchenkoPasturFit:
    r"""Fit the Marchenko-Pastur bulk to a spectrum and count the spikes above it.

    ``"quantile"`` takes the variance from the median, which spikes move little, removes the spikes that it finds and
    repeats until no further one appears:

    .. math:: \hat\sigma^2 = \frac{\mathrm{median}(\lambda \text{ without the } k \text{ spikes})}{(N - k)\, m((M - k)/(N - k))}

    with ``m(gamma)`` the median of the law of unit variance. What is left of a matrix without its ``k`` spikes is noise on
    ``N - k`` rows and ``M - k`` columns: with 20 strong spikes in 400 x 400 noise that shrinks the error of sigma from 2.7
    to 0.1 %. Least squares to all quantiles between 25 and 75 % was no better (within 0.2 % of the median's sigma).

    Source: arXiv 1810.01075, section 3, for the law; the estimator is ours. ``"kde"`` and ``"kde_compat"``:
    WeightWatcher 0.7.7, ``RMT_Util.fit_density_with_range``.

    Args:
        eigenvalues: All eigenvalues, shape ``(min(shape) * num_matrices,)``, any order, not divided by a dimension.
        shape: Rows and columns of one matrix, in any order.
        num_matrices: Of how many matrices of that shape these are the pooled eigenvalues.
        method: ``"quantile"``, ``"kde"`` or ``"kde_compat"``. Default: see above; WeightWatcher's density fit takes 0.4 to
            0.8 s per layer and, for square matrices, hardly sees the variance.
        tw_level: Probability that noise alone has no spike, over all ``num_matrices`` together, if its variance is known.
            Default 0.99: our choice. That the variance is estimated costs nothing measurable at an aspect ratio of 2 and
            more with 400 columns (0.8 to 1.1 % flagged, 1000 draws), but square noise is flagged in 2.5 % at 400 columns and
            in 4 % at 64. ``"ww"`` takes WeightWatcher's margin, about five times the width of the Tracy-Widom law.

    Returns:
        The fit. It scales with the eigenvalues. Trained layers often have no bulk in this sense: ``is_reliable`` is then
        ``False``, and ``num_spikes`` a description rather than a count of signals.

    Raises:
        InputError: Eigenvalues that are negative, not finite or not ``min(shape) * num_matrices`` in number; an argument
            out of range.

    Example:
        >>> import numpy as np
        >>> noise = 0.5 * np.random.default_rng(0).standard_normal((400, 200))
        >>> fit = fit_marchenko_pastur(np.linalg.svd(noise, compute_uv=False) ** 2, (400, 200))
        >>> round(fit.sigma, 2), fit.num_spikes, fit.is_reliable
        (0.5, 0, True)
    """
    chosen = _method(method)
    values, _ = ascending_spectrum(eigenvalues)
    large, small = _sides(shape, num_matrices, len(values))
    _check_level(tw_level)
    if values[-1] == 0.0:
        return _without_bulk(math.nan, chosen, "all eigenvalues are zero")

    # In units of a power of four, so that the result scales exactly and no sum overflows.
    exponent = math.frexp(values[-1])[1] // 2 * 2
    unit = math.ldexp(1.0, exponent // 2)
    values = np.ldexp(values, -exponent)
    mean = float(values.mean())
    scale = 1.0 / math.sqrt(mean) / unit
    if small < 2:
        return _without_bulk(scale, chosen, "a vector has no bulk")

    threshold = partial(_spike_threshold, large=large, small=small, mean=mean, level=tw_level, num_matrices=num_matrices)
    variance, doubt = _variance(values, large, small, num_matrices, chosen, threshold, mean)
    if not variance > 0.0:
        return _without_bulk(scale, chosen, doubt)

    lower, upper = (large * variance * edge for edge in bulk_edges(small / large))
    spike_threshold = threshold(variance)
    num_spikes = int(np.count_nonzero(values > spike_threshold))
    removed = num_spikes / num_matrices
    bulk = values[: len(values) - num_spikes] / variance
    bulk_distance = (
        _ks_distance(bulk / (large - removed), (small - removed) / (large - removed)) if removed < small else math.nan
    )
    notes = [doubt] if doubt else []
    if not bulk_distance <= MAX_BULK_KS_DISTANCE:
        notes.append(f"the bulk is not Marchenko-Pastur (KS distance {bulk_distance:.3f} > {MAX_BULK_KS_DISTANCE})")
    if len(values) < MIN_RELIABLE_EIGENVALUES:
        notes.append(f"only {len(values)} eigenvalues")
    with np.errstate(over="ignore"):
        lambda_minus, lambda_plus, spike_threshold = np.ldexp([lower, upper, spike_threshold], exponent).tolist()
    return MarchenkoPasturFit(
        sigma=math.sqrt(variance) * unit,
        sigma_rescaled=math.sqrt(variance * large / mean),
        scale=scale,
        lambda_minus=lambda_minus,
        lambda_plus=lambda_plus,
        spike_threshold=spike_threshold,
        num_spikes=num_spikes,
        soft_rank=upper / float(values[-1]),
        ks_distance=_ks_distance(values / (variance * large), small / large),
        bulk_ks_distance=bulk_distance,
        method=chosen,
        is_reliable=not notes,
        notes=tuple(notes),
    )


def bulk_edges(gamma: float) -> tuple[float, float]:
    r"""Compute the edges :math:`(1 \pm \sqrt\gamma)^2` of the Marchenko-Pastur law of unit variance.

    Args:
        gamma: Smaller over larger side, in (0, 1].

    Returns:
        Lower and upper edge.
    """
    return (1.0 - math.sqrt(gamma)) ** 2, (1.0 + math.sqrt(gamma)) ** 2


def bulk_density(x: ArrayLike, gamma: float) -> FloatArray:
    r"""Compute the density :math:`\sqrt{(x_+ - x)(x - x_-)} / (2 \pi \gamma x)` of the law of unit variance.

    Args:
        x: Eigenvalues of ``W.T @ W / N``, any shape.
        gamma: Smaller over larger side, in (0, 1].

    Returns:
        The density; 0 outside the edges, and at ``x = 0``, where it has a pole for square matrices.
    """
    low, high = bulk_edges(gamma)
    x = np.asarray(x, dtype=np.float64)
    inside = (x > low) & (x < high)
    y = np.where(inside, x, 1.0)
    return np.where(inside, np.sqrt(np.maximum((high - y) * (y - low), 0.0)) / (2.0 * math.pi * gamma * y), 0.0)


def bulk_cdf(x: ArrayLike, gamma: float) -> FloatArray:
    r"""Compute the distribution function of the law of unit variance, in closed form.

    With :math:`s = \sqrt{(x_+ - x)(x - x_-)}`,

    .. math:: 2 \pi \gamma F(x) = \pi \gamma + s - (1 + \gamma) \arctan \frac{x_+ + x_- - 2 x}{2 s}
        + (1 - \gamma) \arctan \frac{x_- (x_+ - x) - x_+ (x - x_-)}{2 (1 - \gamma) s} .

    Args:
        x: Eigenvalues of ``W.T @ W / N``, any shape.
        gamma: Smaller over larger side, in (0, 1].

    Returns:
        The probability, with an absolute error of about ``1e-16 / gamma``: three terms of order one cancel.
    """
    low, high = bulk_edges(gamma)
    x = np.minimum(np.maximum(np.asarray(x, dtype=np.float64), low), high)
    above, below = x - low, high - x
    s = np.sqrt(above * below)
    # Of two arguments, so that the edges, where s = 0, need no case of their own.
    area = math.pi * gamma + s - (1.0 + gamma) * np.arctan2(below - above, 2.0 * s)
    if gamma < 1.0:
        area += (1.0 - gamma) * np.arctan2(low * below - high * above, 2.0 * (1.0 - gamma) * s)
    return np.asarray(area / (2.0 * math.pi * gamma))


@lru_cache(maxsize=4096)
def bulk_median(gamma: float) -> float:
    """Compute the median of the law of unit variance.

    Args:
        gamma: Smaller over larger side, in (0, 1].

    Returns:
        The median, between 0.653 for square matrices and 1 for very long ones.
    """
    x = 1.0 - gamma / 3.0  # within 0.02 for all gamma: Newton's method needs 3 or 4 steps
    for _ in range(20):
        step = (float(bulk_cdf(x, gamma)) - 0.5) / float(bulk_density(x, gamma))
        x -= step
        if abs(step) < 1e-14:
            break
    return x


def _method(method: str) -> MarchenkoPasturMethod:
    known = [m.value for m in MarchenkoPasturMethod]
    if method not in known:
        raise InputError(f"unknown method {method!r}.{did_you_mean(str(method), known)} Known: {', '.join(known)}.")
    return MarchenkoPasturMethod(method)


def _sides(shape: tuple[int, int], num_matrices: int, num_values: int) -> tuple[int, int]:
    large, small = max(shape), min(shape)
    if small < 1 or num_matrices < 1:
        raise InputError(
            f"expected a matrix with rows and columns and at least one of it, got {num_matrices} of shape {shape}."
        )
    if num_values != small * num_matrices:
        raise InputError(
            f"eigenvalues: {num_matrices} matrices of shape {shape} have {small * num_matrices}, got {num_values}. Pass all of "
            "them, zeros included; pooled ones with num_matrices."
        )
    return large, small


def _check_level(tw_level: float | str) -> None:
    if tw_level != "ww" and not (isinstance(tw_level, int | float) and 0.0 < tw_level < 1.0):
        raise InputError(f'tw_level: expected a probability in (0, 1) or "ww", got {tw_level!r}.')


def _spike_threshold(variance: float, *, large: int, small: int, mean: float, level: float | str, num_matrices: int) -> float:
    if level == "ww":
        # The square root of a length that is itself of the width of the Tracy-Widom law, at mean eigenvalue 1.
        edge = large * variance * bulk_edges(small / large)[1] / mean
        width = math.sqrt(small / large) * edge ** (2.0 / 3.0) * small ** (-2.0 / 3.0)
        return (edge + math.sqrt(width)) * mean
    # Šidák: the largest of several independent matrices stays below with the product of their probabilities.
    return variance * largest_noise_eigenvalue((large, small), float(level) ** (1.0 / num_matrices))


def _variance(
    values: FloatArray,
    large: int,
    small: int,
    num_matrices: int,
    method: MarchenkoPasturMethod,
    threshold: Callable[[float], float],
    mean: float,
) -> tuple[float, str]:
    """Estimate the bulk's variance; return it, or NaN, and what speaks against it."""
    if method is MarchenkoPasturMethod.QUANTILE:
        return _variance_of_median(values, large, small, num_matrices, threshold)
    from spectra.esd.mp_density_fit import fit_density

    sigma, doubt = fit_density(values / mean, large / small, compat=method is MarchenkoPasturMethod.KDE_COMPAT)
    return sigma**2 * mean / large, doubt


def _variance_of_median(
    values: FloatArray, large: int, small: int, num_matrices: int, threshold: Callable[[float], float]
) -> tuple[float, str]:
    num_spikes = 0
    while 2 * num_spikes <= len(values):
        removed = num_spikes / num_matrices
        num_bulk = len(values) - num_spikes
        median = 0.5 * float(values[(num_bulk - 1) // 2] + values[num_bulk // 2])
        variance = median / ((large - removed) * bulk_median((small - removed) / (large - removed)))
        if not variance > 0.0:
            return math.nan, "at least half of the eigenvalues are zero"
        above = len(values) - int(np.searchsorted(values, threshold(variance), side="right"))
        if above <= num_spikes:
            return variance, ""
        num_spikes = above
    return math.nan, "more than half of the eigenvalues lie above what would be the bulk"


def _ks_distance(x: FloatArray, gamma: float) -> float:
    fitted = bulk_cdf(x, gamma)
    steps = np.arange(len(x) + 1) / len(x)
    return float(max((fitted - steps[:-1]).max(), (steps[1:] - fitted).max()))


def _without_bulk(scale: float, method: MarchenkoPasturMethod, reason: str) -> MarchenkoPasturFit:
    nan = math.nan
    return MarchenkoPasturFit(nan, nan, scale, nan, nan, nan, None, nan, nan, nan, method, False, (reason,))
