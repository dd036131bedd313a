"""The spectrum of one layer: density of eigenvalues on logarithmic axes, with the fitted tail."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.report.figures.style import COLORS, new_figure, style
from spectra.report.table import worst_first
from spectra.results.records import LayerDiagnostics, LayerStatus

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spectra.results.report import Report

FloatArray = NDArray[np.float64]

# Enough bins that a tail of ten values shows its slope, few enough that a bulk of hundreds is no comb.
_BINS_PER_DECADE, _BINS_IN_TAIL, _MOST_BINS = 12, 6, 60
_RANGE_BELOW_TAIL = 100.0
_FEW_DECADES = 1.5


def default_layer(report: Report) -> str:
    """Choose the layer that most deserves a look.

    Args:
        report: Any report.

    Returns:
        The first fitted layer of the table on the terminal.

    Raises:
        InputError: No layer was fitted.
    """
    for layer in worst_first(report.layers):
        if layer.status == LayerStatus.OK:
            return layer.matrix_name
    raise InputError(f"no layer of '{report.model.name}' was fitted, so there is no tail to draw.")


def esd(report: Report, layer_name: str, *, wide: bool = False) -> Figure:
    """Draw the eigenvalue density of a layer as a log-log histogram, with the power law fitted to its tail.

    The histogram has bins of equal width in log10 and is a density in the eigenvalue, normalized over all positive ones.
    It begins two decades under the tail at most; the legend counts the eigenvalues to the left of that. The fitted line is
    the tail's density times the share of eigenvalues in the tail, so that the two can be compared.

    Args:
        report: A report with spectra.
        layer_name: Name of one of its layers.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No such layer, or one without positive eigenvalues.
    """
    eigenvalues = report.eigenvalues(layer_name)
    layer = next((row for row in report.layers if row.matrix_name == layer_name), None)
    if layer is None:  # the spectra of all experts are kept
        raise InputError(f"'{layer_name}' has no row in this report. Analyse with moe='per_expert' to draw one expert.")
    # Counted among the weight's own eigenvalues; inverses and those of windows are others.
    num_null = (layer.num_null or 0) if len(eigenvalues) == layer.num_eigenvalues and not report.settings.inverse else 0
    positive = eigenvalues[num_null:]
    positive = positive[positive > 0.0]
    if len(positive) == 0:
        raise InputError(f"layer '{layer_name}' has no positive eigenvalue to draw: its status is '{layer.status}'.")
    edges = _edges(positive, layer)
    num_left = int(np.searchsorted(positive, edges[0]))
    with style():
        figure, axes = new_figure(wide=wide)
        counts, _ = np.histogram(positive, bins=edges)
        density = counts / np.diff(edges) / len(positive)
        what = f"eigenvalues of {layer.num_windows} windows" if layer.num_windows else "eigenvalues"
        label = f"{len(positive)} {what}" + (f", {num_left} left of the axis" if num_left else "")
        axes.stairs(density, edges, fill=True, color=COLORS[0], alpha=0.35, linewidth=0, label=label)
        axes.stairs(density, edges, color=COLORS[0], linewidth=0.8)
        if layer.status == LayerStatus.OK:
            _draw_fit(axes, layer, len(positive))
        axes.set_xscale("log")
        axes.set_yscale("log")
        filled = density[density > 0.0]
        axes.set_xlim(edges[0], edges[-1] * (edges[-1] / edges[0]) ** 0.03)
        axes.set_ylim(filled.min() / 4.0, filled.max() * 8.0)
        _few_labels(axes.xaxis, math.log10(edges[-1] / edges[0]))
        symbol = r"1/\lambda" if report.settings.inverse else r"\lambda"
        axes.set_xlabel(rf"{'inverse ' if report.settings.inverse else ''}eigenvalue ${symbol}$")
        axes.set_ylabel(rf"density $\rho({symbol})$")
        figure.suptitle(layer_name, x=0.02, ha="left", fontsize=8, parse_math=False)
        figure.legend(loc="outside lower left")  # under the axes: a spectrum leaves no corner free for sure
    return figure


def _edges(positive: FloatArray, layer: LayerDiagnostics) -> FloatArray:
    """Bins of equal width in log10, so narrow that the tail fills several, from two decades under the tail on."""
    first, last = float(positive[0]), float(positive[-1])
    if layer.status == LayerStatus.OK:
        first = max(first, layer.xmin / _RANGE_BELOW_TAIL)
    span = math.log10(last / first)
    if span < 1e-6:  # all eigenvalues equal: one bin around them
        return np.array([first / 1.1, last * 1.1])
    tail_span = math.log10(layer.xmax / layer.xmin) if layer.status == LayerStatus.OK else span
    width = min(1.0 / _BINS_PER_DECADE, max(tail_span / _BINS_IN_TAIL, span / _MOST_BINS))
    return np.geomspace(first, last * (1.0 + 1e-12), max(4, round(span / width)) + 1)


def _few_labels(axis: Any, decades: float) -> None:
    """Label powers of ten and, where there are few of them, twice and five times these: more run into each other."""
    from matplotlib.ticker import LogFormatterSciNotation, LogLocator, NullFormatter

    axis.set_minor_formatter(NullFormatter())
    if decades < _FEW_DECADES:
        axis.set_minor_locator(LogLocator(subs=(2.0, 5.0)))
        axis.set_minor_formatter(LogFormatterSciNotation(minor_thresholds=(math.inf, math.inf)))


def _draw_fit(axes: object, layer: LayerDiagnostics, num_positive: int) -> None:
    x = np.geomspace(layer.xmin, layer.xmax, 100)
    share = (layer.num_tail or 0) / num_positive
    law = share * (layer.alpha - 1.0) / layer.xmin * (x / layer.xmin) ** -layer.alpha
    label = rf"$\alpha = {layer.alpha:.2f} \pm {layer.alpha_std_error:.2f}$, $D = {layer.ks_distance:.3f}$"
    axes.plot(x, law, "-", color="black", linewidth=1.2, label=label)  # type: ignore[attr-defined]
    axes.axvline(  # type: ignore[attr-defined]
        layer.xmin, color=COLORS[1], linestyle="--", linewidth=0.9, label=rf"$x_{{\min}} = {layer.xmin:.3g}$"
    )
