"""Lines over time, one for each layer, coloured by its depth in the model; shared by the figures of trajectories."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.report.figures.depth import Place

_COLORS = "viridis"  # ordered, with any colour vision and in grey
_LIGHTEST = 0.92  # of the map: what follows is a yellow that vanishes on white
_MOST_TICKS = 9


def depth_colors(placed: Sequence[Place]) -> dict[float, Any]:
    """Give each depth a colour, from the first to the last of the model.

    Args:
        placed: The layers.

    Returns:
        Colours by depth, as matplotlib takes them.
    """
    from matplotlib import colormaps

    depths = sorted({place.depth for place in placed})
    return dict(zip(depths, colormaps[_COLORS](np.linspace(0.0, _LIGHTEST, len(depths))), strict=True))


def draw_lines(
    axes: Any, times: Sequence[float], values: NDArray[np.float64], placed: Sequence[Place], colors: Mapping[float, Any]
) -> None:
    """Draw a line for each layer.

    Args:
        axes: Where.
        times: On the horizontal axis.
        values: Shape ``(times, layers)``; NaN leaves a gap.
        placed: The layers.
        colors: By depth.
    """
    for column, place in enumerate(placed):
        axes.plot(times, values[:, column], color=colors[place.depth], linewidth=0.7)


def add_depth_bar(figure: Any, panels: Any, placed: Sequence[Place], colors: Mapping[float, Any], label: str) -> None:
    """Tell beside the panels which colour is which depth.

    Args:
        figure: The figure.
        panels: Its axes, which make room.
        placed: The layers.
        colors: By depth.
        label: What the depth is called.
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    names = {place.depth: place.tick or f"{place.depth:g}" for place in placed}
    number = len(colors)
    chosen = range(0, number, math.ceil(number / _MOST_TICKS))
    mappable = ScalarMappable(BoundaryNorm(np.arange(number + 1) - 0.5, number), ListedColormap(list(colors.values())))
    bar = figure.colorbar(mappable, ax=panels, ticks=list(chosen), aspect=40, pad=0.02)
    bar.ax.set_yticklabels([names[depth] for depth in [*colors][:: chosen.step]])
    bar.ax.tick_params(which="both", length=0)
    bar.ax.invert_yaxis()  # the first block above, as in a list
    bar.outline.set_visible(False)
    bar.set_label(label)
