r"""The power law with an exponential cutoff, by maximum likelihood: :math:`\rho(x) \propto x^{-\alpha} e^{-\lambda x}`.

With :math:`u = x / x_{\min}` and :math:`z = \lambda x_{\min}` the density on :math:`u \ge 1` is

.. math:: \rho(u) = \frac{u^{-\alpha} e^{-z (u - 1)}}{J(\alpha, z)}, \qquad
          J(\alpha, z) = \int_1^\infty u^{-\alpha} e^{-z (u - 1)} \, du
                       = e^z E_\alpha(z) = e^z z^{\alpha - 1} \Gamma(1 - \alpha, z).

It is an exponential family in :math:`(\alpha, z)` with the statistics :math:`\ln u` and :math:`u`. So the log-likelihood
is concave, its maximum is where the two means of the law equal those of the data, and what a bound does to it can be
decided before anything is searched:

==========================================================  ========================================================
bound                                                       the maximum lies on it
==========================================================  ========================================================
:math:`\lambda \ge 0` (none: the plain power law,           exactly if its exponent is above 2 and its mean
:math:`\alpha = 1 + 1 / \overline{\ln u}`)                  :math:`(\alpha - 1)/(\alpha - 2)` does not exceed :math:`\bar u`
:math:`\alpha \ge 1`, the powerlaw package's bound: below   exactly if, with the best rate for :math:`\alpha = 1`, the
it nothing decays like a power                              law's mean of :math:`\ln u` does not exceed the data's
==========================================================  ========================================================

Between the bounds the two equations are solved by Newton's method, for the logarithms of both means: they are close to
linear in :math:`\alpha` and :math:`\ln z` where the means themselves run over decades. The moments are integrals over
:math:`\ln u`, by one Gauss–Legendre rule of 96 points: relative error 1e-11 for :math:`z \ge 10^{-16}`, 1e-6 down to
:math:`10^{-30}` (of J itself 1e-12 and 1e-11).

Source of the law: Clauset, Shalizi and Newman (2009), arXiv 0706.1062, table 2.1.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra.errors import InputError
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.power_law import ascending_spectrum, parse_xmin, start_of_tail
from spectra.esd.reliability import reliability_notes
from spectra.esd.xmin_search import Index, TailCandidates, search, tail_candidates

if TYPE_CHECKING:
    import torch

_STRATEGIES = ("ks", "peak", "peak_compat", "median")

_NUM_NODES = 96
# The integrand is followed down to exp(-40) = 4e-18 of its largest value.
_DEPTH = 40.0
# A rate this small, in units of 1 / xmax, changes no density in the range of the data by a float64 step: it is none.
_SMALLEST_RATE = 1e-16
# Past this ratio of largest to smallest value the products of the moments leave float64.
_WIDEST_RANGE = 1e100
# Newton's steps are stopped when the last one, which is taken, was this small: the next one would be its square.
_TOLERANCE = 1e-6
_MAX_NEWTON_STEPS, _MAX_BISECTIONS = 40, 60
_LARGEST_STEP = 4.0  # of the logarithm of the rate
_SURE_MARGIN = 4.0  # the step left over, that many times: a bound on how far a mean of logarithms can still move
# Laws solved together in the search for xmin: an array of nodes is then 0.25 MiB, which stays in the cache.
_BLOCK = 256


@dataclass(frozen=True)
class TruncatedPowerLawFit:
    r"""A law :math:`\rho(x) \propto x^{-\alpha} e^{-\lambda x}` fitted to the tail of a spectrum.

    Attributes:
        alpha: Exponent, >= 1; the bound is the powerlaw package's.
        rate: Rate of the cutoff (powerlaw's and WeightWatcher's ``Lambda``), in 1 / unit of the eigenvalues; 0 if none.
        xmin: Start of the tail.
        num_tail: Number of eigenvalues in the tail.
        ks_distance: Largest distance of the fitted from the left-continuous empirical distribution of the tail.
        log_likelihood: Natural logarithm of the density of the tail.
        log_likelihood_ratio: What the cutoff adds to the log-likelihood of the plain power law with the same xmin, >= 0.
            Twice this is chi-squared with one degree of freedom if there is no cutoff, zero half of the time.
        is_at_boundary: Whether ``alpha`` is 1 (no power law) or ``rate`` is 0 (no cutoff).
        is_reliable: ``False`` when a note speaks against the fit.
        notes: Why the fit is doubtful; empty when it is not.
    """

    alpha: float
    rate: float
    xmin: float
    num_tail: int
    ks_distance: float
    log_likelihood: float
    log_likelihood_ratio: float
    is_at_boundary: bool
    is_reliable: bool
    notes: tuple[str, ...]

    def __str__(self) -> str:
        verdict = "reliable" if self.is_reliable else "doubtful: " + "; ".join(self.notes)
        return (
            f"alpha {self.alpha:.3f}, rate {self.rate:.4g}, tail of {self.num_tail} eigenvalues from xmin {self.xmin:.4g}, "
            f"KS distance {self.ks_distance:.3f} ({verdict})"
        )

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python values."""
        return dataclasses.asdict(self)


