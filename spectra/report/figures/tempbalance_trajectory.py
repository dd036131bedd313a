"""What TempBalance did over a training run: the score and the multiplier of every unit, update by update."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError
from spectra.policies.plan_record import NOUNS
from spectra.report.figures.depth import Place
from spectra.report.figures.series import add_legend, aspect
from spectra.report.figures.style import COLORS, COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.report.figures.titles import add_title
from spectra.report.figures.units import placed_units, scale_multipliers, score_label
from spectra.results.scale_log import ScaleLogContent, ScaleLogHeader, ScaleRecord

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FloatArray = NDArray[np.float64]

_COLORS = "viridis"  # ordered, with any colour vision and in grey
_LIGHTEST = 0.92  # of the map: what follows is a yellow that vanishes on white
_MOST_TICKS = 9
_PANEL = 0.5  # height over column width, of each panel of multipliers
_LINES: tuple[Any, ...] = ("-", (0, (5, 1)), (0, (1, 1)))  # each with all colours before the next begins
_MEAN: dict[str, Any] = {"color": "black", "linewidth": 1.2, "linestyle": "--"}


@dataclass(frozen=True)
class _Series:
    """Units that are drawn alike.

    Attributes:
        label: Their kind; empty for a unit of its own.
        columns: Which units.
        look: Colour and line.
    """

    label: str
    columns: list[int]
    look: Mapping[str, Any]


def tempbalance_trajectory(log: ScaleLogContent, *, wide: bool = False) -> Figure:
    """Draw the score of every unit above, and its multiplier below, against the optimizer steps.

    Units are coloured by their place in the model. Where several stand in one block, as single layers do, colours are kinds of
    layer instead: a thin line for each unit, and a thick one for the mean of its kind. Black is the arithmetic mean of all
    units. Multipliers hold from one update to the next; a score that was not measured leaves a gap. The log of a run that is
    under way can be drawn as well.

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
    placed, label = placed_units(log.header.units)
    targets = list(dict.fromkeys(record.target for record in log.records))
    with style():
        series = _by_kind(placed) if _share_blocks(placed) else _by_depth(len(placed))
        legend = _legend_labels(series, log.header)
        height = aspect(legend, wide=wide) + _PANEL * len(targets)
        figure = Figure(figsize=(TEXT_WIDTH if wide else COLUMN_WIDTH, COLUMN_WIDTH * height), layout="constrained")
        panels = figure.subplots(1 + len(targets), sharex=True)
        first = [record for record in log.records if record.target == targets[0]]
        _draw(panels[0], first, _table(log, [record.scores for record in first]), series, legend)
        panels[0].set_ylabel(score_label(log.header.policy))
        add_title(panels[0], *_title(log.header), wide=wide)
        for axes, target in zip(panels[1:], targets, strict=True):
            _draw_multipliers(axes, log, target, series, legend)
        _finish_steps(panels[-1], log.records)
        if legend:
            _add_legend(figure, panels[0], wide=wide)
        else:
            _add_bar(figure, panels, [place for _, place in placed], _bar_label(label, log.header), series)
    return figure


def _share_blocks(placed: Iterable[tuple[str, Place]]) -> bool:
    """Say whether several units stand in one block."""
    return max(Counter(place.depth for _, place in placed if not place.is_end).values(), default=0) > 1


def _by_depth(number: int) -> list[_Series]:
    """Give each unit a colour, from the first to the last of the model."""
    from matplotlib import colormaps

    colors = colormaps[_COLORS](np.linspace(0.0, _LIGHTEST, number))
    return [_Series("", [column], {"color": color, "linewidth": 0.8}) for column, color in enumerate(colors)]


