"""A loss surface: each region in perspective and as a map, all on one scale."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.report.figures.style import COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.results.surface import LossSurface, SurfaceRegion

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

_COLORS = "viridis"  # equal steps of loss look equal, with any colour vision and in grey
_MOST_BANDS = 14
_NAMES = {"whole": "Whole model", "top": "Top half", "bottom": "Bottom half"}


def loss_surface(surface: LossSurface, *, wide: bool = False) -> Figure:
    """Draw the loss over the two directions, for each region.

    A wide figure has a column for each region, in perspective above and as a map below; a figure of column width has a row
    for each. Heights and colours mean the same in all of them. Points whose loss is not finite are left out.

    Args:
        surface: Finished.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: A point is not measured yet, or none is finite.
    """
    from matplotlib import rc_context

    levels = _levels(surface)
    number = len(surface.regions)
    with style(), rc_context({"grid.linewidth": 0.4, "grid.color": "0.85"}):
        figure, panels, bar = _columns(number) if wide else _rows(number)
        for region, panel in zip(surface.regions, panels, strict=True):
            losses = np.ma.masked_invalid(surface.losses[region.name])
            _draw_perspective(panel.perspective, surface.grid, losses, levels)
            bands = _draw_map(panel.map, surface.grid, losses, levels)
            panel.title.set_text(_title(region, surface.info.num_params, "\n" if wide else ", "))
        figure.colorbar(bands, cax=bar, label="loss", orientation="vertical" if wide else "horizontal")
    return figure


def _levels(surface: LossSurface) -> FloatArray:
    """Round numbers from under the lowest to above the highest loss."""
    from matplotlib.ticker import MaxNLocator

    if not surface.is_complete:
        raise InputError("this loss surface is not finished. Run the same 'spectra surface' command again to finish it.")
    heights = np.concatenate([losses.ravel() for losses in surface.losses.values()])
    heights = heights[np.isfinite(heights)]
    if heights.size == 0:
        raise InputError("no point of this loss surface is finite, so that there is nothing to draw. Choose a smaller radius.")
    return np.asarray(MaxNLocator(_MOST_BANDS).tick_values(heights.min(), heights.max()))


# Axes are placed by hand, in inches: those in perspective leave wide margins of their own, which no layout engine knows.


@dataclass(frozen=True)
class _Panel:
    """The axes and the title of one region."""

    perspective: Any
    map: Any
    title: Any


def _columns(number: int) -> tuple[Figure, list[_Panel], Any]:
    """Make a column for each region, and room for the colour bar on the right."""
    from matplotlib.figure import Figure

    pitch, side, start, bottom = 1.92, 1.65, 0.56, 0.42
    figure = Figure(figsize=(pitch * number + TEXT_WIDTH - 3 * pitch, 4.15))
    panels = []
    for column in range(number):
        left = start + column * pitch
        perspective = _placed(figure, left - 0.25, 2.15, 2.0, 1.75, projection="3d")
        flat = _placed(figure, left, bottom, side, side)
        panels.append(_Panel(perspective, flat, _text(figure, left, 4.1)))
        flat.set_xlabel("first direction")
        flat.tick_params(labelleft=column == 0)  # the same in every column
    panels[0].map.set_ylabel("second direction")
    return figure, panels, _placed(figure, start + pitch * number - 0.2, bottom, 0.1, side)


def _rows(number: int) -> tuple[Figure, list[_Panel], Any]:
    """Make a row for each region, and room for the colour bar at the bottom."""
    from matplotlib.figure import Figure

    pitch, side = 1.6, 1.06
    height = pitch * number + 0.85
    figure = Figure(figsize=(COLUMN_WIDTH, height))
    panels = []
    for row in range(number):
        bottom = height - (row + 1) * pitch + 0.2
        perspective = _placed(figure, -0.14, bottom - 0.18, 1.75, 1.5, projection="3d")
        flat = _placed(figure, COLUMN_WIDTH - side - 0.08, bottom, side, side)
        panels.append(_Panel(perspective, flat, _text(figure, 0.08, height - row * pitch - 0.05)))
        flat.set_ylabel("second direction", labelpad=1)
    panels[-1].map.set_xlabel("first direction")
    return figure, panels, _placed(figure, 0.4, 0.42, COLUMN_WIDTH - 0.8, 0.08)


def _placed(figure: Figure, left: float, bottom: float, width: float, height: float, **more: Any) -> Any:
    across, up = figure.get_size_inches()
    return figure.add_axes((left / across, bottom / up, width / across, height / up), **more)


def _text(figure: Figure, left: float, top: float) -> Any:
    across, up = figure.get_size_inches()
    return figure.text(left / across, top / up, "", ha="left", va="top", fontsize=6.5)


def _draw_perspective(axes: Any, grid: FloatArray, losses: Any, levels: FloatArray) -> None:
    first, second = np.meshgrid(grid, grid, indexing="ij")
    line = {"linewidth": 0.2, "edgecolor": (1.0, 1.0, 1.0, 0.4)}
    count = len(grid)
    colors = {"cmap": _COLORS, "vmin": levels[0], "vmax": levels[-1]}
    axes.plot_surface(first, second, losses, rcount=count, ccount=count, **colors, **line)
    axes.set_xlabel("first", fontsize=6, labelpad=-10)
    axes.set_ylabel("second", fontsize=6, labelpad=-10)
    axes.set_zlim(levels[0], levels[-1])
    axes.view_init(elev=24.0, azim=-58.0)
    axes.set_box_aspect((1.0, 1.0, 0.75), zoom=1.05)
    for axis in (axes.xaxis, axes.yaxis, axes.zaxis):
        axis.set_pane_color("white")
        axis.set_tick_params(pad=-4, labelsize=6)
        axis.get_major_locator().set_params(nbins=4)
    _few_ticks(axes, grid)


def _draw_map(axes: Any, grid: FloatArray, losses: Any, levels: FloatArray) -> Any:
    # Transposed: a surface's first axis is its first direction, which is drawn across.
    bands = axes.contourf(grid, grid, losses.T, levels=levels, cmap=_COLORS)
    axes.contour(grid, grid, losses.T, levels=levels, colors="white", linewidths=0.2, alpha=0.4)
    axes.set_aspect("equal")
    _few_ticks(axes, grid)
    return bands


def _few_ticks(axes: Any, grid: FloatArray) -> None:
    """Three ticks, away from the corners, where the labels of two axes would meet."""
    reach = 0.8 * float(grid[-1])
    power = 10.0 ** np.floor(np.log10(reach))
    tick = max(step * power for step in (1.0, 2.0, 5.0) if step * power <= reach)
    places = (-tick, 0.0, tick)
    labels = [f"{place:g}".replace("-", "\N{MINUS SIGN}") for place in places]
    axes.set_xticks(places, labels)
    axes.set_yticks(places, labels)


def _title(region: SurfaceRegion, num_params: int, between: str) -> str:
    share = f"{100.0 * region.num_params / num_params:.3g}% of parameters"
    size = rf"$\|\Delta\theta\| = {region.relative_norm:.3g}\,\|\theta\|$ at radius 1"
    return f"{_NAMES.get(region.name, region.name)}: {share}{between}{size}"