def fit_truncated_power_law(
    eigenvalues: ArrayLike | torch.Tensor,
    xmin: str | float = "ks",
    *,
    search_xmin: bool = False,
    null_threshold: float = 0.0,
) -> TruncatedPowerLawFit:
    r"""Fit a power law with an exponential cutoff to the upper tail of a spectrum by maximum likelihood.

    The density on :math:`x \ge x_{\min}` is proportional to :math:`x^{-\alpha} e^{-\lambda x}`, :math:`\alpha \ge 1`,
    :math:`\lambda \ge 0`.

    Source: Clauset, Shalizi and Newman (2009), arXiv 0706.1062, table 2.1. WeightWatcher's ``TPL`` searches xmin for this
    law; its ``E_TPL`` takes the candidates near the peak.

    Args:
        eigenvalues: Shape ``(n,)``, any order, in the unit of the squared weights.
        xmin: Where the tail starts: where :func:`spectra.fit_power_law` finds it with ``"ks"``, ``"peak"``,
            ``"peak_compat"`` or ``"median"``, or the value itself. Default ``"ks"``.
        search_xmin: Take the start whose *truncated* law has the smallest Kolmogorov–Smirnov distance, in place of
            ``xmin``. Every distinct eigenvalue but the largest is tried; the search is exact. Default off: one fit.
        null_threshold: Values at or below it are numerically zero and left out. Default 0.

    Returns:
        The fit. ``alpha`` does not change when all eigenvalues are multiplied by a positive number; ``xmin`` and
        ``1 / rate`` scale with it. On a boundary it says that one of the two parameters is not needed.

    Raises:
        InputError: A negative, infinite or NaN eigenvalue, with its index; another strategy; or a tail over more than
            100 decades.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> x = 1.0 + rng.exponential(5.0, 4000)
        >>> x = x[rng.random(4000) < x**-2.0]  # thinned to the density x^-2 exp(-x / 5)
        >>> fit = fit_truncated_power_law(x, 1.0)
        >>> round(fit.alpha, 1), round(fit.rate, 1), fit.is_at_boundary
        (2.0, 0.2, False)
    """
    start = parse_xmin(xmin)
    if isinstance(start, str) and start not in _STRATEGIES:
        known = ", ".join(repr(name) for name in _STRATEGIES)
        raise InputError(f"xmin: a truncated power law starts at one of {known} or at a number, got {xmin!r}.")
    ordered, num_null = ascending_spectrum(eigenvalues, null_threshold=null_threshold)
    values = ordered[num_null:]
    plain_start = start_of_tail(values, start)  # refuses what has no tail
    return _fit(values, _searched_start(values) if search_xmin else plain_start)


def log_scaled_integral(alpha: ArrayLike, z: ArrayLike) -> FloatArray:
    r"""Compute :math:`\ln J(\alpha, z) = \ln \left( e^z E_\alpha(z) \right)`, the logarithm of the law's normalizer.

    Args:
        alpha: Exponents, >= 1.
        z: Rates times xmin, >= 0; where 0, the exponent must be above 1. Broadcast with ``alpha``.

    Returns:
        The logarithms, in the broadcast shape; relative error of ``J`` 1e-12 for z of 0 and from 1e-16 up.

    Example:
        >>> round(float(np.exp(log_scaled_integral(1.5, 0.0))), 12)  # the plain power law: 1 / (alpha - 1)
        2.0
    """
    exponents, rates = np.broadcast_arrays(np.asarray(alpha, dtype=np.float64), np.asarray(z, dtype=np.float64))
    result = np.empty(exponents.shape)
    has_cutoff = rates > 0.0
    result[~has_cutoff] = -np.log(exponents[~has_cutoff] - 1.0)
    law = _integrand(exponents[has_cutoff], rates[has_cutoff])
    result[has_cutoff] = np.log(law.total * law.reach)
    return result


