"""Spectra small enough for a page: counts in bins and points of the distribution, so that 2,000 layers fit.

A layer takes about 1 kB: counts in at most 80 bins of equal width in log10 and 80 of equal width, and 120 values of known rank.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.report.figures.tail_histogram import log_edges, positive_eigenvalues
from spectra.report.html.chart import rounded
from spectra.results.records import LayerDiagnostics
from spectra.results.report import Report

FloatArray = NDArray[np.float64]

MOST_BINS, MOST_POINTS = 80, 120
_DIGITS = 4
# The linear view shows the bulk: a heavy tail would press it into the first bins. What lies beyond is counted.
_SHARE_SHOWN = 0.98
_ROOM_ABOVE_BULK = 1.5


@dataclass(frozen=True)
class Histogram:
    """Counts in bins of equal width, in the value or in its logarithm.

    Attributes:
        first: Lower edge of the first bin.
        last: Upper edge of the last.
        counts: In each bin, which holds its lower edge.
        num_outside: Values that lie in none.
    """

    first: float
    last: float
    counts: tuple[int, ...]
    num_outside: int

    def to_list(self) -> list[Any]:
        """Return ``[first, last, num_outside, counts]``."""
        return [self.first, self.last, self.num_outside, list(self.counts)]


@dataclass(frozen=True)
class BinnedSpectrum:
    """The positive eigenvalues of a layer.

    Attributes:
        num_positive: How many.
        log_bins: Of equal width in log10, from two decades under the tail on.
        linear_bins: Of equal width from 0 on, over the bulk.
        values: Eigenvalues of the ranks ``ranks(num_positive)``, descending.
    """

    num_positive: int
    log_bins: Histogram
    linear_bins: Histogram
    values: tuple[float, ...] = field(repr=False)

    def to_list(self) -> list[Any]:
        """Return the fields in order, as the page's script takes them."""
        return [self.num_positive, self.log_bins.to_list(), self.linear_bins.to_list(), list(self.values)]


def binned_spectra(report: Report) -> dict[str, Any]:
    """Bin the spectra of all layers of a report.

    Args:
        report: Any.

    Returns:
        ``spectra``: for each layer, in order, its :class:`BinnedSpectrum` as a list, or ``None`` without one; ``ranks``: those
        of the values, by the number of positive eigenvalues.
    """
    layers = {layer.matrix_name: layer for layer in report.layers}
    binned = {}
    for name, eigenvalues in report.spectra.items():  # of experts that have no row, too
        if name in layers:
            positive = positive_eigenvalues(eigenvalues, layers[name], inverse=report.settings.inverse)
            if len(positive):
                binned[name] = binned_spectrum(positive, layers[name])
    sizes = sorted({spectrum.num_positive for spectrum in binned.values()})
    return {
        "spectra": [binned[name].to_list() if name in binned else None for name in layers],
        "ranks": {str(size): ranks(size) for size in sizes},
    }


def binned_spectrum(positive: FloatArray, layer: LayerDiagnostics) -> BinnedSpectrum:
    """Bin one spectrum.

    Args:
        positive: Positive eigenvalues, ascending, at least one.
        layer: Their layer.

    Returns:
        The spectrum; edges and values have 4 significant digits, and counts are those of the rounded edges.
    """
    edges = log_edges(positive, layer)
    log_bins = _histogram(positive, edges[0], edges[-1], min(len(edges) - 1, MOST_BINS), np.geomspace)
    bulk_end = layer.lambda_plus * _ROOM_ABOVE_BULK if layer.lambda_plus > 0.0 else 0.0
    shown = min(float(positive[-1]), max(float(np.quantile(positive, _SHARE_SHOWN)), bulk_end))
    linear_bins = _histogram(positive, 0.0, shown, MOST_BINS, np.linspace)
    descending = positive[::-1]
    values = tuple(_short(float(descending[rank - 1])) for rank in ranks(len(positive)))
    return BinnedSpectrum(len(positive), log_bins, linear_bins, values)


def ranks(num_values: int) -> list[int]:
    """Choose which order statistics stand for a distribution on logarithmic axes.

    Args:
        num_values: How many values there are.

    Returns:
        Ranks from 1, the largest value, to ``num_values``: at most 120, the first ones all, then by equal ratios.
    """
    if num_values <= MOST_POINTS:
        return list(range(1, num_values + 1))
    return sorted({round(rank) for rank in np.geomspace(1.0, num_values, MOST_POINTS).tolist()})


def _histogram(positive: FloatArray, first: float, last: float, num_bins: int, spaced: Any) -> Histogram:
    low, high = _short(first, up=False), _short(last, up=True)
    counts, _ = np.histogram(positive, bins=spaced(low, high, num_bins + 1))
    return Histogram(low, high, tuple(counts.tolist()), len(positive) - int(counts.sum()))


def _short(value: float, *, up: bool | None = None) -> float:
    """Round to 4 digits; an edge is rounded outwards, so that it keeps what it encloses."""
    short = rounded(value, _DIGITS)
    assert short is not None
    step = 10.0 ** (np.floor(np.log10(value)) - _DIGITS + 1) if value > 0.0 else 0.0
    if up is True and short < value:
        return rounded(short + step, _DIGITS) or short
    if up is False and short > value:
        return rounded(short - step, _DIGITS) or short
    return short
