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
from spectra.esd.real_array import real_array
from spectra.esd.reliability import reliability_notes
from spectra.esd.xmin_strategies import Tail, TailRules, clipped_tail, peak_tail, searched_tail, tail_at

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
    PEAK = "peak"
    """As ``ks``, among the candidates near the peak of the spectrum, ``[0.95 p, 1.5 p]`` ("fix finger")."""
    PEAK_COMPAT = "peak_compat"
    """``peak`` with the window of the published code, ``[log10(0.95 p), 1.5 p]``."""
    CLIP = "clip"
    """As ``ks``, after removing a few largest values if that lowers alpha by much (WeightWatcher's ``clip_xmax``)."""
    CLIP_COMPAT = "clip_compat"
    """``clip`` with WeightWatcher's counts: ``num_fingers`` one less, removed values in ``num_tail``."""


# Names of the same strategies in the code of TempBalance and its followers.
XMIN_ALIASES = {"xmin_mid": "median", "xmin_peak": "peak", "xmin_peak_compat": "peak_compat"}

# Strategies whose fit may leave out the largest eigenvalues.
CLIPPING = (XminStrategy.CLIP, XminStrategy.CLIP_COMPAT)


@dataclass(frozen=True)
class PowerLawFit:
    r"""A power law :math:`\rho(\lambda) \propto \lambda^{-\alpha}` fitted to the tail of a spectrum.

    Attributes:
        alpha: Exponent of the density, > 1. The exponent of the survival function is ``alpha - 1``.
        alpha_std_error: ``(alpha - 1) / sqrt(num_tail)``, arXiv 0706.1062 eq. 3.2.
        xmin: Start of the tail, in the unit of the eigenvalues.
        xmax: Largest eigenvalue that was fitted; the density itself is not truncated.
        num_tail: Number of eigenvalues in the tail; with ``clip_compat``, removed ones included.
        ks_distance: Largest distance of the fitted from the left-continuous empirical distribution of the tail.
        xmin_index: Rank of the tail's first value among *all* ascending eigenvalues, null ones included.
        num_eigenvalues: Number of values given.
        num_null: How many of them were at or under the null threshold, and left out.
        strategy: How xmin was chosen.
        is_reliable: ``False`` when a note speaks against the fit.
        notes: Why the fit is doubtful, and what else the user should know (``peak`` found no candidate in its window),
            which by itself makes it neither reliable nor doubtful.
        num_fingers: With ``clip``, how many of the largest eigenvalues were removed; with ``clip_compat``, one less;
            0 if none; ``None`` with other strategies.
        raw_alpha: With ``clip`` and ``clip_compat``, alpha before anything was removed; else NaN.
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
    num_fingers: int | None = None
    raw_alpha: float = dataclasses.field(default=math.nan, compare=False)  # NaN equals nothing, itself included

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
    max_fingers: int = 10,
    finger_threshold: float = 1.0,
    num_matrices: int = 1,
) -> PowerLawFit:
    r"""Fit a power-law density to the upper tail of a spectrum by maximum likelihood.

    With the tail :math:`\lambda_i \ge x_{\min}` of size :math:`n`,

    .. math:: \hat\alpha = 1 + n \Big/ \sum_{i} \ln(\lambda_i / x_{\min}).

    With ``xmin="ks"`` every distinct eigenvalue but the largest is tried, and the one whose fitted tail has the
    smallest Kolmogorov–Smirnov distance is kept; the search is exact and takes O(n) in practice.

    Source: Clauset, Shalizi and Newman (2009), arXiv 0706.1062, eq. 3.1 and section 3.3.

    Args:
        eigenvalues: Shape ``(n,)``, any order, in the unit of the squared weights.
        xmin: A member of :class:`XminStrategy` or its name (``"fixed"`` needs ``num_tail``), or the value itself, which
            is used as it is, even if no eigenvalue equals it.
        xmin_pos: For ``"median"``: the tail starts at rank ``int(n / xmin_pos)``. Default 2, as the TempBalance code.
        num_tail: For ``"hill"`` and ``"fixed"``: how many of the largest values form the tail, or a fraction in (0, 1).
            Default for ``"hill"``: half of them, as the papers.
        min_tail: Fewest tail values accepted. Default 2: as the powerlaw package, for equal answers; ``is_reliable``
            judges short tails. Policies pass 10, where the standard error is a third of ``alpha - 1``: our choice.
        null_threshold: Values at or below it are numerically zero and left out. Default 0.
        bias_correction: Use ``1 + (n - 1) / sum``, the unbiased variant for short tails. Default off, as powerlaw.
        max_fingers: For ``"clip"``: fewer than that are removed. Default 10, as WeightWatcher.
        finger_threshold: For ``"clip"``: by how much alpha must fall. Default 1.0, as WeightWatcher.
        num_matrices: How many matrices the eigenvalues are pooled from; only ``is_reliable`` depends on it. Default 1.

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
    _require_in_range(xmin_pos, max_fingers, finger_threshold, num_matrices)
    ordered, num_null = ascending_spectrum(eigenvalues, null_threshold=null_threshold)
    values = ordered[num_null:]
    _require_spread(values, min_tail)
    rules = TailRules(min_tail, bias_correction)

    num_fingers, raw_alpha, num_removed = None, math.nan, 0
    if strategy in CLIPPING:
        clipped = clipped_tail(values, rules, max_fingers=max_fingers, threshold=finger_threshold)
        tail, raw_alpha, num_removed = clipped.tail, clipped.raw_alpha, clipped.num_removed
        num_fingers = max(num_removed - 1, 0) if strategy is XminStrategy.CLIP_COMPAT else num_removed
    elif xmin_value is not None:
        tail = tail_at(values, int(np.searchsorted(values, xmin_value)), xmin_value, rules)
    else:
        tail = _tail(values, strategy, rules, xmin_pos=xmin_pos, num_tail=num_tail)

    kept = values[: len(values) - num_removed]
    doubts = reliability_notes(kept, num_tail=tail.size, ks_distance=tail.ks_distance, num_matrices=num_matrices)
    return PowerLawFit(
        alpha=tail.alpha,
        alpha_std_error=(tail.alpha - 1.0) / math.sqrt(tail.size),
        xmin=tail.xmin,
        xmax=float(kept[-1]),
        num_tail=tail.size + (num_removed if strategy is XminStrategy.CLIP_COMPAT else 0),
        ks_distance=tail.ks_distance,
        xmin_index=tail.start + num_null,
        num_eigenvalues=len(ordered),
        num_null=num_null,
        strategy=strategy,
        is_reliable=not doubts,
        notes=tuple(doubts) + ((tail.remark,) if tail.remark else ()),
        num_fingers=num_fingers,
        raw_alpha=raw_alpha,
    )


