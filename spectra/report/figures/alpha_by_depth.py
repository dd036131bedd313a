"""Alpha along the depth of a model, one series per kind of layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectra.errors import InputError
from spectra.report.figures.depth import name_the_depths
from spectra.report.figures.fitted_layers import fitted_layers
from spectra.report.figures.series import add_legend, aspect, draw_along_depth, look
from spectra.report.figures.style import new_figure, style
from spectra.report.figures.titles import add_title

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spectra.results.report import Report


def alpha_by_depth(report: Report, *, wide: bool = False) -> Figure:
    """Draw the fitted exponent of every layer against its depth, by kind of layer.

    Where most layers stand in one numbered stack of blocks (a transformer), depth is the block's number, embeddings stand
    before and heads after the stack; elsewhere depth is the layer's place in the model. Doubtful fits are hollow. The band
    between 2 and 6 is where well-trained layers are found.

    Args:
        report: Any report.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No layer was fitted.
    """
    points, depth_label = fitted_layers(report.layers)
    if not points:
        raise InputError(f"no layer of '{report.model.name}' was fitted, so there is no alpha to draw.")
    roles = list(dict.fromkeys(point.role for point in points))
    with style():
        figure, axes = new_figure(wide=wide, aspect=aspect(roles, wide=wide))
        if not report.settings.inverse:  # where well-trained layers are: known of eigenvalues, not of their inverses
            axes.axhspan(2.0, 6.0, color="0.93", zorder=0, linewidth=0)
        for number, role in enumerate(roles):
            series = [point for point in points if point.role == role]
            draw_along_depth(
                axes,
                *look(number),
                role,
                [point.place for point in series],
                [point.matrix.alpha for point in series],
                bars=[(point.matrix.alpha_std_error,) * 2 for point in series],
                hollow=[point.matrix.fit_quality == "poor" for point in series],
            )
        axes.set_xlabel(depth_label)
        axes.set_ylabel(r"power-law exponent $\alpha$" + (r" of $1/\lambda$" if report.settings.inverse else ""))
        axes.set_ylim(bottom=min(1.0, min(point.matrix.alpha for point in points)))
        name_the_depths(axes, [point.place for point in points])
        add_title(axes, report.model.name, wide=wide)
        add_legend(figure, axes, wide=wide)
    return figure
