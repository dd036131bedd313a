"""Differences between two settings over seeds: means with Student's interval, tests, and Holm's correction of many tests."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass

LEVEL = 0.95  # the usual one

_FEWEST_FOR_RANKS = 6  # of five pairs the smallest two-sided p value of Wilcoxon's test is 1/16: it never shows anything
# Differences of the same numbers differ by rounding; a spread below this share of the values is none.
_ROUNDING = 1e-12


@dataclass(frozen=True, kw_only=True)
class PairedDifference:
    """What was measured in pairs, such as two settings with the same seeds.

    Attributes:
        num_pairs: At least 1.
        mean: Of the differences.
        std_error: Of the mean; ``None`` for a single pair.
        low: Lower end of Student's 95 % interval of the mean; ``None`` for a single pair.
        high: Its upper end.
        p_value: Of the paired t test, two-sided; ``None`` for a single pair, and where all differences are the same number, of
            which the test can say nothing. It is 1 where all are 0.
        p_wilcoxon: Of Wilcoxon's signed-rank test, two-sided; ``None`` for fewer than 6 pairs, and where all differences are 0.
    """

    num_pairs: int
    mean: float
    std_error: float | None
    low: float | None
    high: float | None
    p_value: float | None
    p_wilcoxon: float | None


def paired_difference(values: Sequence[float], baseline: Sequence[float]) -> PairedDifference:
    """Compare what was measured in pairs.

    Source: Student (1908), The probable error of a mean, Biometrika 6; Wilcoxon (1945), Biometrics Bulletin 1; both tests are
    those of SciPy.

    Args:
        values: Shape ``(n,)``, finite, ``n >= 1``.
        baseline: Shape ``(n,)``, in the same order.

    Returns:
        Values minus baseline, with what can be said of their mean. The interval and the t test take the differences for draws
        of a normal distribution; of few pairs this cannot be checked.
    """
    differences = [value - other for value, other in zip(values, baseline, strict=True)]
    num_pairs, mean = len(differences), statistics.fmean(differences)
    if num_pairs < 2:
        return PairedDifference(
            num_pairs=num_pairs, mean=mean, std_error=None, low=None, high=None, p_value=None, p_wilcoxon=None
        )
    scale = max(map(abs, (*values, *baseline)))
    if max(differences) - min(differences) <= _ROUNDING * scale:
        is_nothing = abs(mean) <= _ROUNDING * scale
        ranks = None if is_nothing else _p_wilcoxon(differences)
        p_value = 1.0 if is_nothing else None
        return PairedDifference(
            num_pairs=num_pairs, mean=mean, std_error=0.0, low=mean, high=mean, p_value=p_value, p_wilcoxon=ranks
        )
    from scipy.stats import ttest_rel

    found = ttest_rel(values, baseline)
    interval = found.confidence_interval(LEVEL)
    return PairedDifference(
        num_pairs=num_pairs,
        mean=mean,
        std_error=statistics.stdev(differences) / math.sqrt(num_pairs),
        low=float(interval.low),
        high=float(interval.high),
        p_value=float(found.pvalue),
        p_wilcoxon=_p_wilcoxon(differences),
    )


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Correct p values for their number, so that the chance of any false discovery among them stays below the level.

    Source: Holm (1979), A simple sequentially rejective multiple test procedure, Scandinavian Journal of Statistics 6, 65–70.

    Args:
        p_values: Of all tests of one question. ``None`` stands for a comparison of which a test can say nothing; it counts
            among the tests, as it would have been one had the numbers been others.

    Returns:
        The adjusted ones, in the same order, at most 1; ``None`` where there was none.
    """
    adjusted: list[float | None] = [None] * len(p_values)
    highest = 0.0
    for rank, (p, place) in enumerate(sorted((p, place) for place, p in enumerate(p_values) if p is not None)):
        adjusted[place] = highest = max(highest, min(1.0, (len(p_values) - rank) * p))
    return adjusted


def _p_wilcoxon(differences: Sequence[float]) -> float | None:
    if len(differences) < _FEWEST_FOR_RANKS:
        return None
    from scipy.stats import wilcoxon

    return float(wilcoxon(differences).pvalue)
