"""Whether two numbers order things alike: Spearman's and Kendall's rank correlations, and how much they can mean."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spectra.errors import InputError

_LEVEL = 0.05  # the usual one; only to say when no order at all could reach it


@dataclass(frozen=True)
class RankCorrelation:
    """Rank correlations of a sample.

    Attributes:
        num: Size of the sample.
        spearman: Spearman's rho, in [-1, 1]; NaN for fewer than 2, or where one of the two is constant.
        kendall: Kendall's tau-b, likewise.
        pvalue: Two-sided, of tau: exact without ties. NaN where tau is.
    """

    num: int
    spearman: float
    kendall: float
    pvalue: float

    @property
    def smallest_pvalue(self) -> float:
        """What a perfect order would have, two-sided: 2 / n!, since one in n! orders is it, and one its reverse."""
        return min(1.0, 2.0 / math.factorial(self.num))

    @property
    def is_too_small(self) -> bool:
        """Whether the sample is so small that even a perfect order is no evidence at 5 %: fewer than 5."""
        return self.smallest_pvalue > _LEVEL

    def __str__(self) -> str:
        if not math.isfinite(self.spearman):
            return f"no rank correlation (n = {self.num})"
        text = f"Spearman ρ {_signed(self.spearman)}, Kendall τ {_signed(self.kendall)}"
        if self.is_too_small:
            return (
                f"{text} (n = {self.num})\nn = {self.num} is too few: even a perfect order has p = {self.smallest_pvalue:.2g}"
            )
        return f"{text}, p {'< 0.001' if self.pvalue < 0.001 else f'= {self.pvalue:.2g}'} (n = {self.num})"


def rank_correlation(first: Sequence[float], second: Sequence[float]) -> RankCorrelation:
    """Compute the rank correlations of two numbers.

    Source: scipy.stats ``spearmanr`` and ``kendalltau``. The p-value is that of Kendall's tau, which is exact for small samples
    without ties, where the usual one of Spearman's rho is not. It takes the things for an independent sample: models of one
    family, or layers of one model, are none.

    Args:
        first: Finite numbers.
        second: As many.

    Returns:
        The correlations.

    Raises:
        InputError: Not as many of both, or a number that is not finite.
    """
    if len(first) != len(second) or not all(map(math.isfinite, (*first, *second))):
        raise InputError(f"rank correlation: expected as many finite numbers of both, got {len(first)} and {len(second)}.")
    if min(len(set(first)), len(set(second))) < 2:
        return RankCorrelation(len(first), math.nan, math.nan, math.nan)
    from scipy.stats import kendalltau, spearmanr

    tau = kendalltau(first, second)
    return RankCorrelation(len(first), float(spearmanr(first, second).statistic), float(tau.statistic), float(tau.pvalue))


def _signed(value: float) -> str:
    return f"{value:z.2f}".replace("-", "−")
