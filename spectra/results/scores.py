"""Scores of a test set, each with how far chance may have moved it: shares and means."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from spectra.errors import InputError
from spectra.results.mean_interval import LEVEL
from spectra.results.weight_rounds import plain_json


@dataclass(frozen=True)
class Proportion:
    """How many of all.

    Attributes:
        count: From 0 to ``total``.
        total: At least 1.

    Raises:
        InputError: Counts that cannot be.
    """

    count: int
    total: int

    def __post_init__(self) -> None:
        if not 0 <= self.count <= self.total or not self.total:
            raise InputError(f"{self.count} of {self.total} is no proportion. Count at least one, and no more than all.")

    @classmethod
    def of(cls, outcomes: Sequence[bool]) -> Proportion:
        """Count outcomes.

        Args:
            outcomes: At least one.

        Returns:
            How many are true.

        Raises:
            InputError: None are given.
        """
        return cls(sum(outcomes), len(outcomes))

    @property
    def share(self) -> float:
        """From 0 to 1."""
        return self.count / self.total

    @property
    def std_error(self) -> float:
        r"""Of the share, :math:`\sqrt{p (1 - p) / n}`; 0 where all are alike, of which the interval says more."""
        return math.sqrt(self.share * (1.0 - self.share) / self.total)

    @cached_property
    def interval(self) -> tuple[float, float]:
        """Ends between which the share of all such items lies, at 95 %, by Wilson (1927), Probable Inference, eq. 3 to 5.

        Unlike that of the standard error, the interval holds for few items and at 0 and 1, too.
        """
        from scipy.stats import binomtest

        ends = binomtest(self.count, self.total).proportion_ci(LEVEL, method="wilson")
        return float(ends.low), float(ends.high)

    def to_dict(self) -> dict[str, Any]:
        """Return counts, the share, its standard error and its interval, by name."""
        low, high = self.interval
        shares = {"share": self.share, "std_error": self.std_error, "low": low, "high": high}
        return {"count": self.count, "total": self.total, **shares}

    def __str__(self) -> str:
        low, high = self.interval
        return (
            f"{self.share:.1%} ({self.count} of {self.total}; standard error {100 * self.std_error:.1f} points, "
            f"95 % interval {low:.1%} to {high:.1%})"
        )


@dataclass(frozen=True)
class Mean:
    """A mean over items.

    Attributes:
        value: The mean.
        std_error: The standard deviation of the items (n - 1) over the root of their number; NaN for a single one.
    """

    value: float
    std_error: float

    @classmethod
    def of(cls, values: Sequence[float]) -> Mean:
        """Average values.

        Args:
            values: At least one.

        Returns:
            Their mean.

        Raises:
            InputError: None are given.
        """
        if not values:
            raise InputError("there are no values to average. Give at least one.")
        error = statistics.stdev(values) / math.sqrt(len(values)) if len(values) > 1 else math.nan
        return cls(statistics.fmean(values), error)

    def to_dict(self) -> dict[str, Any]:
        """Return both by name, ``None`` for an error that is not known."""
        content: dict[str, Any] = plain_json({"value": self.value, "std_error": self.std_error})
        return content

    def __str__(self) -> str:
        return f"{self.value:.3f}" if math.isnan(self.std_error) else f"{self.value:.3f} ± {self.std_error:.3f}"
