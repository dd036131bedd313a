"""How far chance may have moved a mean: an interval by resampling."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

NUM_DRAWS = 10_000  # our choice: the ends are then good to about a fiftieth of the interval
LEVEL = 0.95  # the usual one

_AT_ONCE = 1 << 22  # numbers drawn at once: 32 MiB


def mean_interval(values: Sequence[float], *, seed: int, num_draws: int = NUM_DRAWS) -> tuple[float, float]:
    """Compute a percentile interval of a mean: of as many values, drawn with replacement, again and again.

    Of differences between two measurements of the same samples this is the paired bootstrap.

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.

    Args:
        values: Independent of each other.
        seed: Of the draws.
        num_draws: How many means.

    Returns:
        Ends between which 95 % of the means lie; NaN for fewer than two values, of which nothing can be said. Of fewer than
        about twenty the interval is too narrow.
    """
    import numpy as np

    if len(values) < 2:
        return math.nan, math.nan
    means = np.concatenate(list(_means(np.asarray(values, dtype=np.float64), np.random.default_rng(seed), num_draws)))
    low, high = np.quantile(means, [(1.0 - LEVEL) / 2.0, (1.0 + LEVEL) / 2.0])
    return float(low), float(high)


def _means(values: NDArray[np.float64], rng: np.random.Generator, num_draws: int) -> Iterator[NDArray[np.float64]]:
    size = max(1, _AT_ONCE // len(values))
    for start in range(0, num_draws, size):
        drawn = rng.integers(0, len(values), (min(size, num_draws - start), len(values)))
        yield values[drawn].mean(axis=1)
