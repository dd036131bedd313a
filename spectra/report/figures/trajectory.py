"""How a number of every matrix went from checkpoint to checkpoint, with median and middle half over the matrices."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.report.figures.block_medians import quartiles
from spectra.report.figures.changes import LABEL
from spectra.report.figures.lines_by_depth import add_depth_bar, depth_colors, draw_lines
from spectra.report.figures.matrix_places import place_matrices
from spectra.report.figures.series import add_legend
from spectra.report.figures.style import COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.report.figures.units import score_label
from spectra.results.comparison import CHANGE_METRICS, Comparison, MatrixComparison
from spectra.results.words import elided

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    FloatArray = NDArray[np.float64]

_ASPECTS = {1: 0.76, 2: 1.2}  # height over column width, by number of panels
_LOG_FROM = 100.0  # largest over smallest value from which an axis is logarithmic
_NAME = 14  # characters of a model's name on the axis
_LABELS = {
    "relative_change": LABEL,
    "overlap_left": "overlap of left subspaces",
    "overlap_right": "overlap of right subspaces",
    "num_intruders": "intruders",
}
# What a doubtful fit makes meaningless.
_OF_FITS = ("alpha", "alpha_std_error", "alpha_weighted", "log10_alpha_norm", "ks_distance", "num_tail", "xmin")


def trajectory(comparison: Comparison, *, metric: str = "alpha", wide: bool = False) -> Figure:
    """Draw a number of every matrix over the models of a comparison, coloured by depth, with median and middle half in black.

    Below it stands the change since the base, but for numbers that are a change already. Of numbers of fits only matrices are
    drawn whose fits are reliable at all times, as a doubtful one jumps from one tail to another; where there is none, all.

    Args:
        comparison: Best of checkpoints of one run (``over_time``); of other models the lines join what has no order.
        metric: A numeric column of ``spectra.analyze``, or one of the change such as ``relative_change``.
        wide: Text width instead of column width.

    Returns:
        The figure. The horizontal axis has the steps where all models say them, a base without one standing at 0; their names
        otherwise.

    Raises:
        InputError: No such metric, or no matrix that has it in all models.
    """
    from matplotlib.figure import Figure

    chosen, values, is_reliable = _chosen(comparison, metric)
    start = 1 if np.isnan(values[:, 0]).all() else 0
    placed, depth_label = place_matrices(chosen)
    places = [point.place for point in placed]
    colors = depth_colors(places)
    series = {_label(metric): values.T[start:]}
    if metric not in CHANGE_METRICS:
        series["change since the base"] = (values - values[:, :1]).T
    times, names = _times(comparison)
    with style():
        size = (TEXT_WIDTH if wide else COLUMN_WIDTH, COLUMN_WIDTH * _ASPECTS[len(series)])
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(series), sharex=True, squeeze=False)[:, 0]
        for axes, (label, lines) in zip(panels, series.items(), strict=True):
            draw_lines(axes, times[start:], lines, places, colors)
            _draw_middle(axes, times[start:], lines)
            _scale(axes, lines)
            axes.set_ylabel(label)
        _name_the_times(panels[-1], times[start:], names[start:])
        kind = {None: "", True: "reliable fits of ", False: "doubtful fits of "}[is_reliable]
        panels[0].set_title(f"{kind}{len(chosen)} of {len(comparison.matrix_names)} matrices", loc="left")
        add_depth_bar(figure, list(panels), places, colors, depth_label)
        add_legend(figure, panels[0], wide=False)  # under the axes: lines leave no corner free
    return figure


def _chosen(comparison: Comparison, metric: str) -> tuple[list[MatrixComparison], FloatArray, bool | None]:
    """Return matrices that have the metric in all models, its values by matrix and time, and whether these are of good fits."""
    lines = comparison.trajectory(metric)
    rows = {row.matrix_name: row for row in comparison.rows}
    whole = [name for name, values in lines.items() if all(map(math.isfinite, values[1:])) and not math.isinf(values[0])]
    if metric not in CHANGE_METRICS:
        whole = [name for name in whole if math.isfinite(lines[name][0])]
    if not whole:
        raise InputError(f"no matrix has a value of '{metric}' in all models, so there is nothing to draw. Try another metric.")
    is_reliable = None
    if metric in _OF_FITS:
        doubtful = {row.matrix_name for row in comparison.rows if not row.has_good_fits}
        good = [name for name in whole if name not in doubtful]
        is_reliable, whole = bool(good), good or whole
    return [rows[name] for name in whole], np.array([lines[name] for name in whole]), is_reliable


def _times(comparison: Comparison) -> tuple[list[float], list[str]]:
    """Return where base and models stand on the axis, and their names if that is no step."""
    steps = [model.step for model in comparison.models]
    known = [step for step in (comparison.base_step or 0, *steps) if step is not None]
    if len(known) == 1 + len(steps) == len(set(known)):
        return list(map(float, known)), []
    names = [comparison.base.name, *(model.name for model in comparison.models)]
    return list(map(float, range(len(names)))), [elided(name, _NAME) for name in names]


def _draw_middle(axes: Any, times: Sequence[float], values: FloatArray) -> None:
    low, middle, high = quartiles(values.T)
    axes.fill_between(times, low, high, color="black", alpha=0.13, linewidth=0, zorder=3, label="middle half")
    for quartile in (low, high):
        axes.plot(times, quartile, color="black", linewidth=0.9, linestyle=(0, (3, 1.5)), zorder=4)
    axes.plot(times, middle, color="black", linewidth=1.6, marker=".", zorder=4, label="median")


def _scale(axes: Any, values: FloatArray) -> None:
    low, high = values.min(), values.max()
    if 0.0 < _LOG_FROM * low <= high:
        axes.set_yscale("log")
    elif (values == np.rint(values)).all():
        axes.yaxis.get_major_locator().set_params(integer=True)
    else:
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useMathText=True)


def _name_the_times(axes: Any, times: Sequence[float], names: Sequence[str]) -> None:
    if not names:
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("step")
        return
    axes.set_xticks(times, names, rotation=30, ha="right", rotation_mode="anchor", parse_math=False)


def _label(metric: str) -> str:
    return _LABELS.get(metric) or score_label({"metric": metric})
