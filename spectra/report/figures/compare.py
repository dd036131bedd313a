"""Where in a model the weights changed, and what that did to their spectra: of one model, or of several side by side."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError
from spectra.report.figures.block_medians import draw_block_medians
from spectra.report.figures.changes import scale_changes
from spectra.report.figures.depth import name_the_depths
from spectra.report.figures.matrix_places import PlacedMatrix, apart, asides, place_matrices
from spectra.report.figures.series import add_legend, aspect, draw_along_depth, draw_rings, look
from spectra.report.figures.style import COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.results.comparison import METRICS_ONLY, Comparison, MatrixComparison
from spectra.results.words import elided

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL = 0.56  # height over column width
_SPREAD = 0.56  # of a block: over it series stand side by side, so that they do not hide each other
_FLOOR = 0.035  # of the height: where matrices stand that did not change, which no logarithmic axis has room for
_TITLE = 30  # characters of a name that leave room for the rest of a title in a column
_NO_BAR = (math.nan, math.nan)
_TICK: dict[str, Any] = {"marker": "_", "color": "0.55", "linestyle": "none", "markersize": 4.5, "markeredgewidth": 0.7}
_STILL: dict[str, Any] = {**_TICK, "marker": "x", "markersize": 2.2}

_Point = PlacedMatrix[MatrixComparison]


def compare(comparison: Comparison, *, model: str | None = None, wide: bool = False) -> Figure:
    """Draw what changed along the depth of the model, in two panels over one axis.

    Of one model: the norm of each change over that of the base's matrix, by kind of layer, hollow where a tenth or more may be
    rounding, ringed where a leading singular vector is new, crosses for what did not change; and alpha from the base's value,
    a grey tick, to the model's, hollow where one of the two fits is doubtful. Of several models: the medians over the matrices
    of each block, with the middle half, of the changes and of how much alpha changed. A panel without numbers is left out.

    Args:
        comparison: Any.
        model: Name of a model of it. Default: all of them; of checkpoints of one run the last; ``trajectory`` shows all.
        wide: Text width, with the panels side by side, instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No such model, or nothing of it changed by a known amount.
    """
    if model is None and comparison.over_time:
        model = comparison.models[-1].name
    names = [each.name for each in comparison.models] if model is None else [model]
    rows = {name: [row for row in comparison.of(name) if _is_known(row)] for name in names}
    if not any(_has_moved(row) for inside in rows.values() for row in inside):
        raise InputError(
            f"no matrix of '{', '.join(names)}' is known to differ from that of '{comparison.base.name}', so there is nothing "
            "to draw."
        )
    if len(names) == 1:
        return _matrices(names[0], rows[names[0]], wide=wide)
    return _models(comparison.base.name, rows, wide=wide)


def _is_known(row: MatrixComparison) -> bool:
    return math.isfinite(row.relative_change) or math.isfinite(row.alpha_change)


def _has_moved(row: MatrixComparison) -> bool:
    return row.is_changed or row.status == METRICS_ONLY


def _matrices(name: str, rows: Sequence[MatrixComparison], *, wide: bool) -> Figure:
    """Draw one model, matrix by matrix."""
    points, depth_label = place_matrices(rows)
    moved, still = [p for p in points if _has_moved(p.matrix)], [p for p in points if not _has_moved(p.matrix)]
    roles = list(dict.fromkeys(point.role for point in moved))
    aside = dict(zip(roles, asides(len(roles), _SPREAD), strict=True))
    intruded = [point for point in moved if point.matrix.intruders]
    with style():
        changed = [point for point in moved if math.isfinite(point.matrix.relative_change)]
        fitted = [point for point in points if math.isfinite(point.matrix.alpha_change)]
        extras = ["before"] * bool(fitted) + ["intruder"] * bool(intruded) + ["unchanged"] * bool(still and changed)
        figure, panels = _new_figure(bool(changed) + bool(fitted), [*roles, *extras], wide=wide)
        if changed:
            axes = panels[0]
            for number, role in enumerate(roles):
                _draw_changes(axes, number, [point for point in changed if point.role == role], aside[role])
            draw_rings(axes, [(p.place.depth + aside[p.role], p.matrix.relative_change) for p in intruded])
            if still:  # an empty series would be an extent at the corner of the figure
                axes.plot([p.place.depth for p in still], [_FLOOR] * len(still), transform=axes.get_xaxis_transform(), **_STILL)
            scale_changes(axes, [point.matrix.relative_change for point in changed])
        if fitted:
            for point in fitted:
                _draw_alpha(panels[-1], roles, point, aside.get(point.role, 0.0))
            panels[-1].set_ylabel(r"exponent $\alpha$, before and after")
        _finish(figure, panels, points, depth_label, roles, extras, wide=wide)
        title = f"{len(moved)} of {len(points)} matrices changed" if changed else f"{len(points)} matrices"
        panels[0].set_title(f"{elided(name, _TITLE)}: {title}", loc="left", parse_math=False)
    return figure


def _draw_changes(axes: Any, number: int, points: Sequence[_Point], aside: float) -> None:
    draw_along_depth(
        axes,
        *look(number),
        "",
        [apart(point.place, aside) for point in points],
        [point.matrix.relative_change for point in points],
        bars=[_NO_BAR] * len(points),
        hollow=[not point.matrix.is_reliable for point in points],
    )


def _draw_alpha(axes: Any, roles: Sequence[str], point: _Point, aside: float) -> None:
    """Draw alpha from before to after; of what did not change, the tick of before alone."""
    matrix, depth = point.matrix, point.place.depth + aside
    before, after = matrix.value_at_base("alpha"), matrix.value("alpha")
    axes.plot([depth], [before], zorder=1, **_TICK)
    if not _has_moved(matrix):
        return
    color, marker = look(roles.index(point.role))
    fill = color if matrix.has_good_fits else "white"
    axes.plot([depth, depth], [before, after], color=color, linewidth=0.8, alpha=0.7, zorder=2)
    axes.scatter([depth], [after], s=11, marker=marker, facecolors=fill, edgecolors=color, linewidths=0.8, zorder=3)


def _models(base: str, rows: Mapping[str, Sequence[MatrixComparison]], *, wide: bool) -> Figure:
    """Draw several models, block by block."""
    everything = {row.matrix_name: row for inside in rows.values() for row in inside}
    placed, depth_label = place_matrices(list(everything.values()))
    place_of = {point.matrix.matrix_name: point.place for point in placed}
    moved = {name: [row for row in inside if _has_moved(row)] for name, inside in rows.items()}
    changed = {name: [row for row in inside if math.isfinite(row.relative_change)] for name, inside in moved.items()}
    fitted = {name: [row for row in inside if math.isfinite(row.alpha_change)] for name, inside in moved.items()}
    extras = ["intruder"] * any(row.intruders for inside in changed.values() for row in inside)
    with style():
        figure, panels = _new_figure(any(changed.values()) + any(fitted.values()), [*rows, *extras], wide=wide)
        for number, (name, aside) in enumerate(zip(rows, asides(len(rows), _SPREAD), strict=True)):
            changes = [(place_of[row.matrix_name], row.relative_change, not row.is_reliable) for row in changed[name]]
            ringed = [place_of[row.matrix_name].depth for row in changed[name] if row.intruders]
            draw_block_medians(panels[0], number, "", changes, aside=aside, ringed=ringed)
            alphas = [(place_of[row.matrix_name], row.alpha_change, not row.has_good_fits) for row in fitted[name]]
            draw_block_medians(panels[-1], number, "", alphas, aside=aside)
        if any(changed.values()):
            scale_changes(panels[0], [row.relative_change for inside in changed.values() for row in inside])
        if any(fitted.values()):
            panels[-1].axhline(0.0, color="0.6", linewidth=0.6, zorder=1)
            panels[-1].set_ylabel(r"change of exponent $\alpha$")
        _finish(figure, panels, placed, depth_label, list(rows), extras, wide=wide)
        panels[0].set_title(f"against {elided(base, _TITLE)}, medians of blocks", loc="left", parse_math=False)
    return figure


def _new_figure(num_panels: int, labels: Sequence[str], *, wide: bool) -> tuple[Figure, Any]:
    from matplotlib.figure import Figure

    legend = aspect(labels, wide=wide) - aspect([], wide=True)
    size = (TEXT_WIDTH, 0.72 * COLUMN_WIDTH) if wide else (COLUMN_WIDTH, (num_panels * _PANEL + 0.1 + legend) * COLUMN_WIDTH)
    figure = Figure(figsize=size, layout="constrained")
    return figure, figure.subplots(*((1, num_panels) if wide else (num_panels, 1)), sharex=True, squeeze=False).ravel()


def _finish(
    figure: Any,
    panels: Any,
    points: Sequence[_Point],
    depth_label: str,
    series: Sequence[str],
    extras: Sequence[str],
    *,
    wide: bool,
) -> None:
    """Label the axes, and add a legend of the series and of the marks beside them."""
    for axes in panels if wide else panels[-1:]:
        axes.set_xlabel(depth_label)
    name_the_depths(panels[-1], [point.place for point in points])
    legend = panels[-1]
    for number, label in enumerate(series):
        color, marker = look(number)
        legend.plot([], [], linestyle="-", marker=marker, markersize=3.5, color=color, linewidth=0.7, label=label)
    for extra in extras:
        if extra == "intruder":
            draw_rings(legend, [], label=extra)
        else:
            legend.plot([], [], label=extra, **(_TICK if extra == "before" else _STILL))
    add_legend(figure, legend, wide=wide)
