"""Fisher score along the depth of a model, one series per kind of layer."""

from __future__ import annotations

from typing import TYPE_CHECKING

from spectra.report.figures.depth import name_the_depths
from spectra.report.figures.scored_layers import SHARED_ROLES, drawable, left_out, looks_by_role, score_label, scored_layers
from spectra.report.figures.series import add_legend, aspect, draw_along_depth
from spectra.report.figures.style import new_figure, style
from spectra.report.figures.titles import add_title
from spectra.results.fisher import Aggregate, Fisher

if TYPE_CHECKING:
    from matplotlib.figure import Figure


def fisher_by_layer(fisher: Fisher, *, aggregate: Aggregate | str | None = None, wide: bool = False) -> Figure:
    """Draw the Fisher score of every layer against its depth, by kind of layer, on a logarithmic axis.

    A layer is a module, its weight and bias together. Where most layers stand in one numbered stack of blocks (a
    transformer), depth is the block's number, and what precedes or follows the blocks stands before or after them; elsewhere
    depth is the layer's place in the model. Bars reach two standard errors over samples to both sides. They are known of
    layers of a single parameter only: those of a sum would need covariances. The label of the depth counts the layers that
    have no place on a logarithmic axis, such as those of score 0.

    Source: arXiv 2406.14005 draws the sensitivity of tensors of each kind; its scores are scaled to [0, 1] and leave out the
    largest tensor, here nothing is scaled.

    Args:
        fisher: Any Fisher.
        aggregate: How the parameters of a layer become one score. Default: that of the Fisher.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No layer has a positive score, the aggregate is unknown, or it needs values that were not kept.
    """
    layers, depth_label = scored_layers(fisher, aggregate)
    drawn = drawable(fisher, layers)
    looks = looks_by_role(drawn)
    lowest, highest = (bound(layer.score for layer in drawn) for bound in (min, max))
    with style():
        figure, axes = new_figure(wide=wide, aspect=aspect(list(looks), wide=wide))
        axes.set_yscale("log")
        for role, (color, marker) in looks.items():
            series = [layer for layer in drawn if layer.role == role]
            draw_along_depth(
                axes,
                color,
                marker,
                role,
                [layer.place for layer in series],
                [layer.score for layer in series],
                bars=[(2.0 * layer.std_error,) * 2 for layer in series],
                hollow=[False] * len(series),
                is_joined=role not in SHARED_ROLES,
            )
        axes.set_ylim(bottom=lowest / (highest / lowest) ** 0.05 / 1.2)  # a bar that reaches 0 ends at the axis
        axes.set_xlabel(depth_label + left_out(layers))
        axes.set_ylabel(score_label(fisher, aggregate))
        name_the_depths(axes, [layer.place for layer in drawn])
        add_title(axes, fisher.info.model, f"{fisher.info.num_samples:,} samples", wide=wide)
        add_legend(figure, axes, wide=wide)
    return figure