def _tail(
    values: FloatArray, strategy: XminStrategy, rules: TailRules, *, xmin_pos: float, num_tail: int | float | None
) -> Tail:
    """Choose and fit the tail, for the strategies that take the spectrum as it is."""
    if strategy is XminStrategy.KS:
        tail = searched_tail(values, rules)
        assert tail is not None  # without a window there is always a candidate
        return tail
    if strategy in (XminStrategy.PEAK, XminStrategy.PEAK_COMPAT):
        return peak_tail(values, rules, compat=strategy is XminStrategy.PEAK_COMPAT)
    if strategy is XminStrategy.MEDIAN:
        start = int(len(values) / xmin_pos)
        return tail_at(values, start, float(values[start]), rules)
    size = _tail_size(num_tail, len(values))
    start = len(values) - size
    if start < 1 and strategy is XminStrategy.HILL:
        raise TooFewEigenvaluesError(f"Hill: {size} tail values and one below them, but there are {len(values)}.")
    return tail_at(values, start, float(values[start - 1 if strategy is XminStrategy.HILL else start]), rules)


def start_of_tail(values: FloatArray, xmin: str | float) -> float:
    """Return where a fit's tail starts, without the rest of the fit.

    Args:
        values: Shape ``(n,)``, positive, ascending.
        xmin: ``"ks"``, ``"median"``, ``"peak"``, ``"peak_compat"`` or a number, as :func:`parse_xmin` returns it.

    Returns:
        The start.

    Raises:
        TooFewEigenvaluesError: Fewer than two values in the tail, or all values equal.
    """
    rules = TailRules()
    _require_spread(values, rules.min_tail)
    if isinstance(xmin, float):
        return tail_at(values, int(np.searchsorted(values, xmin)), xmin, rules).xmin
    return _tail(values, XminStrategy(xmin), rules, xmin_pos=2.0, num_tail=None).xmin


def parse_xmin(xmin: str | float) -> str | float:
    """Check an ``xmin`` argument and turn ``"0.5"`` into a number.

    Args:
        xmin: As :func:`fit_power_law` takes it.

    Returns:
        The main name of a strategy (aliases of other code are translated), or a positive number.

    Raises:
        InputError: Neither.
    """
    known = [s.value for s in XminStrategy]
    if isinstance(xmin, str) and XMIN_ALIASES.get(xmin, xmin) in known:
        return str(XMIN_ALIASES.get(xmin, xmin))
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


def ascending_spectrum(eigenvalues: ArrayLike | torch.Tensor, *, null_threshold: float = 0.0) -> tuple[FloatArray, int]:
    """Check a spectrum and sort it.

    Args:
        eigenvalues: Shape ``(n,)``, any order.
        null_threshold: Values at or below it are numerically zero. Default 0.

    Returns:
        All values in float64, ascending, and how many of them are null.

    Raises:
        InputError: Complex numbers, another shape; or a negative, infinite or NaN eigenvalue, with its index.
    """
    values = real_array(eigenvalues, "eigenvalues").astype(np.float64, copy=False)
    if values.ndim != 1:
        raise InputError(f"eigenvalues: expected shape (n,), got {values.shape}. For a matrix call spectra.eigenvalues first.")
    wrong = np.flatnonzero(~np.isfinite(values) | (values < 0.0))
    if len(wrong):
        raise InputError(
            f"eigenvalues: index {wrong[0]} is {values[wrong[0]]} ({len(wrong)} such values); "
            "expected finite numbers >= 0. Clamp round-off of zero to 0 and repair the rest."
        )
    ordered = np.sort(values)
    return ordered, int(np.searchsorted(ordered, max(null_threshold, 0.0), side="right"))


def _require_in_range(xmin_pos: float, max_fingers: int, finger_threshold: float, num_matrices: int) -> None:
    if not xmin_pos > 1.0:
        raise InputError(f"xmin_pos: expected a number above 1, got {xmin_pos}.")
    if max_fingers < 0:
        raise InputError(f"max_fingers: expected a number of eigenvalues >= 0, got {max_fingers}.")
    if not finger_threshold >= 0.0:
        raise InputError(f"finger_threshold: expected a number >= 0, got {finger_threshold}.")
    if num_matrices < 1:
        raise InputError(f"num_matrices: expected at least 1, got {num_matrices}.")


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