def _fit(values: FloatArray, xmin: float) -> TruncatedPowerLawFit:
    start = int(np.searchsorted(values, xmin))
    tail = values[start:]
    size = len(tail)
    if not tail[-1] <= _WIDEST_RANGE * xmin:
        raise InputError(f"eigenvalues: the tail from {xmin:.4g} to {tail[-1]:.4g} spans more than 100 decades. Raise xmin.")
    log_ratio, excess = np.log(tail / xmin), (tail - xmin) / xmin
    means = np.array([log_ratio.mean()]), np.array([excess.mean()])
    alphas, rates = _solve(*means, excess[-1:])
    alpha, z = float(alphas[0]), float(rates[0])
    log_normalizer = float(log_scaled_integral(alpha, z))

    fitted = _survival(alpha, z, log_ratio, excess, log_normalizer)
    distance = float(np.abs(1.0 - fitted - np.searchsorted(tail, tail, side="left") / size).max())
    mean_log, mean_excess = float(means[0][0]), float(means[1][0])
    log_likelihood = -alpha * mean_log - z * mean_excess - log_normalizer
    plain = -1.0 - mean_log - math.log(mean_log)  # the same at alpha = 1 + 1 / mean_log, z = 0
    notes = reliability_notes(values, num_tail=size, ks_distance=distance)
    if z == 0.0:
        notes.append("no cutoff: the plain power law is as likely")
    elif alpha == 1.0:
        notes.append("alpha at its bound of 1: the cutoff alone makes the tail")
    return TruncatedPowerLawFit(
        alpha=alpha,
        rate=z / xmin,
        xmin=xmin,
        num_tail=size,
        ks_distance=distance,
        log_likelihood=size * (log_likelihood - math.log(xmin)),
        log_likelihood_ratio=0.0 if z == 0.0 else max(size * (log_likelihood - plain), 0.0),  # the same law, but for rounding
        is_at_boundary=z == 0.0 or alpha == 1.0,
        is_reliable=not notes,
        notes=tuple(notes),
    )


def _survival(
    alpha: float | FloatArray,
    z: float | FloatArray,
    log_ratio: FloatArray,
    excess: FloatArray,
    log_normalizer: float | FloatArray,
) -> FloatArray:
    """Probability of a value above ``u = exp(log_ratio) = 1 + excess``: the same integral from there on, rescaled."""
    beyond = log_scaled_integral(alpha, z * (1.0 + excess)) - log_normalizer
    return np.asarray(np.exp((1.0 - alpha) * log_ratio - z * excess + beyond))


@dataclass(frozen=True)
class _TruncatedCandidates(TailCandidates):
    """The candidates of the search for xmin, each with its truncated law; ``alphas`` are that law's.

    Attributes:
        rates: Shape ``(k,)``: rate times threshold of each admissible candidate.
        log_normalizers: Shape ``(k,)``: the law's :func:`log_scaled_integral`.
    """

    rates: FloatArray
    log_normalizers: FloatArray

    def survival(self, index: Index, position: Index) -> FloatArray:
        log_ratio = self.log_values[position] - self.log_values[index]
        normalizers = self.log_normalizers[index]
        return _survival(self.alphas[index], self.rates[index], log_ratio, np.expm1(log_ratio), normalizers)


def _searched_start(values: FloatArray) -> float:
    candidates = tail_candidates(values)
    x, num_tail = candidates.values, candidates.num_tail
    # As the sums of logarithms in tail_candidates: sum of (values above the gap) x gap, so that nothing cancels.
    sums = np.cumsum((np.diff(x) * num_tail[1:])[::-1])[::-1]
    k = len(candidates.alphas)
    data = 1.0 / (candidates.alphas - 1.0), sums[:k] / (num_tail[:k] * x[:k]), x[-1] / x[:k] - 1.0
    blocks = [_solve(*(part[i : i + _BLOCK] for part in data)) for i in range(0, k, _BLOCK)]
    alphas, rates = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    normalizers = log_scaled_integral(alphas, rates)
    laws = _TruncatedCandidates(x, candidates.log_values, candidates.num_below, num_tail, alphas, rates, normalizers)
    return float(x[search(laws)[0]])


class _Integrand(NamedTuple):
    """Points ``t = ln u`` of shape ``(m, nodes)``, ``u - 1`` and weight times density there, its sum, and the largest t."""

    logs: FloatArray
    excess: FloatArray
    density: FloatArray
    total: FloatArray
    reach: FloatArray


