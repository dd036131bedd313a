r"""Where the tail starts: the candidate whose power law lies closest to the data, found exactly and fast.

For the tail of ``c_i`` values that starts at the distinct value :math:`x_i`,

.. math:: \alpha_i = 1 + c_i \Big/ \sum_{x_j \ge x_i} \ln(x_j / x_i), \qquad
          D_i = \max_{j \ge i} \left| 1 - (x_j/x_i)^{1-\alpha_i} - \frac{f_j - f_i}{c_i} \right|,

with :math:`f_j` the number of values strictly below :math:`x_j` (the left-continuous empirical distribution of the
powerlaw package and of WeightWatcher; a repeated value counts once as a candidate). The answer is the first
:math:`i` with the smallest :math:`D_i`: Clauset, Shalizi and Newman (2009), arXiv 0706.1062, section 3.3.

Evaluating all :math:`D_i` costs O(n²). But every single term of the maximum is a lower bound of it, and the value
where one candidate deviates most is usually where its neighbours do. So: bound all candidates at a few positions,
evaluate the most promising one in full, use the position of its largest deviation to raise the bounds of all
others, drop those whose bound exceeds the best distance found, repeat. On spectra and on samples (pure Pareto among
them) 1 to 10 candidates are evaluated in full, whatever n. The result is the exhaustive one.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from spectra.esd.eigenvalues import FloatArray

# Fractions of a candidate's own tail at which all candidates are bounded first. Few: from then on the place where each
# evaluated candidate deviates most bounds all others, and better. 16 fractions took 1.4 (n = 384) to 2 times as long
# (n = 8192; also lognormal, exponential, uniform, tied and Marchenko-Pastur samples), two or one as long as three.
_PROBES = (0.03, 0.3, 0.8)

# Bounds and distances are the same formula evaluated in different array shapes; a last-digit difference between them
# must not drop the winner.
_SLACK = 1e-14

# Quotients of float64 numbers up to it do not overflow.
_LARGEST_RATIO = 1e300

Index = int | slice | NDArray[np.intp]


@dataclass(frozen=True)
class TailCandidates:
    """All candidates of one spectrum, as arrays over its distinct values.

    Attributes:
        values: Shape ``(m,)``, distinct positive values, ascending.
        log_values: Shape ``(m,)``, ``ln(values / values[-1])``, <= 0.
        num_below: Shape ``(m,)``, number of values strictly below each.
        num_tail: Shape ``(m,)``, number of values at or above each.
        alphas: Shape ``(k,)``, ``k < m``: the exponent of each admissible candidate.
    """

    values: FloatArray
    log_values: FloatArray
    num_below: FloatArray
    num_tail: FloatArray
    alphas: FloatArray

    def survival(self, index: Index, position: Index) -> FloatArray:
        """Return the fitted probability of a larger value than the one at ``position``, for the candidates ``index``."""
        log_ratio = self.log_values[position] - self.log_values[index]
        return np.asarray(np.exp((1.0 - self.alphas[index]) * log_ratio))

    def deviation_at(self, index: Index, position: Index) -> FloatArray:
        """Return ``|F_fit - F_emp|`` of the candidates ``index`` at ``position``; one of them may be a single number."""
        empirical = (self.num_below[position] - self.num_below[index]) / self.num_tail[index]
        return np.asarray(np.abs(1.0 - self.survival(index, position) - empirical))

    def deviation(self, candidate: int) -> FloatArray:
        """Return ``|F_fit - F_emp|`` of one candidate at every distinct value of its tail."""
        return self.deviation_at(candidate, slice(candidate, None))


def tail_candidates(values: FloatArray, *, min_tail: int = 2, bias_correction: bool = False) -> TailCandidates:
    """Compute the exponent of every tail of a sample in O(n).

    Args:
        values: Shape ``(n,)``, positive, ascending.
        min_tail: Fewest values in an admissible tail. The largest value is never a candidate.
        bias_correction: Use ``1 + (c - 1) / sum`` in place of ``1 + c / sum``.

    Returns:
        The candidates; ``alphas`` is empty if there is none.
    """
    # np.unique would sort again, and import numpy.ma on its way.
    is_first = np.ones(len(values), dtype=bool)
    np.not_equal(values[1:], values[:-1], out=is_first[1:])
    distinct = values[is_first]
    num_below = np.flatnonzero(is_first).astype(np.float64)
    num_tail = len(values) - num_below
    with np.errstate(over="ignore"):
        relative_gap = np.diff(distinct) / distinct[:-1]
    # Of ratios, so that no scale enters; and log1p keeps the digits of close values, which a difference loses.
    log_values = log_ratios(distinct)
    gaps = np.where(relative_gap < 1.0, np.log1p(relative_gap), np.diff(log_values))
    # Sum over the tail of ln(x_j / x_i), as a suffix sum of (values above the gap) x gap: nothing cancels.
    log_sums = np.cumsum((gaps * num_tail[1:])[::-1])[::-1]
    num_admissible = int(np.count_nonzero(num_tail[:-1] >= min_tail))
    numerator = num_tail[:num_admissible] - (1.0 if bias_correction else 0.0)
    alphas = 1.0 + numerator / log_sums[:num_admissible]
    return TailCandidates(distinct, log_values, num_below, num_tail, alphas)


def log_ratios(values: FloatArray) -> FloatArray:
    """Compute ``ln(values / largest)``, also where the ratio itself is too small for float64.

    Args:
        values: Shape ``(n,)``, positive, ascending.

    Returns:
        Shape ``(n,)``, <= 0.
    """
    if len(values) == 0:
        return values
    ratios = values / values[-1]
    if ratios[0] > np.finfo(np.float64).tiny:
        return np.asarray(np.log(ratios))
    return np.asarray(np.log(values) - np.log(values[-1]))


def logs_above(values: FloatArray, threshold: float) -> FloatArray:
    """Compute ``ln(values / threshold)``, also where the ratio itself is too large for float64.

    Args:
        values: Shape ``(n,)``, n >= 1, positive, ascending.
        threshold: Positive.

    Returns:
        Shape ``(n,)``.
    """
    if values[-1] < _LARGEST_RATIO * threshold:
        return np.asarray(np.log(values / threshold))
    return np.asarray(np.log(values) - math.log(threshold))  # fewer digits for close values, hence only here


def search_exhaustively(candidates: TailCandidates) -> tuple[int, float]:
    """Evaluate every candidate: the obvious O(n²) reference for :func:`search`."""
    distances = np.array([candidates.deviation(i).max() for i in range(len(candidates.alphas))])
    best = int(np.argmin(distances))
    return best, float(distances[best])


def search(candidates: TailCandidates, window: slice = slice(None)) -> tuple[int, float]:
    """Find the candidate with the smallest distance, first one on ties.

    Args:
        candidates: At least one admissible candidate.
        window: Which of them to consider, a contiguous range with at least one of them. Default: all.

    Returns:
        Its index among the distinct values, and its distance.
    """
    alive = np.arange(len(candidates.alphas))[window]
    bounds = np.full(len(candidates.alphas), np.inf)
    bounds[alive] = _first_bounds(candidates, alive)
    probed: set[int] = set()
    best, best_distance = -1, np.inf
    while len(alive):
        candidate = int(alive[np.argmin(bounds[alive])])
        deviation = candidates.deviation(candidate)
        where = int(np.argmax(deviation))
        distance = float(deviation[where])
        if (distance, candidate) < (best_distance, best):
            best, best_distance = candidate, distance
        bounds[candidate] = np.inf
        position = candidate + where
        if position not in probed:
            probed.add(position)
            lower = alive[: np.searchsorted(alive, position)]
            bounds[lower] = np.maximum(bounds[lower], candidates.deviation_at(lower, position))
        alive = alive[bounds[alive] <= best_distance + _SLACK]
    return best, best_distance


def _first_bounds(candidates: TailCandidates, index: NDArray[np.intp]) -> FloatArray:
    bounds = np.zeros(len(index))
    tail_length = len(candidates.values) - index
    for fraction in _PROBES:
        position = index + (tail_length * fraction).astype(np.intp)
        np.maximum(bounds, candidates.deviation_at(index, position), out=bounds)
    return bounds
