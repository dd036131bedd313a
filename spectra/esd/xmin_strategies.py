r"""How each strategy chooses the tail: searched, at a rank, at a value, near the peak of the spectrum, without fingers.

All functions take positive values in ascending order and return a :class:`Tail`. Two of the strategies come from other
code, which does not do what it says it does; each has a twin that gives the published numbers:

=====================  ==========================================  ===================================================
strategy               ours                                        twin
=====================  ==========================================  ===================================================
``peak``               candidates in ``[0.95 p, 1.5 p]``           ``peak_compat``: ``[log10(0.95 p), 1.5 p]``, a
                                                                   logarithm compared with an eigenvalue
``clip``               ``num_fingers``: how many were removed      ``clip_compat``: one less; ``num_tail`` counts the
                                                                   removed values, too
=====================  ==========================================  ===================================================

``p`` is the left edge of the fullest of 100 bins of the logarithms. ``alpha`` is the same with ``clip`` as with its twin.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass

import numpy as np

from spectra.errors import TooFewEigenvaluesError
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.xmin_search import log_ratios, logs_above, search, tail_candidates

# Bins of the histogram and bounds of the window around its peak: WeightWatcher 0.7.7 and the TempBalance code.
NUM_PEAK_BINS = 100
PEAK_WINDOW = (0.95, 1.5)

# WeightWatcher 0.7.7, fit_clipped_powerlaw: the first refit leaves out two values, and none is tried once alpha is this low.
_FIRST_CLIP, _MIN_CLIPPED_ALPHA = 2, 2.0


@dataclass(frozen=True)
class TailRules:
    """What every fit of a tail obeys.

    Attributes:
        min_tail: Fewest values accepted.
        bias_correction: Use ``1 + (n - 1) / sum`` in place of ``1 + n / sum``.
    """

    min_tail: int = 2
    bias_correction: bool = False


@dataclass(frozen=True)
class Tail:
    """A fitted tail.

    Attributes:
        alpha: Exponent of the density.
        xmin: The threshold.
        start: Rank of its first value, in ascending order.
        size: Number of values.
        ks_distance: Kolmogorov–Smirnov distance of the fit.
        remark: What the user should know that says nothing about the quality of the fit; empty if nothing.
    """

    alpha: float
    xmin: float
    start: int
    size: int
    ks_distance: float
    remark: str = ""


def searched_tail(values: FloatArray, rules: TailRules, window: tuple[float, float] | None = None) -> Tail | None:
    """Find the tail with the smallest distance.

    Args:
        values: Shape ``(n,)``, positive, ascending, not all equal.
        rules: What the fit obeys.
        window: Smallest and largest threshold considered. Default: every value but the largest.

    Returns:
        The tail; ``None`` if no candidate lies in the window.

    Raises:
        TooFewEigenvaluesError: No tail of the wanted size, whatever the window.
    """
    candidates = tail_candidates(values, min_tail=rules.min_tail, bias_correction=rules.bias_correction)
    if len(candidates.alphas) == 0:
        raise TooFewEigenvaluesError(f"no tail of at least {rules.min_tail} values among {len(values)} eigenvalues.")
    among = slice(None)
    if window is not None:
        thresholds = candidates.values[: len(candidates.alphas)]
        low, high = window
        among = slice(int(np.searchsorted(thresholds, low, side="left")), int(np.searchsorted(thresholds, high, side="right")))
        if among.start >= among.stop:
            return None
    best, distance = search(candidates, among)
    return Tail(
        alpha=float(candidates.alphas[best]),
        xmin=float(candidates.values[best]),
        start=int(candidates.num_below[best]),
        size=int(candidates.num_tail[best]),
        ks_distance=distance,
    )


def tail_at(values: FloatArray, start: int, xmin: float, rules: TailRules) -> Tail:
    """Fit a tail with a known threshold; the distance is the one of the search, ties counted alike.

    Args:
        values: Shape ``(n,)``, positive, ascending.
        start: Rank of the tail's first value.
        xmin: The threshold, not above that value.
        rules: What the fit obeys.

    Returns:
        The tail.

    Raises:
        TooFewEigenvaluesError: Too few values, or all of them at the threshold.
    """
    tail = values[start:]
    size = len(tail)
    if size < rules.min_tail:
        raise TooFewEigenvaluesError(
            f"{size} eigenvalues at or above xmin = {xmin:.6g}, at least {rules.min_tail} are needed. Lower xmin."
        )
    log_ratio = logs_above(tail, xmin)
    log_sum = float(log_ratio.sum())
    if not log_sum > 0.0:
        raise TooFewEigenvaluesError(f"all {size} tail values equal xmin = {xmin:.6g}: there is no tail to fit.")
    alpha = 1.0 + (size - 1.0 if rules.bias_correction else float(size)) / log_sum
    below = np.searchsorted(tail, tail, side="left") / size
    distance = float(np.abs(1.0 - np.exp((1.0 - alpha) * log_ratio) - below).max())
    return Tail(alpha, xmin, start, size, distance)


def peak_tail(values: FloatArray, rules: TailRules, *, compat: bool = False) -> Tail:
    """Search the tail near the peak of the spectrum, on a logarithmic scale ("fix finger").

    Args:
        values: Shape ``(n,)``, positive, ascending, not all equal.
        rules: What the fit obeys.
        compat: Use the published window in place of the meant one.

    Returns:
        The tail; if no candidate lies in the window, that of the whole search, and a remark that says so.
    """
    peak = spectrum_peak(values)
    low, high = PEAK_WINDOW[0] * peak, PEAK_WINDOW[1] * peak
    if compat:
        low = math.log10(low) if low > 0.0 else -math.inf
    tail = searched_tail(values, rules, (low, high))
    if tail is None:
        whole = searched_tail(values, rules)
        assert whole is not None  # without a window there is always a candidate
        remark = f"no candidate between {low:.4g} and {high:.4g}, near the peak: searched among all"
        tail = dataclasses.replace(whole, remark=remark)
    return tail


def spectrum_peak(values: FloatArray) -> float:
    """Find where a spectrum is densest on a logarithmic scale.

    Args:
        values: Shape ``(n,)``, positive, ascending.

    Returns:
        Left edge of the fullest of 100 equal bins between the smallest and the largest logarithm, the first one on ties.
    """
    # Not numpy.histogram, which refuses a range of a few float64 steps; and of ratios, so that the scale does not move
    # a value into the next bin.
    logs = log_ratios(values)
    width = (logs[-1] - logs[0]) / NUM_PEAK_BINS
    if not width > 0.0:
        return float(values[0])
    bins = np.minimum(((logs - logs[0]) / width).astype(np.intp), NUM_PEAK_BINS - 1)
    fullest = int(np.argmax(np.bincount(bins, minlength=NUM_PEAK_BINS)))
    if fullest == 0:
        return float(values[0])
    return float(values[-1] * math.exp(logs[0] + fullest * width))


@dataclass(frozen=True)
class ClippedTail:
    """A tail from which fingers, a few much too large values, may have been removed.

    Attributes:
        tail: The tail that is kept.
        num_removed: How many of the largest values it does without.
        raw_alpha: Exponent with all values.
    """

    tail: Tail
    num_removed: int
    raw_alpha: float


def clipped_tail(values: FloatArray, rules: TailRules, *, max_fingers: int, threshold: float) -> ClippedTail:
    """Remove the largest values while that lowers alpha by much, and search the tail of the rest.

    The search is repeated without the two, three, ... ``max_fingers - 1`` largest values, and the first tail whose
    exponent lies more than ``threshold`` under the raw one is kept. Nothing is removed if there is none, or if an
    exponent of 2 or less comes first.

    Source: WeightWatcher 0.7.7, ``fit_clipped_powerlaw``. There the last value is 10 in any case on spectra of more than
    20 values, whatever is asked for, and a refit of fewer than 20 values follows another rule; here neither is so.

    Args:
        values: Shape ``(n,)``, positive, ascending, not all equal.
        rules: What every refit obeys.
        max_fingers: Bound on the number of values removed, not reached.
        threshold: By how much alpha must fall.

    Returns:
        The tail, with its ranks in ``values``.
    """
    raw = searched_tail(values, rules)
    assert raw is not None  # without a window there is always a candidate
    for num_removed in range(_FIRST_CLIP, max_fingers):
        rest = values[:-num_removed]
        if len(rest) < rules.min_tail or rest[0] == rest[-1]:
            break
        clipped = searched_tail(rest, rules)
        assert clipped is not None
        if clipped.alpha + threshold < raw.alpha:
            return ClippedTail(clipped, num_removed, raw.alpha)
        if clipped.alpha <= _MIN_CLIPPED_ALPHA:
            break
    return ClippedTail(raw, 0, raw.alpha)
