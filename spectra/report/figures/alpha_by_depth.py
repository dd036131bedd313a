"""Alpha along the depth of a model, one series per kind of layer."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError
from spectra.report.figures.style import COLORS, MARKERS, new_figure, style
from spectra.results.records import LayerDiagnostics, LayerStatus

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spectra.results.report import Report

_NUMBERED = re.compile(r"^(?P<stack>(?:[^.]+\.)*?)(?P<block>\d+)\.(?P<role>.+)$")


_MOST_BLOCK_TICKS = 10


@dataclass(frozen=True)
class _Point:
    role: str
    depth: float
    layer: LayerDiagnostics
    end: str = ""  # what the axis calls this depth, beside the numbered blocks


def alpha_by_depth(report: Report, *, wide: bool = False) -> Figure:
    """Draw the fitted exponent of every layer against its depth, by kind of layer.

    Where most layers stand in one numbered stack of blocks (a transformer), depth is the block's number, embeddings stand
    before and heads after the stack; elsewhere depth is the layer's place in the model. Doubtful fits are hollow. The band
    between 2 and 6 is where well-trained layers are found.

    Args:
        report: Any report.
        wide: Text width instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No layer was fitted.
    """
    points, depth_label = _points(report.layers)
    if not points:
        raise InputError(f"no layer of '{report.model.name}' was fitted, so there is no alpha to draw.")
    roles = list(dict.fromkeys(point.role for point in points))
    with style():
        figure, axes = new_figure(wide=wide, aspect=0.72 if wide else 0.72 + 0.06 * ((len(roles) + 1) // 2))
        if not report.settings.inverse:  # where well-trained layers are: known of eigenvalues, not of their inverses
            axes.axhspan(2.0, 6.0, color="0.93", zorder=0, linewidth=0)
        for number, role in enumerate(roles):
            _draw_series(axes, [p for p in points if p.role == role], number)
        axes.set_xlabel(depth_label)
        axes.set_ylabel(r"power-law exponent $\alpha$" + (r" of $1/\lambda$" if report.settings.inverse else ""))
        axes.set_ylim(bottom=min(1.0, min(point.layer.alpha for point in points)))
        axes.xaxis.get_major_locator().set_params(integer=True)
        _name_the_ends(axes, points)
        axes.set_title(report.model.name, loc="left", parse_math=False)
        if wide:
            legend = axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5))
        else:
            legend = figure.legend(*axes.get_legend_handles_labels(), loc="outside lower center", ncols=2)
        for text in legend.get_texts():  # names of layers are no formulas
            text.set_parse_math(False)
    return figure


def _draw_series(axes: Any, points: Sequence[_Point], number: int) -> None:
    color, marker = COLORS[number % len(COLORS)], MARKERS[(number + number // len(COLORS)) % len(MARKERS)]
    depths, alphas = [p.depth for p in points], [p.layer.alpha for p in points]
    errors = [p.layer.alpha_std_error for p in points]
    fills = ["white" if p.layer.fit_quality == "poor" else color for p in points]
    # A line along the depth; layers beside the stack share a depth and are not joined.
    line = "-" if len(set(depths)) == len(depths) else "none"
    axes.errorbar(depths, alphas, yerr=errors, linestyle=line, color=color, linewidth=0.7, elinewidth=0.5, alpha=0.6, zorder=2)
    axes.scatter(depths, alphas, s=11, marker=marker, facecolors=fills, edgecolors=color, linewidths=0.8, zorder=3)
    axes.plot([], [], linestyle=line, marker=marker, markersize=3.5, color=color, linewidth=0.7, label=points[0].role)


def _points(layers: Sequence[LayerDiagnostics]) -> tuple[list[_Point], str]:
    fitted = [(place, layer) for place, layer in enumerate(layers, 1) if layer.status == LayerStatus.OK]
    matches = [_NUMBERED.match(_weight_name(layer)) for _, layer in fitted]
    stacks = Counter(match["stack"] for match in matches if match)
    stack, size = stacks.most_common(1)[0] if stacks else ("", 0)
    if 2 * size <= len(fitted):
        return [
            _Point(_role_by_place(layer, m), place, layer) for (place, layer), m in zip(fitted, matches, strict=True)
        ], "layer"
    points: list[_Point] = []
    blocks = [int(m["block"]) for m in matches if m and m["stack"] == stack]
    for (_, layer), match in zip(fitted, matches, strict=True):
        if match and match["stack"] == stack:
            points.append(_Point(match["role"], int(match["block"]), layer))
        elif layer.kind == "embedding":
            points.append(_Point("embedding", min(blocks) - 1, layer, "in"))
        else:
            points.append(_Point(layer.layer_name, max(blocks) + 1, layer, "out"))
    return points, "block"


def _weight_name(layer: LayerDiagnostics) -> str:
    """Name a series: the parts of a fused weight are several, all experts and all heads of a weight are one."""
    if layer.stack:
        return layer.stack
    part = layer.part.split(" ")[0]  # 'q', or 'q head 3'
    return f"{layer.layer_name}.{part}" if part.isidentifier() and part != "head" else layer.layer_name


def _name_the_ends(axes: Any, points: Sequence[_Point]) -> None:
    ends = {point.depth: point.end for point in points if point.end}
    if ends:
        inside = sorted({point.depth for point in points if not point.end})
        step = max(1, math.ceil(len(inside) / _MOST_BLOCK_TICKS))
        ticks = sorted([*inside[::step], *ends])
        axes.set_xticks(ticks, [ends.get(tick, f"{tick:.0f}") for tick in ticks])
    elif len({point.depth for point in points}) == 1:
        axes.set_xticks([points[0].depth])


def _role_by_place(layer: LayerDiagnostics, match: re.Match[str] | None) -> str:
    return layer.kind if match is None else match["role"].split(".")[-1]