def _integrand(alpha: FloatArray, z: FloatArray) -> _Integrand:
    r"""Evaluate :math:`u^{-\alpha} e^{-z(u-1)} du = e^{(1-\alpha)t - z(e^t - 1)} dt` where it matters, for z > 0."""
    nodes, weights = _gauss_legendre()
    # Both factors decay; where u^2 times the density is exp(-40), the second moment has no more to gain.
    reach = np.log1p((_DEPTH + 5.0 + 2.0 * np.log1p(_DEPTH / z)) / z)
    reach = np.minimum(reach, _DEPTH / np.maximum(alpha - 3.0 + z, 1e-300))
    logs = reach[:, None] * nodes
    excess = np.expm1(logs)
    density = np.exp((1.0 - alpha)[:, None] * logs - z[:, None] * excess) * weights
    return _Integrand(logs, excess, density, density.sum(axis=1), reach)


@cache
def _gauss_legendre() -> tuple[FloatArray, FloatArray]:
    nodes, weights = np.polynomial.legendre.leggauss(_NUM_NODES)
    return (nodes + 1.0) / 2.0, weights / 2.0


class _Moments(NamedTuple):
    """Means, variances and covariance of ``ln u`` and ``u`` under the law, each of shape ``(m,)``."""

    mean_log: FloatArray
    mean_excess: FloatArray
    var_log: FloatArray
    cov: FloatArray
    var_excess: FloatArray


def _moments(alpha: FloatArray, z: FloatArray) -> _Moments:
    logs, excess, density, total, _ = _integrand(alpha, z)
    by_log, by_excess = density * logs, density * excess
    a, b = by_log.sum(axis=1) / total, by_excess.sum(axis=1) / total
    # No digits are lost in the differences: the laws are about exponential, mean and standard deviation alike.
    return _Moments(
        a,
        b,
        np.einsum("ij,ij->i", by_log, logs) / total - a * a,
        np.einsum("ij,ij->i", by_log, excess) / total - a * b,
        np.einsum("ij,ij->i", by_excess, excess) / total - b * b,
    )


