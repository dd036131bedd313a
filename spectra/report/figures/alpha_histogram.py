"""How the exponents of a model are distributed: a histogram for each kind of layer, doubtful fits told apart."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from spectra.errors import InputError
from spectra.report.figures.fitted_layers import fitted_layers
from spectra.report.figures.style import COLORS, COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.report.figures.titles import add_heading
from spectra.results.records import LayerDiagnostics

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spectra.results.report import Report

_WELL_TRAINED = (2.0, 6.0)
_BIN = 0.25  # an eighth of the width of the band; both thresholds are edges of bins
_AT_LEAST_UP_TO = 7.0
_FARTHEST = 12.0  # beyond it stand single doubtful fits, which would press all others into a corner
_MOST_ROWS = 10
_ROW, _REST = 0.46, 0.95  # inches
_HATCH = "//////"


def alpha_histogram(report: Report, *, wide: bool = False) -> Figure:
    """Draw the distribution of alpha over the fitted layers, all together and by kind of layer.

    Bars are counts in bins of 0.25; reliable fits are filled, doubtful ones hatched and stacked on them. Each mark under the
    bars is a layer. The band between 2 and 6 is where well-trained layers are found. The axis ends at 12 at most: how many lie
    beyond is written there.

    Args:
        report: Any report.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No layer was fitted.
    """
    from matplotlib.figure import Figure

    rows = _rows(report)
    shown = [layer for layer in rows[0][1] if layer.alpha <= _FARTHEST]
    edges = _edges([layer.alpha for layer in shown])
    with style():
        size = (TEXT_WIDTH if wide else COLUMN_WIDTH, len(rows) * _ROW + _REST)
        figure = Figure(figsize=size, layout="constrained")
        panels = figure.subplots(len(rows), sharex=True, squeeze=False).ravel()
        for (name, layers), axes in zip(rows, panels, strict=True):
            _draw(axes, name, layers, edges, with_band=not report.settings.inverse)
        panels[-1].set_xlim(edges[0], edges[-1])
        panels[-1].tick_params(bottom=True, labelbottom=True)
        panels[-1].spines["bottom"].set_visible(True)
        panels[-1].set_xlabel(r"power-law exponent $\alpha$" + (r" of $1/\lambda$" if report.settings.inverse else ""))
        figure.supylabel("matrices", fontsize=8)
        add_heading(figure, report.model.name, wide=wide)
        _add_legend(figure, rows[0][1], with_band=not report.settings.inverse)
    return figure


def _rows(report: Report) -> list[tuple[str, list[LayerDiagnostics]]]:
    """Return all fitted layers, then those of each kind; the last row holds what is left where there are many kinds."""
    members = fitted_layers(report.layers)[0]
    if not members:
        raise InputError(f"no layer of '{report.model.name}' was fitted, so there is no alpha to draw.")
    by_role: dict[str, list[LayerDiagnostics]] = {}
    for member in members:
        by_role.setdefault(member.role, []).append(member.matrix)
    rows = sorted(by_role.items(), key=lambda row: len(row[1]) == 1)  # kinds that have one layer last
    if len(rows) == 1:
        return rows
    if len(rows) > _MOST_ROWS:
        rest = rows[_MOST_ROWS - 1 :]
        rows = [*rows[: _MOST_ROWS - 1], (f"{len(rest)} other kinds", [layer for _, layers in rest for layer in layers])]
    return [("all", [member.matrix for member in members]), *rows]


def _edges(alphas: Sequence[float]) -> np.ndarray[Any, np.dtype[np.float64]]:
    low = min(1.0, math.floor(min(alphas, default=1.0)))
    high = min(max(_AT_LEAST_UP_TO, math.ceil(max(alphas, default=0.0) + _BIN)), _FARTHEST)
    return np.arange(low, high + _BIN / 2.0, _BIN)


def _draw(axes: Any, name: str, layers: Sequence[LayerDiagnostics], edges: Any, *, with_band: bool) -> None:
    good = [layer.alpha for layer in layers if layer.fit_quality != "poor"]
    poor = [layer.alpha for layer in layers if layer.fit_quality == "poor"]
    if with_band:
        axes.axvspan(*_WELL_TRAINED, color="0.93", zorder=0, linewidth=0)
    color = COLORS[0]
    heights, on_top = np.histogram(good, edges)[0], np.histogram(poor, edges)[0]
    _draw_bars(axes, edges, heights, 0 * heights, color=color, edgecolor="white", linewidth=0.3)
    _draw_bars(axes, edges, on_top, heights, facecolor="white", edgecolor=color, linewidth=0.5, hatch=_HATCH)
    top = max(int((heights + on_top).max()), 1)
    axes.set_ylim(-0.25 * top, 1.6 * top)  # marks under the bars, the name over them
    axes.axhline(0.0, color="black", linewidth=0.4)
    axes.spines["bottom"].set_visible(False)
    axes.set_yticks([0, top])
    for values, mark in ((good, color), (poor, "0.45")):
        inside = [value for value in values if value <= edges[-1]]
        axes.plot(inside, [-0.13 * top] * len(inside), "|", color=mark, markersize=3.0, markeredgewidth=0.5)
    axes.tick_params(axis="x", bottom=False, labelbottom=False)
    axes.text(0.01, 0.97, name, transform=axes.transAxes, ha="left", va="top", fontsize=6.5, parse_math=False)
    axes.text(0.99, 0.97, _counts(good, poor, float(edges[-1])), transform=axes.transAxes, ha="right", va="top", fontsize=6.5)


def _draw_bars(axes: Any, edges: Any, heights: Any, bottom: Any, **look: Any) -> None:
    full = heights > 0  # bars without height would be most of a vector file
    axes.bar(edges[:-1][full], heights[full], np.diff(edges)[full], bottom=bottom[full], align="edge", **look)


def _counts(good: Sequence[float], poor: Sequence[float], end: float) -> str:
    doubtful = f", {len(poor)} doubtful" if poor else ""
    beyond = sum(value > end for value in [*good, *poor])
    return f"n = {len(good) + len(poor)}{doubtful}" + (f", {beyond} beyond →" if beyond else "")


def _add_legend(figure: Any, layers: Sequence[LayerDiagnostics], *, with_band: bool) -> None:
    from matplotlib.patches import Patch

    handles = [Patch(color=COLORS[0], label="reliable fit")]
    if any(layer.fit_quality == "poor" for layer in layers):
        handles.append(Patch(facecolor="white", edgecolor=COLORS[0], linewidth=0.5, hatch=_HATCH, label="doubtful fit"))
    if with_band:
        handles.append(Patch(color="0.93", label="well trained: 2 to 6"))
    figure.legend(handles=handles, loc="outside lower center", ncols=len(handles))
