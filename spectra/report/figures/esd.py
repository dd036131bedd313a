"""The spectrum of one layer: density of eigenvalues on logarithmic axes, with the fitted tail."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spectra.errors import InputError
from spectra.report.figures.style import new_figure, style
from spectra.report.figures.tail_histogram import draw_density, draw_fit, few_labels, tail_histogram
from spectra.report.figures.titles import add_heading
from spectra.report.table import worst_first
from spectra.results.records import LayerStatus

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spectra.results.report import Report


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
    histogram = tail_histogram(report, layer_name)
    layer = histogram.layer
    with style():
        figure, axes = new_figure(wide=wide)
        what = f"eigenvalues of {layer.num_windows} windows" if layer.num_windows else "eigenvalues"
        num_left = histogram.num_left
        label = f"{histogram.num_positive} {what}" + (f", {num_left} left of the axis" if num_left else "")
        draw_density(axes, histogram, label=label)
        if layer.status == LayerStatus.OK:
            law = rf"$\alpha = {layer.alpha:.2f} \pm {layer.alpha_std_error:.2f}$, $D = {layer.ks_distance:.3f}$"
            draw_fit(axes, histogram, law_label=law, xmin_label=rf"$x_{{\min}} = {layer.xmin:.3g}$")
        axes.set_xlim(*histogram.x_limits)
        axes.set_ylim(*histogram.y_limits)
        few_labels(axes.xaxis, math.log10(histogram.edges[-1] / histogram.edges[0]))
        symbol = r"1/\lambda" if report.settings.inverse else r"\lambda"
        axes.set_xlabel(rf"{'inverse ' if report.settings.inverse else ''}eigenvalue ${symbol}$")
        axes.set_ylabel(rf"density $\rho({symbol})$")
        add_heading(figure, layer_name, wide=wide)
        figure.legend(loc="outside lower left")  # under the axes: a spectrum leaves no corner free for sure
    return figure