def _by_kind(placed: Sequence[tuple[str, Place]]) -> list[_Series]:
    """Give each kind of layer a colour, as in the figure of a plan."""
    kinds: dict[str, list[int]] = {}
    for column, (role, _) in enumerate(placed):
        kinds.setdefault(role or "block", []).append(column)
    looks = [
        {"color": COLORS[number % len(COLORS)], "linestyle": _LINES[number // len(COLORS) % len(_LINES)], "linewidth": 1.3}
        for number in range(len(kinds))
    ]
    return [_Series(kind, columns, look) for (kind, columns), look in zip(kinds.items(), looks, strict=True)]


def _legend_labels(series: Iterable[_Series], header: ScaleLogHeader) -> list[str]:
    """Return what the legend says: nothing where the bar tells the units, else kinds, a single unit and all of them."""
    kinds = [one.label for one in series if one.label]
    return [*kinds, f"one {_noun(header)}", f"mean of all {_noun(header)}s"] if kinds else []


def _noun(header: ScaleLogHeader) -> str:
    return "layer" if all(tuple(layers) == (unit,) for unit, layers in header.units.items()) else "unit"


def _table(log: ScaleLogContent, values: Iterable[Mapping[str, float]]) -> FloatArray:
    """Return a row for each update, a column for each unit."""
    return np.array([[row.get(unit, math.nan) for unit in log.header.units] for row in values])


def _draw_multipliers(axes: Any, log: ScaleLogContent, target: str, series: Sequence[_Series], legend: Sequence[str]) -> None:
    records = [record for record in log.records if record.target == target]
    table = _table(log, [record.scales for record in records])
    _draw(axes, records, table, series, legend, drawstyle="steps-post")
    axes.axhline(1.0, color="0.6", linewidth=0.6, zorder=0)
    axes.set_ylabel(NOUNS[target])
    scale_multipliers(axes, table.ravel().tolist())


def _draw(
    axes: Any, records: Sequence[ScaleRecord], table: FloatArray, series: Sequence[_Series], legend: Sequence[str], **line: str
) -> None:
    """Draw a line for each unit, then the means."""
    steps = [record.step for record in records]
    line["marker"] = "." if len(steps) == 1 else ""  # a line of one point cannot be seen
    for one in series:
        thin = {"linewidth": 0.5, "alpha": 0.4} if one.label else {}
        axes.plot(steps, table[:, one.columns], **{**one.look, **thin}, **line)
    for one in series:
        if one.label:
            axes.plot(steps, _means(table[:, one.columns]), **one.look, label=one.label, **line)
    mean = _means(table)
    if legend:
        axes.plot([], [], color="0.4", linewidth=0.5, label=legend[-2])
        axes.plot(steps, mean, **_MEAN, label=legend[-1], **line)
    else:
        axes.plot(steps, mean, **_MEAN, label="mean", **line)
        _label_end(axes, "mean", mean)


def _means(table: FloatArray) -> FloatArray:
    """Average over the units that have a value."""
    counts = np.isfinite(table).sum(axis=1)
    sums = np.where(np.isfinite(table), table, 0.0).sum(axis=1)
    means: FloatArray = np.divide(sums, counts, out=np.full(len(table), math.nan), where=counts > 0)
    return means


def _label_end(axes: Any, label: str, values: FloatArray) -> None:
    """Write beside the axes, where no line runs, at the height at which the line ends."""
    finite = values[np.isfinite(values)]
    if len(finite):
        at = {"xy": (1.0, finite[-1]), "xycoords": axes.get_yaxis_transform(), "annotation_clip": False}
        axes.annotate(label, **at, xytext=(2, 0), textcoords="offset points", va="center", fontsize="small")


def _title(header: ScaleLogHeader) -> list[str]:
    return [str(part) for part in (header.model, header.policy.get("name")) if part] or [""]


def _finish_steps(axes: Any, records: Sequence[ScaleRecord]) -> None:
    axes.set_xlabel("optimizer step")
    axes.xaxis.get_major_locator().set_params(integer=True)
    steps = [record.step for record in records]
    if len(set(steps)) > 1:
        axes.set_xlim(min(steps), max(steps))
    else:  # matplotlib would count in hundredths of a step
        axes.set_xlim(steps[0] - 1, steps[0] + 1)


def _add_legend(figure: Any, axes: Any, *, wide: bool) -> None:
    """Put the legend beside all panels, or under them."""
    if not wide:
        add_legend(figure, axes, wide=False)
        return
    for text in figure.legend(*axes.get_legend_handles_labels(), loc="outside right center").get_texts():
        text.set_parse_math(False)  # names of layers are no formulas


def _bar_label(label: str, header: ScaleLogHeader) -> str:
    return label.replace("block", "layer", 1) if _noun(header) == "layer" else label


def _add_bar(figure: Any, panels: Any, placed: Sequence[Place], label: str, series: Sequence[_Series]) -> None:
    """Tell which colour is which unit."""
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import BoundaryNorm, ListedColormap

    number = len(placed)
    names = [place.tick or f"{place.depth:g}" for place in placed]
    firsts = [i for i in range(number) if i == 0 or names[i] != names[i - 1]]
    chosen = firsts[:: math.ceil(len(firsts) / _MOST_TICKS)]
    colors = ListedColormap([one.look["color"] for one in series])
    mappable = ScalarMappable(BoundaryNorm(np.arange(number + 1) - 0.5, number), colors)
    bar = figure.colorbar(mappable, ax=list(panels), ticks=chosen, aspect=40, pad=0.02)
    bar.ax.set_yticklabels([names[i] for i in chosen])
    bar.ax.tick_params(which="both", length=0)
    bar.ax.invert_yaxis()  # the first block above, as in a list
    bar.outline.set_visible(False)
    bar.set_label(label)
