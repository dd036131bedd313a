"""How a series of layers looks: a colour and a marker, hollow where the fit is doubtful, and the legend outside the axes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from spectra.report.figures.depth import Place
from spectra.report.figures.style import COLORS, MARKERS

_LONGEST_PAIR = 52  # characters of two labels side by side that fit the width of a column


def look(number: int) -> tuple[str, str]:
    """Choose how a series looks.

    Args:
        number: Of the series, from 0.

    Returns:
        Colour and marker; 49 series differ in one of them.
    """
    return COLORS[number % len(COLORS)], MARKERS[(number + number // len(COLORS)) % len(MARKERS)]


def draw_along_depth(
    axes: Any,
    color: str,
    marker: str,
    label: str,
    placed: Sequence[Place],
    values: Sequence[float],
    *,
    bars: Sequence[tuple[float, float]],
    hollow: Sequence[bool],
    is_joined: bool = True,
) -> None:
    """Draw a series along the depth, with a line through each stack of blocks.

    Args:
        axes: Where.
        color: Of line, markers and bars.
        marker: As matplotlib names it.
        label: For the legend.
        placed: Where its layers stand.
        values: Their heights.
        bars: For each, how far its error bar reaches below and above it; NaN for none.
        hollow: Which of them are doubtful.
        is_joined: Whether a line may join them; layers that share a depth are never joined.
    """
    depths = [place.depth for place in placed]
    line = "-" if is_joined and len(set(depths)) == len(depths) else "none"
    for stack in dict.fromkeys(place.stack for place in placed):
        inside = [i for i, place in enumerate(placed) if place.stack == stack]
        x, y = [depths[i] for i in inside], [values[i] for i in inside]
        below_and_above = list(zip(*(bars[i] for i in inside), strict=True))
        axes.errorbar(
            x, y, yerr=below_and_above, linestyle=line, color=color, linewidth=0.7, elinewidth=0.5, alpha=0.6, zorder=2
        )
    fills = ["white" if doubtful else color for doubtful in hollow]
    axes.scatter(depths, values, s=11, marker=marker, facecolors=fills, edgecolors=color, linewidths=0.8, zorder=3)
    axes.plot([], [], linestyle=line, marker=marker, markersize=3.5, color=color, linewidth=0.7, label=label)


def draw_rings(axes: Any, at: Sequence[tuple[float, float]], *, label: str = "") -> None:
    """Put rings around points that ask for a look.

    Args:
        axes: Where.
        at: The points.
        label: For the legend, of a ring without a point.
    """
    x, y = zip(*at, strict=True) if at else ((), ())
    if at or label:
        size = 24 if label else 42
        axes.scatter(x, y, s=size, facecolors="none", edgecolors="black", linewidths=0.6, zorder=4, label=label or None)


def aspect(labels: Sequence[str], *, wide: bool) -> float:
    """Choose the height of a figure, so that a legend under it fits.

    Args:
        labels: Of the legend.
        wide: Whether it stands beside the axes instead.

    Returns:
        Height over column width.
    """
    return 0.72 if wide else 0.72 + 0.06 * math.ceil(len(labels) / _legend_columns(labels))


def add_legend(figure: Any, axes: Any, *, wide: bool) -> None:
    """Put the legend where it hides no point: beside wide axes, under narrow ones.

    Args:
        figure: The figure.
        axes: Its axes, drawn.
        wide: Text width instead of column width.
    """
    if wide:
        legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
    else:
        handles, labels = axes.get_legend_handles_labels()
        legend = figure.legend(handles, labels, loc="outside lower center", ncols=_legend_columns(labels))
    for text in legend.get_texts():  # names of layers are no formulas
        text.set_parse_math(False)


def _legend_columns(labels: Sequence[str]) -> int:
    half = math.ceil(len(labels) / 2)
    widest = (max(map(len, column), default=0) for column in (labels[:half], labels[half:]))
    return 2 if sum(widest) <= _LONGEST_PAIR else 1
