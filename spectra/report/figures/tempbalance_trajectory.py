"""What TempBalance did over a training run: the score and the multiplier of every unit, update by update."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.report.figures.depth import places
from spectra.report.figures.style import COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.results.scale_log import ScaleLogContent, ScaleRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

_COLORS = "viridis"  # ordered, with any colour vision and in grey
_LIGHTEST = 0.92  # of the map: what follows is a yellow that vanishes on white
_MOST_TICKS = 9
_LOG_FROM = 4.0  # largest over smallest multiplier; below, a logarithmic axis would have one or two numbers on it
_METRICS = {"alpha": r"power-law exponent $\alpha$", "alpha_hill": r"Hill exponent $\alpha$"}


def tempbalance_trajectory(log: ScaleLogContent, *, wide: bool = False) -> Figure:
    """Draw the score of every unit above, and its multiplier below, against the optimizer steps.

    Units are coloured by their place in the model; black is their arithmetic mean. Multipliers hold from one update to the
    next; a score that was not measured leaves a gap. The log of a run that is under way can be drawn as well.

    Args:
        log: As ``load_scale_log`` returns it.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No update is recorded yet.
    """
    from matplotlib.figure import Figure

    if not log.records:
        raise InputError("this log holds no update yet, so that there is nothing to draw. Try again after the first one.")
    units = log.header.units
    targets = list(dict.fromkeys(record.target for record in log.records))
    with style():
        size = (TEXT_WIDTH if wide else COLUMN_WIDTH, COLUMN_WIDTH * (0.15 + 0.5 * (1 + len(targets))))
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(1 + len(targets), sharex=True)
        colors = _colors(len(units))
        for axes, target in zip(panels[1:], targets, strict=True):
            records = [record for record in log.records if record.target == target]
            _draw(axes, records, [record.scales for record in records], units, colors, drawstyle="steps-post")
            axes.set_ylabel(f"multiplier of the\n{target.replace('_', ' ')}", parse_math=False)
            _scale_multipliers(axes, records)
        first = [record for record in log.records if record.target == targets[0]]
        _draw(panels[0], first, [record.scores for record in first], units, colors)
        metric = str(log.header.policy.get("metric", "score"))
        panels[0].set_ylabel(_METRICS.get(metric, metric.replace("_", " ")))
        panels[0].set_title(log.header.model, loc="left", parse_math=False)
        panels[0].legend(loc="best", handlelength=2.4)
        panels[-1].set_xlabel("optimizer step")
        panels[-1].xaxis.get_major_locator().set_params(integer=True)
        if len({record.step for record in log.records}) == 1:  # matplotlib would count in hundredths of a step
            panels[-1].set_xlim(log.records[0].step - 1, log.records[0].step + 1)
        _add_bar(figure, panels, units, colors)
    return figure


def _colors(number: int) -> Any:
    """One colour for each unit, from the first to the last of the model."""
    from matplotlib import colormaps
    from matplotlib.colors import ListedColormap

    return ListedColormap(colormaps[_COLORS](np.linspace(0.0, _LIGHTEST, number)))


def _draw(
    axes: Any,
    records: Sequence[ScaleRecord],
    values: Sequence[Mapping[str, float]],
    units: Iterable[str],
    colors: Any,
    **line: str,
) -> None:
    """Draw a line for each unit, and their mean."""
    steps = [record.step for record in records]
    marker = "." if len(steps) == 1 else ""  # a line of one point cannot be seen
    table = np.array([[row.get(unit, math.nan) for unit in units] for row in values])  # (updates, units)
    for column, color in zip(table.T, colors.colors, strict=True):
        axes.plot(steps, column, color=color, linewidth=0.8, marker=marker, **line)
    axes.plot(steps, _means(table), color="black", linewidth=1.2, linestyle="--", marker=marker, label="mean", **line)


def _means(table: FloatArray) -> FloatArray:
    """Average over the units that have a value."""
    counts = np.isfinite(table).sum(axis=1)
    sums = np.where(np.isfinite(table), table, 0.0).sum(axis=1)
    means: FloatArray = np.divide(sums, counts, out=np.full(len(table), math.nan), where=counts > 0)
    return means


def _scale_multipliers(axes: Any, records: Sequence[ScaleRecord]) -> None:
    """Mark 1, and take a logarithmic axis where multipliers differ by factors."""
    from matplotlib.ticker import FormatStrFormatter, LogLocator, NullFormatter

    axes.axhline(1.0, color="0.6", linewidth=0.6, zorder=0)
    values = [value for record in records for value in record.scales.values() if math.isfinite(value)]
    if values and 0.0 < _LOG_FROM * min(values) <= max(values):
        axes.set_yscale("log")
        axes.yaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
        axes.yaxis.set_major_formatter(FormatStrFormatter("%g"))
        axes.yaxis.set_minor_formatter(NullFormatter())


def _add_bar(figure: Any, panels: Any, units: Mapping[str, Sequence[str]], colors: Any) -> None:
    """Tell which colour is which unit."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm

    number = len(units)
    names, label = _names(units)
    firsts = [place for place in range(number) if place == 0 or names[place] != names[place - 1]]
    chosen = firsts[:: math.ceil(len(firsts) / _MOST_TICKS)]
    mappable = ScalarMappable(BoundaryNorm(np.arange(number + 1) - 0.5, number), colors)
    bar = figure.colorbar(mappable, ax=list(panels), ticks=chosen, aspect=40, pad=0.02)
    bar.ax.set_yticklabels([names[place] for place in chosen])
    bar.ax.tick_params(which="both", length=0)
    bar.ax.invert_yaxis()  # the first block above, as in a list
    bar.outline.set_visible(False)
    bar.set_label(label)


def _names(units: Mapping[str, Sequence[str]]) -> tuple[list[str], str]:
    """Name every unit by where its first layer stands, and say what the names are."""
    layers = [layer for members in units.values() for layer in members]
    found, label = places(layers)
    at = dict(zip(layers, found, strict=True))
    placed = [at[members[0]] for members in units.values()]
    return [place.tick or f"{place.depth:g}" for place in placed], label
