"""A spectrum on logarithmic axes with its fitted tail: what the figure of one layer and the grid of many share."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.report.figures.style import COLORS
from spectra.results.records import LayerDiagnostics, LayerStatus

if TYPE_CHECKING:
    from spectra.results.report import Report

FloatArray = NDArray[np.float64]

# Enough bins that a tail of ten values shows its slope, few enough that a bulk of hundreds is no comb.
_BINS_PER_DECADE, _BINS_IN_TAIL, _MOST_BINS = 12, 6, 60
_RANGE_BELOW_TAIL = 100.0
_FEW_DECADES = 1.5


@dataclass(frozen=True)
class TailHistogram:
    """The density of a layer's positive eigenvalues in bins of equal width in log10.

    Attributes:
        layer: The row.
        num_positive: Eigenvalues that the density is normalized over.
        num_left: Of these, how many lie left of the first bin.
        edges: Of the bins, shape ``(num_bins + 1,)``.
        density: In the eigenvalue, shape ``(num_bins,)``.
    """

    layer: LayerDiagnostics
    num_positive: int
    num_left: int
    edges: FloatArray
    density: FloatArray

    @property
    def x_limits(self) -> tuple[float, float]:
        """Limits of the axis of eigenvalues, with a margin on the right."""
        first, last = float(self.edges[0]), float(self.edges[-1])
        return first, last * (last / first) ** 0.03

    @property
    def y_limits(self) -> tuple[float, float]:
        """Limits of the axis of densities, with room for the line of the fit."""
        filled = self.density[self.density > 0.0]
        return float(filled.min()) / 4.0, float(filled.max()) * 8.0


def tail_histogram(report: Report, layer_name: str) -> TailHistogram:
    """Bin the spectrum of a layer.

    The histogram begins two decades under the tail at most.

    Args:
        report: A report with spectra.
        layer_name: Name of one of its layers.

    Returns:
        The histogram.

    Raises:
        InputError: No such layer, or one without positive eigenvalues.
    """
    eigenvalues = report.eigenvalues(layer_name)
    layer = next((row for row in report.layers if row.matrix_name == layer_name), None)
    if layer is None:  # the spectra of all experts are kept
        raise InputError(f"'{layer_name}' has no row in this report. Analyse with moe='per_expert' to draw one expert.")
    positive = positive_eigenvalues(eigenvalues, layer, inverse=report.settings.inverse)
    if len(positive) == 0:
        raise InputError(f"layer '{layer_name}' has no positive eigenvalue to draw: its status is '{layer.status}'.")
    edges = log_edges(positive, layer)
    counts, _ = np.histogram(positive, bins=edges)
    density = counts / np.diff(edges) / len(positive)
    return TailHistogram(layer, len(positive), int(np.searchsorted(positive, edges[0])), edges, density)


def positive_eigenvalues(eigenvalues: FloatArray, layer: LayerDiagnostics, *, inverse: bool) -> FloatArray:
    """Leave out of a spectrum what is numerically zero.

    Args:
        eigenvalues: The saved spectrum of the layer, ascending.
        layer: Its row.
        inverse: Whether these are inverse eigenvalues.

    Returns:
        The positive ones, ascending.
    """
    # Counted among the weight's own eigenvalues; inverses and those of windows are others.
    num_null = (layer.num_null or 0) if len(eigenvalues) == layer.num_eigenvalues and not inverse else 0
    rest = eigenvalues[num_null:]
    return rest[rest > 0.0]


def draw_density(axes: Any, histogram: TailHistogram, *, label: str = "") -> None:
    """Draw the density, and make both axes logarithmic.

    Args:
        axes: Where.
        histogram: The density.
        label: For a legend.
    """
    filled, outline = {"fill": True, "alpha": 0.35, "linewidth": 0}, {"linewidth": 0.8}
    axes.stairs(histogram.density, histogram.edges, color=COLORS[0], label=label, **filled)
    axes.stairs(histogram.density, histogram.edges, color=COLORS[0], **outline)
    axes.set_xscale("log")
    axes.set_yscale("log")


def draw_fit(
    axes: Any,
    histogram: TailHistogram,
    *,
    law_label: str = "",
    xmin_label: str = "",
    xmin_height: float = 1.0,
    is_doubtful: bool = False,
) -> None:
    """Draw the fitted law and where its tail begins.

    The line is the tail's density times the share of eigenvalues in the tail, so that it can be compared with the histogram.

    Args:
        axes: Where the density is drawn.
        histogram: Of a fitted layer.
        law_label: For a legend.
        xmin_label: For a legend.
        xmin_height: How high the line at xmin reaches, as a share of the axes.
        is_doubtful: Dashes the line.
    """
    layer = histogram.layer
    x = np.geomspace(layer.xmin, layer.xmax, 100)
    share = (layer.num_tail or 0) / histogram.num_positive
    law = share * (layer.alpha - 1.0) / layer.xmin * (x / layer.xmin) ** -layer.alpha
    axes.plot(x, law, linestyle=(0, (2, 1)) if is_doubtful else "-", color="black", linewidth=1.2, label=law_label)
    axes.axvline(layer.xmin, ymax=xmin_height, color=COLORS[1], linestyle="--", linewidth=0.9, label=xmin_label)


def few_labels(axis: Any, decades: float) -> None:
    """Label powers of ten and, where there are few of them, twice and five times these: more run into each other.

    Args:
        axis: Logarithmic.
        decades: That it spans.
    """
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

    axis.set_minor_formatter(NullFormatter())
    if decades < _FEW_DECADES:
        axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(math.inf, math.inf)))


def log_edges(positive: FloatArray, layer: LayerDiagnostics) -> FloatArray:
    """Choose bins of equal width in log10, so narrow that the tail fills several, from two decades under the tail on.

    Args:
        positive: Positive eigenvalues, ascending, at least one.
        layer: Their layer.

    Returns:
        The edges, ascending.
    """
    first, last = float(positive[0]), float(positive[-1])
    if layer.status == LayerStatus.OK:
        first = max(first, layer.xmin / _RANGE_BELOW_TAIL)
    span = math.log10(last / first)
    if span < 1e-6:  # all eigenvalues equal: one bin around them
        return np.array([first / 1.1, last * 1.1])
    tail_span = math.log10(layer.xmax / layer.xmin) if layer.status == LayerStatus.OK else span
    width = min(1.0 / _BINS_PER_DECADE, max(tail_span / _BINS_IN_TAIL, span / _MOST_BINS))
    return np.geomspace(first, last * (1.0 + 1e-12), max(4, round(span / width)) + 1)
