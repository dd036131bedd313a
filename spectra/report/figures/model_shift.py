"""Where in a model fine-tuning changed the weights, and what it did to their spectra."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError
from spectra.report.figures.changes import scale_changes
from spectra.report.figures.depth import name_the_depths
from spectra.report.figures.matrix_places import PlacedMatrix, place_matrices
from spectra.report.figures.series import add_legend, aspect, draw_along_depth, look
from spectra.report.figures.style import COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.report.figures.titles import add_title
from spectra.results.model_shift import MatrixShift, ModelShift

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL = 0.56  # height over column width
_NO_BAR = (math.nan, math.nan)

_Point = PlacedMatrix[MatrixShift]


def model_shift(shift: ModelShift, *, wide: bool = False) -> Figure:
    """Draw how far each matrix moved, by depth and kind of layer, and how its alpha changed.

    Two panels over one axis of depth, as in the figure of alpha by depth: the norm of the change over that before, and alpha
    after minus alpha before, hollow where one of the two fits is doubtful. The second is left out if nothing was fitted. It has
    no error bars: the errors of the two fits go together, and their sum would say too much.

    Args:
        shift: Any.
        wide: Text width, with the panels side by side, instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No matrix changed by a known amount.
    """
    from matplotlib.figure import Figure

    points, depth_label = place_matrices([m for m in shift.matrices if math.isfinite(m.relative_change)])
    if not points:
        raise InputError(f"no matrix of '{shift.tuned}' changed by a known amount, so there is nothing to draw.")
    roles = list(dict.fromkeys(point.role for point in points))
    num_panels = 2 if any(math.isfinite(point.matrix.alpha_change) for point in points) else 1
    legend = aspect(roles, wide=wide) - aspect([], wide=True)
    size = (TEXT_WIDTH, 0.72 * COLUMN_WIDTH) if wide else (COLUMN_WIDTH, (num_panels * _PANEL + 0.1 + legend) * COLUMN_WIDTH)
    with style():
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(*((1, num_panels) if wide else (num_panels, 1)), sharex=True, squeeze=False).ravel()
        _draw_changes(panels[0], points, roles)
        if num_panels == 2:
            _draw_alphas(panels[1], points, roles)
        for axes in panels if wide else panels[-1:]:
            axes.set_xlabel(depth_label)
        name_the_depths(panels[-1], [point.place for point in points])
        name = PurePath(shift.tuned).name.removeprefix("module ")
        add_title(panels[0], name, f"in total {shift.relative_change:.2g}", wide=False)
        add_legend(figure, panels[-1], wide=wide)
    return figure


def _draw_changes(axes: Any, points: Sequence[_Point], roles: Sequence[str]) -> None:
    values = [point.matrix.relative_change for point in points]
    for number, role in enumerate(roles):
        _draw(axes, number, role, points, values, [False] * len(points))
    scale_changes(axes, values)


def _draw_alphas(axes: Any, points: Sequence[_Point], roles: Sequence[str]) -> None:
    axes.axhline(0.0, color="0.6", linewidth=0.6, zorder=1)
    values = [point.matrix.alpha_change for point in points]
    doubtful = [not point.matrix.is_reliable for point in points]
    for number, role in enumerate(roles):
        _draw(axes, number, role, points, values, doubtful)
    axes.set_ylabel(r"change of exponent $\alpha$")


def _draw(axes: Any, number: int, role: str, points: Sequence[_Point], values: Sequence[float], hollow: Sequence[bool]) -> None:
    inside = [i for i, point in enumerate(points) if point.role == role]
    placed, heights = [points[i].place for i in inside], [values[i] for i in inside]
    bars, doubtful = [_NO_BAR] * len(inside), [hollow[i] for i in inside]
    draw_along_depth(axes, *look(number), role, placed, heights, bars=bars, hollow=doubtful)
