r"""The bulk of one layer: its spectrum on a linear axis, the fitted Marchenko-Pastur law, and the spikes above it.

The law is drawn from its two edges alone: :math:`\rho(\lambda) = 2 \sqrt{(\lambda_+ - \lambda)(\lambda - \lambda_-)} /
(\pi \lambda (\sqrt{\lambda_+} - \sqrt{\lambda_-})^2)` is the density of
:mod:`spectra.esd.marchenko_pastur` with the edges put in.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.report.figures.style import COLORS, new_figure, style
from spectra.report.figures.titles import add_heading
from spectra.results.records import LayerDiagnostics
from spectra.results.words import counted

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spectra.results.report import Report

FloatArray = NDArray[np.float64]

_FEWEST_BINS, _MOST_BINS = 6, 30  # in the bulk; between them twice the root of the number of eigenvalues
_CUT_AT = 2.5  # times the edge: spikes farther out would press the bulk into a corner
_ROOM = 1.3  # over the highest bin; of square matrices the law has a pole at 0


def mp_overlay(report: Report, layer_name: str, *, wide: bool = False) -> Figure:
    """Draw the spectrum of a layer with the Marchenko-Pastur law of its bulk, the edge of it, and the spikes.

    The histogram is a density over all eigenvalues, and the law is scaled to the share that is no spike. Triangles are spikes;
    how many lie right of the axis, which ends at 2.5 times the edge, is written there. Where the analysis has compared with the
    weights in random order, the law of those is drawn as well: of a layer that has learned nothing the two are one.

    Args:
        report: A report with spectra, whose row of the layer has a fitted bulk.
        layer_name: Name of the layer or matrix.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No such layer, or one without bulk.
    """
    values = report.eigenvalues(layer_name)
    layer = next((row for row in report.layers if row.matrix_name == layer_name), None)
    if layer is None or not math.isfinite(layer.lambda_plus):
        raise InputError(
            f"layer '{layer_name}' has no Marchenko-Pastur bulk in this report. Analyse with mp_fit=True (--mp-fit)."
        )
    spikes = values[len(values) - (layer.num_spikes or 0) :]
    end = min(1.04 * float(values[-1]), _CUT_AT * layer.lambda_plus)
    end = max(end, 1.1 * layer.lambda_plus)
    with style():
        figure, axes = new_figure(wide=wide, aspect=0.86)
        top = _draw_spectrum(axes, values, layer, end)
        share = 1.0 - len(spikes) / len(values)
        law = "Marchenko–Pastur" + (f", doubtful ($D = {layer.mp_bulk_ks_distance:.2f}$)" if layer.mp_quality == "poor" else "")
        _draw_law(axes, layer.lambda_minus, layer.lambda_plus, share, color="black", linewidth=1.2, label=law)
        edge = rf"edge $\lambda_+ = {layer.lambda_plus:.3g}$"
        axes.axvline(layer.lambda_plus, color=COLORS[1], linestyle="--", linewidth=0.9, label=edge)
        if math.isfinite(layer.rand_lambda_plus):
            shuffled = f"law of the weights in random order (largest {layer.rand_lambda_max:.3g})"
            look: dict[str, Any] = {"color": COLORS[2], "linestyle": (0, (1, 1)), "linewidth": 1.4, "label": shuffled}
            _draw_law(axes, layer.rand_lambda_minus, layer.rand_lambda_plus, 1.0, **look)
        _mark_spikes(axes, spikes, end, top)
        axes.set_xlim(0.0, end)
        axes.set_ylim(0.0, _ROOM * top)
        axes.set_xlabel(r"eigenvalue $\lambda$")
        axes.set_ylabel(r"density $\rho(\lambda)$")
        add_heading(figure, layer_name, wide=wide)
        figure.legend(loc="outside lower left", ncols=2 if wide else 1)
    return figure


def _draw_spectrum(axes: Any, values: FloatArray, layer: LayerDiagnostics, end: float) -> float:
    """Draw the histogram up to the end of the axis, and return the height of its highest bin."""
    width = layer.lambda_plus / min(max(round(2.0 * math.sqrt(len(values))), _FEWEST_BINS), _MOST_BINS)
    edges = width * np.arange(math.ceil(end / width) + 1)
    counts, _ = np.histogram(values, edges)
    density = counts / width / len(values)
    axes.stairs(density, edges, fill=True, color=COLORS[0], alpha=0.35, linewidth=0, label=f"{len(values)} eigenvalues")
    axes.stairs(density, edges, color=COLORS[0], linewidth=0.8)
    return float(density.max())


def _draw_law(axes: Any, low: float, high: float, share: float, **look: Any) -> None:
    x = low + (high - low) * np.linspace(0.0, 1.0, 401) ** 2  # dense at the lower edge, where it rises steeply
    x = np.maximum(x, np.finfo(np.float64).tiny)
    gap = (math.sqrt(high) - math.sqrt(low)) ** 2
    density = 2.0 * np.sqrt(np.maximum((high - x) * (x - low), 0.0)) / (math.pi * x * gap)
    if low < 1e-9 * high:  # square: the pole at 0 is not on the axis
        x, density = x[1:], density[1:]
    axes.plot(x, share * density, **look)


def _mark_spikes(axes: Any, spikes: FloatArray, end: float, top: float) -> None:
    inside = spikes[spikes <= end]
    if len(spikes):
        look: dict[str, Any] = {
            "linestyle": "none",
            "marker": "v",
            "markersize": 3.0,
            "color": COLORS[1],
            "markeredgewidth": 0.0,
        }
        label = f"{counted(len(spikes), 'spike')}, largest {spikes[-1]:.3g}"
        axes.plot(inside, [0.04 * top] * len(inside), **look, label=label, zorder=4)
    if len(inside) < len(spikes):
        text = f"{len(spikes) - len(inside)} more →"
        axes.text(0.99, 0.1, text, transform=axes.transAxes, ha="right", fontsize=6.5)