def _solve(mean_log: FloatArray, mean_excess: FloatArray, largest: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Maximise the likelihood of several tails at once.

    Args:
        mean_log: Shape ``(m,)``, > 0, mean of ``ln u`` of each tail.
        mean_excess: Shape ``(m,)``, > 0, mean of ``u - 1``.
        largest: Shape ``(m,)``, largest ``u - 1``.

    Returns:
        ``alpha`` and ``z``, each of shape ``(m,)``.
    """
    plain = 1.0 + 1.0 / mean_log
    alpha, z = plain.copy(), np.zeros_like(plain)
    # The plain law's mean of u - 1 is 1 / (alpha - 2), infinite up to 2.
    has_cutoff = (plain - 2.0) * mean_excess < 1.0
    floor = np.log(_SMALLEST_RATE / (1.0 + largest))

    index = np.flatnonzero(has_cutoff)
    alpha[index] = 1.0
    log_z, is_inside = _at_lowest_alpha(mean_log[index], mean_excess[index], floor[index])
    z[index] = np.exp(log_z)
    if is_inside.any():
        inside = index[is_inside]
        bound = floor[inside]
        alpha[inside], log_z = _solve_inside(mean_log[inside], mean_excess[inside], bound, log_z[is_inside])
        is_none = log_z <= bound
        z[inside] = np.where(is_none, 0.0, np.exp(log_z))
        alpha[inside[is_none]] = plain[inside[is_none]]
    return alpha, z


def _at_lowest_alpha(mean_log: FloatArray, mean_excess: FloatArray, floor: FloatArray) -> tuple[FloatArray, NDArray[np.bool_]]:
    """Find the best ``ln z`` at alpha 1, and whether a larger alpha is better; where it is, ``ln z`` is only a start."""
    alpha = np.ones_like(mean_log)
    log_z, law, step = _log_rate_step(alpha, mean_excess, floor, -np.log(mean_excess))
    for _ in range(_MAX_NEWTON_STEPS):
        margin = np.log(law.mean_log / mean_log)
        # The mean of ln u falls by less than its own size where ln z grows by one: the sign of this margin stays.
        if (np.abs(step) < _TOLERANCE).all() or (margin > _SURE_MARGIN * np.abs(step)).all():
            break
        log_z, law, step = _log_rate_step(alpha, mean_excess, floor, log_z)
    return log_z, law.mean_log > mean_log


def _log_rate(alpha: FloatArray, mean_excess: FloatArray, floor: FloatArray, log_z: FloatArray) -> tuple[FloatArray, _Moments]:
    """Find the best ``ln z`` for given exponents, by Newton's method for the logarithm of the mean of ``u - 1``."""
    for _ in range(_MAX_NEWTON_STEPS):
        log_z, law, step = _log_rate_step(alpha, mean_excess, floor, log_z)
        if (np.abs(step) < _TOLERANCE).all():
            break
    return log_z, law  # of before the last step, which changed the moments by a millionth


def _log_rate_step(
    alpha: FloatArray, mean_excess: FloatArray, floor: FloatArray, log_z: FloatArray
) -> tuple[FloatArray, _Moments, FloatArray]:
    z = np.exp(log_z)
    law = _moments(alpha, z)
    step = np.log(law.mean_excess / mean_excess) * law.mean_excess / (z * law.var_excess)
    return np.maximum(log_z + _clipped(step), floor), law, step


def _clipped(step: FloatArray) -> FloatArray:
    return np.asarray(np.minimum(np.maximum(step, -_LARGEST_STEP), _LARGEST_STEP))  # np.clip: four times as long for one


def _solve_inside(
    mean_log: FloatArray, mean_excess: FloatArray, floor: FloatArray, log_z: FloatArray
) -> tuple[FloatArray, FloatArray]:
    """Solve both equations, from half way between the bounds; what Newton's method leaves is bisected."""
    plain = 1.0 + 1.0 / mean_log
    alpha, log_z = (1.0 + plain) / 2.0, np.maximum(log_z - 1.0, floor)
    left = np.arange(len(alpha))
    for _ in range(_MAX_NEWTON_STEPS):
        new_alpha, new_log_z, is_last = _newton_step(
            alpha[left], log_z[left], mean_log[left], mean_excess[left], floor[left], plain[left]
        )
        alpha[left], log_z[left] = new_alpha, new_log_z
        left = left[~is_last]
        if len(left) == 0:
            break
    if len(left):
        alpha[left], log_z[left] = _bisect(mean_log[left], mean_excess[left], floor[left])
    return alpha, log_z


def _newton_step(
    alpha: FloatArray, log_z: FloatArray, mean_log: FloatArray, mean_excess: FloatArray, floor: FloatArray, plain: FloatArray
) -> tuple[FloatArray, FloatArray, NDArray[np.bool_]]:
    z = np.exp(log_z)
    law = _moments(alpha, z)
    wrong_log = law.mean_log * np.log(law.mean_log / mean_log)
    wrong_excess = law.mean_excess * np.log(law.mean_excess / mean_excess)
    determinant = law.var_log * law.var_excess - law.cov**2
    step = (law.var_log * wrong_excess - law.cov * wrong_log) / (z * determinant)
    new_log_z = np.maximum(log_z + _clipped(step), floor)
    # alpha follows the step that z really takes: the two compensate each other along a ridge, and a clipped or
    # exponentiated step of one alone would leave it.
    change = (wrong_log - law.cov * z * np.expm1(new_log_z - log_z)) / law.var_log
    is_last = ((np.abs(step) < _TOLERANCE) | (new_log_z == floor)) & (np.abs(change) < _TOLERANCE * alpha)
    # The solution lies between the bounds: the cutoff can only lower the exponent.
    new_alpha = alpha + change
    new_alpha = np.where(new_alpha < 1.0, (1.0 + alpha) / 2.0, np.where(new_alpha > plain, (alpha + plain) / 2.0, new_alpha))
    return new_alpha, new_log_z, is_last


def _bisect(mean_log: FloatArray, mean_excess: FloatArray, floor: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Solve both equations slowly and surely: with the best rate for each alpha, the likelihood is concave in alpha."""
    low, high = np.ones_like(mean_log), 1.0 + 1.0 / mean_log
    log_z = -np.log(mean_excess)
    for _ in range(_MAX_BISECTIONS):
        alpha = (low + high) / 2.0
        log_z, _ = _log_rate(alpha, mean_excess, floor, log_z)
        is_low = _moments(alpha, np.exp(log_z)).mean_log > mean_log
        low, high = np.where(is_low, alpha, low), np.where(is_low, high, alpha)
    return alpha, log_z
