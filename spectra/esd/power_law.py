"""The power-law fit of a spectrum's upper tail, by maximum likelihood, with its own reliability."""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from spectra.errors import InputError, TooFewEigenvaluesError, did_you_mean
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.xmin_search import TailCandidates, search, tail_candidates

if TYPE_CHECKING:
    import torch


class XminStrategy(StrEnum):
    """How the start of the tail is chosen."""

    KS = "ks"
    """The candidate with the smallest Kolmogorov–Smirnov distance (Clauset et al. 2009; WeightWatcher's default)."""
    MEDIAN = "median"
    """The eigenvalue of rank ``n / xmin_pos`` (the TempBalance code)."""
    HILL = "hill"
    """The ``num_tail`` largest values with the next lower one as threshold (PL_Alpha_Hill as in the papers)."""
    FIXED = "fixed"
    """A given value of xmin, or the ``num_tail`` largest values."""


# Reliability, `htsr.md` section 7. A Gaussian matrix, which has no heavy tail, is fitted with D of 0.12 to 0.14 at
# 300 eigenvalues; a guess until calibrated on random and trained matrices.
MAX_KS_DISTANCE = 0.15
MIN_RELIABLE_TAIL = 10
LOWEST_XMIN_QUANTILE = 0.01


@dataclass(frozen=True)
class PowerLawFit:
    r"""A power law :math:`\rho(\lambda) \propto \lambda^{-\alpha}` fitted to the tail of a spectrum.

    Attributes:
        alpha: Exponent of the density, > 1. The exponent of the survival function is ``alpha - 1``.
        alpha_std_error: ``(alpha - 1) / sqrt(num_tail)``, arXiv 0706.1062 eq. 3.2.
        xmin: Start of the tail, in the unit of the eigenvalues.
        xmax: Largest eigenvalue; the density itself is not truncated.
        num_tail: Number of eigenvalues in the tail.
        ks_distance: Largest distance of the fitted from the left-continuous empirical distribution of the tail.
        xmin_index: Rank of the tail's first value among *all* ascending eigenvalues, null ones included.
        num_eigenvalues: Number of values given.
        num_null: How many of them were at or under the null threshold, and left out.
        strategy: How xmin was chosen.
        is_reliable: ``False`` when a note speaks against the fit.
        notes: Why the fit is doubtful; empty when it is not.
    """

    alpha: float
    alpha_std_error: float
    xmin: float
    xmax: float
    num_tail: int
    ks_distance: float
    xmin_index: int
    num_eigenvalues: int
    num_null: int
    strategy: XminStrategy
    is_reliable: bool
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python values."""
        return dataclasses.asdict(self)

    def __str__(self) -> str:
        verdict = "reliable" if self.is_reliable else "doubtful: " + "; ".join(self.notes)
        return (
            f"alpha {self.alpha:.3f} ± {self.alpha_std_error:.3f}, tail of {self.num_tail} of {self.num_eigenvalues} "
            f"eigenvalues from xmin {self.xmin:.4g}, KS distance {self.ks_distance:.3f} ({verdict})"
        )


def fit_power_law(
    eigenvalues: ArrayLike | torch.Tensor,
    xmin: str | float = "ks",
    *,
    xmin_pos: float = 2.0,
    num_tail: int | float | None = None,
    min_tail: int = 2,
    null_threshold: float = 0.0,
    bias_correction: bool = False,
) -> PowerLawFit:
    r"""Fit a power-law density to the upper tail of a spectrum by maximum likelihood.

    With the tail :math:`\lambda_i \ge x_{\min}` of size :math:`n`,

    .. math:: \hat\alpha = 1 + n \Big/ \sum_{i} \ln(\lambda_i / x_{\min}).

    With ``xmin="ks"`` every distinct eigenvalue but the largest is tried, and the one whose fitted tail has the
    smallest Kolmogorov–Smirnov distance is kept; the search is exact and takes O(n) in practice.

    Source: Clauset, Shalizi and Newman (2009), arXiv 0706.1062, eq. 3.1 and section 3.3.

    Args:
        eigenvalues: Shape ``(n,)``, any order, in the unit of the squared weights.
        xmin: ``"ks"``, ``"median"``, ``"hill"``, ``"fixed"`` (then ``num_tail`` is needed) or the value itself, which is
            used as it is, even if no eigenvalue equals it.
        xmin_pos: For ``"median"``: the tail starts at rank ``int(n / xmin_pos)``. Default 2, as the TempBalance code.
        num_tail: For ``"hill"`` and ``"fixed"``: how many of the largest values form the tail, or a fraction in (0, 1).
            Default for ``"hill"``: half of them, as the papers.
        min_tail: Fewest tail values accepted. Default 2: as the powerlaw package, for equal answers; ``is_reliable``
            judges short tails. Policies pass 10, where the standard error is a third of ``alpha - 1``: our choice.
        null_threshold: Values at or below it are numerically zero and left out. Default 0.
        bias_correction: Use ``1 + (n - 1) / sum``, the unbiased variant for short tails. Default off, as powerlaw.

    Returns:
        The fit. ``alpha`` does not change when all eigenvalues are multiplied by a positive number; ``xmin`` scales
        with it. It cannot be trusted where ``is_reliable`` is ``False``; ``notes`` says why.

    Raises:
        TooFewEigenvaluesError: Fewer than ``min_tail`` values in the tail, or all values equal.
        InputError: A negative, infinite or NaN eigenvalue, with its index; or an argument out of range.

    Example:
        >>> import numpy as np
        >>> u = (np.arange(1000) + 0.5) / 1000
        >>> fit = fit_power_law((1 - u) ** (-1 / 1.5))  # quantiles of a Pareto law, alpha = 2.5
        >>> round(fit.alpha, 3), fit.num_tail
        (2.501, 1000)
    """
    strategy, xmin_value = _strategy(xmin, num_tail)
    ordered = _checked(eigenvalues)
    num_null = int(np.searchsorted(ordered, max(null_threshold, 0.0), side="right"))
    values = ordered[num_null:]
    _require_spread(values, min_tail)

    if strategy is XminStrategy.KS:
        candidates = tail_candidates(values, min_tail=min_tail, bias_correction=bias_correction)
        if len(candidates.alphas) == 0:
            raise TooFewEigenvaluesError(f"no tail of at least {min_tail} values among {len(values)} eigenvalues.")
        best, distance = search(candidates)
        alpha, start, size = _at(candidates, best)
        threshold = float(candidates.values[best])
    else:
        if strategy is XminStrategy.MEDIAN:
            if not xmin_pos > 1.0:
                raise InputError(f"xmin_pos: expected a number above 1, got {xmin_pos}.")
            start = int(len(values) / xmin_pos)
            threshold = float(values[start])
        elif xmin_value is not None:
            start, threshold = int(np.searchsorted(values, xmin_value)), xmin_value
        else:
            size = _tail_size(num_tail, len(values))
            start = len(values) - size
            if start < 1 and strategy is XminStrategy.HILL:
                raise TooFewEigenvaluesError(f"Hill: {size} tail values and one below them, but there are {len(values)}.")
            threshold = float(values[start - 1 if strategy is XminStrategy.HILL else start])
        alpha, distance = _fit_tail(values[start:], threshold, min_tail, bias_correction)
        size = len(values) - start

    notes = []
    if distance > MAX_KS_DISTANCE:
        notes.append(f"KS distance {distance:.3f} > {MAX_KS_DISTANCE}")
    if size < MIN_RELIABLE_TAIL:
        notes.append(f"only {size} tail values")
    if start < LOWEST_XMIN_QUANTILE * len(values):
        notes.append("xmin at the low end of the spectrum")
    return PowerLawFit(
        alpha=alpha,
        alpha_std_error=(alpha - 1.0) / math.sqrt(size),
        xmin=threshold,
        xmax=float(ordered[-1]),
        num_tail=size,
        ks_distance=distance,
        xmin_index=start + num_null,
        num_eigenvalues=len(ordered),
        num_null=num_null,
        strategy=strategy,
        is_reliable=not notes,
        notes=tuple(notes),
    )


def parse_xmin(xmin: str | float) -> str | float:
    """Check an ``xmin`` argument and turn ``"0.5"`` into a number.

    Args:
        xmin: As :func:`fit_power_law` takes it.

    Returns:
        The name of a strategy, or a positive number.

    Raises:
        InputError: Neither.
    """
    known = [s.value for s in XminStrategy]
    if isinstance(xmin, str) and xmin in known:
        return xmin
    try:
        value = float(xmin)
    except (TypeError, ValueError):
        raise InputError(
            f"unknown xmin strategy {xmin!r}.{did_you_mean(str(xmin), known)} Known: {', '.join(known)}, or a number."
        ) from None
    if not (math.isfinite(value) and value > 0.0):
        raise InputError(f"xmin: expected a positive number, got {xmin}.")
    return value


def _strategy(xmin: str | float, num_tail: int | float | None) -> tuple[XminStrategy, float | None]:
    parsed = parse_xmin(xmin)
    if isinstance(parsed, float):
        return XminStrategy.FIXED, parsed
    strategy = XminStrategy(parsed)
    if strategy is XminStrategy.FIXED and num_tail is None:
        raise InputError('xmin="fixed" needs num_tail, a number of values or a fraction; or pass the value of xmin itself.')
    return strategy, None


def _checked(eigenvalues: Any) -> FloatArray:
    if hasattr(eigenvalues, "detach"):
        eigenvalues = eigenvalues.detach().cpu().double().numpy()
    values = np.asarray(eigenvalues, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"eigenvalues: expected shape (n,), got {values.shape}. For a matrix call spectra.eigenvalues first.")
    wrong = np.flatnonzero(~np.isfinite(values) | (values < 0.0))
    if len(wrong):
        raise InputError(
            f"eigenvalues: index {wrong[0]} is {values[wrong[0]]} ({len(wrong)} such values); "
            "expected finite numbers >= 0. Clamp round-off of zero to 0 and repair the rest."
        )
    return np.sort(values)


def _require_spread(values: FloatArray, min_tail: int) -> None:
    if min_tail < 2:
        raise InputError(f"min_tail: expected at least 2, got {min_tail}.")
    if len(values) < min_tail:
        raise TooFewEigenvaluesError(f"a tail needs at least {min_tail} positive eigenvalues, got {len(values)}.")
    if values[0] == values[-1]:
        raise TooFewEigenvaluesError(f"all {len(values)} positive eigenvalues equal {values[0]:.6g}: there is no tail to fit.")


def _tail_size(num_tail: int | float | None, n: int) -> int:
    if num_tail is None:
        return n // 2
    if not (num_tail > 0 and math.isfinite(num_tail)):
        raise InputError(f"num_tail: expected a number of values or a fraction in (0, 1), got {num_tail}.")
    size = int(num_tail * n) if num_tail < 1.0 else int(num_tail)
    if not 1 <= size <= n:
        raise TooFewEigenvaluesError(f"a tail of {num_tail} needs more than the {n} positive eigenvalues there are.")
    return size


def _at(candidates: TailCandidates, best: int) -> tuple[float, int, int]:
    return float(candidates.alphas[best]), int(candidates.num_below[best]), int(candidates.num_tail[best])


def _fit_tail(tail: FloatArray, threshold: float, min_tail: int, bias_correction: bool) -> tuple[float, float]:
    """Fit a tail with a known threshold; the distance is the one of the search, ties counted alike."""
    size = len(tail)
    if size < min_tail:
        raise TooFewEigenvaluesError(
            f"{size} eigenvalues at or above xmin = {threshold:.6g}, at least {min_tail} are needed. Lower xmin."
        )
    log_ratio = np.log(tail / threshold)
    log_sum = float(log_ratio.sum())
    if not log_sum > 0.0:
        raise TooFewEigenvaluesError(f"all {size} tail values equal xmin = {threshold:.6g}: there is no tail to fit.")
    alpha = 1.0 + (size - 1.0 if bias_correction else float(size)) / log_sum
    below = np.searchsorted(tail, tail, side="left") / size
    distance = float(np.abs(1.0 - np.exp((1.0 - alpha) * log_ratio) - below).max())
    return alpha, distance
