"""Small multiples: the spectra of many layers with their fitted tails, kinds of layer under each other, blocks side by side."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING, Any

import numpy as np

from spectra.errors import InputError
from spectra.report.figures.fitted_layers import FittedLayer, fitted_layers
from spectra.report.figures.style import COLORS, COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.report.figures.tail_histogram import TailHistogram, draw_density, draw_fit, tail_histogram
from spectra.report.figures.titles import add_heading, drawn_name
from spectra.results.words import elided

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from spectra.results.report import Report

_COLUMNS, _WIDE_COLUMNS, _MOST_ROWS = 3, 6, 8  # what a page holds with the numbers still readable
_ROW, _WIDE_ROW, _REST = 0.86, 0.92, 0.72  # inches: of a row with its heading, and of what stands around the grid
_SHARED_UP_TO = 2.0  # times the median span of a panel, in decades: beyond, one axis for all would flatten each
_SMALL = 5.5  # points
_LONGEST_HEADING = 20  # characters over one panel
_BELOW_TEXT = 0.66  # of the height of a panel


@dataclass(frozen=True)
class _Cell:
    """A panel: the layer, and what stands in and over it."""

    member: FittedLayer
    inside: str
    heading: str


def esd_grid(report: Report, layers: Collection[str] = (), *, wide: bool = False) -> Figure:
    """Draw the spectra of many layers, each as ``esd`` draws one.

    Of a model in numbered blocks, each row is a kind of layer and each column a block, from the first to the last. Where names
    were given that do not make such a table, and in models without blocks, panels follow the order of the model. All share
    their axes if their eigenvalues are of like size, else those of a row. A dashed line is a doubtful fit. What there was no
    room for is counted over the grid.

    Args:
        report: A report with spectra.
        layers: Names of layers or matrices, or globs. Default: all.
        wide: Text width, with 6 columns instead of 3.

    Returns:
        The figure, of at most 8 rows.

    Raises:
        InputError: No layer was fitted, or none that was has one of the names.
    """
    from matplotlib.figure import Figure

    members = _chosen(report, layers)
    rows, left_out = _arranged(members, _WIDE_COLUMNS if wide else _COLUMNS, stacks=_stack_names(report), is_given=bool(layers))
    histograms = [[tail_histogram(report, cell.member.matrix.matrix_name) for cell in row] for row in rows]
    num_columns = max(map(len, rows))
    height = len(rows) * (_WIDE_ROW if wide else _ROW) + _REST
    with style():
        figure = Figure(figsize=(TEXT_WIDTH if wide else COLUMN_WIDTH, height), layout="constrained")
        panels = figure.subplots(len(rows), num_columns, squeeze=False)
        for axes in panels.ravel():
            axes.set_visible(False)
        for row, binned, line in zip(rows, histograms, panels, strict=True):
            for cell, histogram, axes in zip(row, binned, line, strict=False):
                _draw(axes, cell, histogram)
        _share(panels, histograms)
        counted = f"{sum(map(len, rows))} of {len(members)} fitted matrices; left out: {', '.join(left_out)}"
        add_heading(figure, report.model.name, wide=wide, below=counted if left_out else "")
        _name_axes(figure, panels, is_inverse=report.settings.inverse)
        _add_legend(figure, [member.matrix.fit_quality for row in rows for member in (cell.member for cell in row)], wide=wide)
    return figure


def _chosen(report: Report, names: Collection[str]) -> list[FittedLayer]:
    members = fitted_layers(report.layers)[0]
    if not members:
        raise InputError(f"no layer of '{report.model.name}' was fitted, so there is no tail to draw.")
    found = [m for m in members if not names or any(_is_called(m, name) for name in names)]
    if not found:
        given = ", ".join(f"'{name}'" for name in names)
        raise InputError(
            f"no fitted layer of '{report.model.name}' is called {given}. Its first is '{members[0].matrix.matrix_name}'; a "
            "glob such as '*.query' takes many."
        )
    return found


def _is_called(member: FittedLayer, name: str) -> bool:
    own = (member.matrix.matrix_name, member.matrix.layer_name)
    return name in own or any(fnmatchcase(one, name) for one in own)


def _stack_names(report: Report) -> list[str]:
    """Name the stacks of blocks: encoder and decoder; nothing where there is one."""
    label = fitted_layers(report.layers)[1]
    return label.removeprefix("block (").removesuffix(")").split(" | ") if label.startswith("block (") else []


def _arranged(
    members: Sequence[FittedLayer], num_columns: int, *, stacks: Sequence[str], is_given: bool
) -> tuple[list[list[_Cell]], list[str]]:
    """Choose a table of kinds and blocks, or the order of the model; return it, and in words what is left out."""
    in_blocks = [member for member in members if member.place.tick and not member.place.is_end]
    roles = list(dict.fromkeys(member.role for member in in_blocks))
    depths = sorted({member.place.depth for member in in_blocks})
    is_table = len(depths) <= num_columns and len(roles) <= _MOST_ROWS and len(in_blocks) == len(members)
    if not in_blocks or (is_given and not is_table):
        return _in_order(members, num_columns, stacks)
    blocks, kinds = [depths[i] for i in _spread(len(depths), num_columns)], roles[:_MOST_ROWS]
    rows = []
    for role in kinds:
        first_of = {member.place.depth: member for member in reversed(in_blocks) if member.role == role}
        row = [first_of[depth] for depth in blocks if depth in first_of]
        rows.append([_Cell(m, _block_name(m, stacks), role if i == 0 else "") for i, m in enumerate(row)])
    counts = {
        "blocks": len(depths) - len(blocks),
        "kinds": len(roles) - len(kinds),
        "outside of blocks": len(members) - len(in_blocks),
    }
    same = sum(m.role in kinds and m.place.depth in blocks for m in in_blocks) - sum(map(len, rows))
    counts["experts or heads"] = same
    return [row for row in rows if row], [f"{number} {what}" for what, number in counts.items() if number]


def _in_order(members: Sequence[FittedLayer], num_columns: int, stacks: Sequence[str]) -> tuple[list[list[_Cell]], list[str]]:
    names = _without_shared_start([member.matrix.matrix_name for member in members])
    in_block = [bool(member.place.tick) and not member.place.is_end for member in members]
    cells = [
        _Cell(member, _block_name(member, stacks) if inside else "", elided(member.role if inside else name, _LONGEST_HEADING))
        for member, name, inside in zip(members, names, in_block, strict=True)
    ]
    shown = [cells[i] for i in _spread(len(cells), num_columns * _MOST_ROWS)]
    left_out = [f"{len(cells) - len(shown)} between them"] if len(cells) > len(shown) else []
    return [shown[i : i + num_columns] for i in range(0, len(shown), num_columns)], left_out


def _spread(number: int, most: int) -> list[int]:
    """Choose evenly, the first and the last among them."""
    return sorted({round(place) for place in np.linspace(0, number - 1, min(number, most)).tolist()})


def _without_shared_start(names: Sequence[str]) -> list[str]:
    parts = [name.split(".") for name in names]
    while min(map(len, parts)) > 1 and len({one[0] for one in parts}) == 1:
        parts = [one[1:] for one in parts]
    return [".".join(one) for one in parts]


def _block_name(member: FittedLayer, stacks: Sequence[str]) -> str:
    return f"{stacks[member.place.stack] if stacks else 'block'} {member.place.tick}"


def _draw(axes: Any, cell: _Cell, histogram: TailHistogram) -> None:
    layer = cell.member.matrix
    axes.set_visible(True)
    draw_density(axes, histogram)
    draw_fit(axes, histogram, xmin_height=_BELOW_TEXT, is_doubtful=layer.fit_quality == "poor")
    inside = rf"$\alpha = {layer.alpha:.2f}$"
    axes.text(0.97, 0.97, inside, transform=axes.transAxes, ha="right", va="top", fontsize=_SMALL + 0.5)
    if cell.inside:
        at = {"transform": axes.transAxes, "ha": "right", "va": "top", "fontsize": _SMALL}
        axes.text(0.97, 0.79, cell.inside, **at, parse_math=False)
    if cell.heading:  # an own text: the layout would widen the panel to the width of a title
        axes.set_title(" ", fontsize=_SMALL + 1, pad=2)
        heading = axes.text(
            0.0, 1.04, drawn_name(cell.heading), transform=axes.transAxes, fontsize=_SMALL + 0.5, parse_math=False
        )
        heading.set_in_layout(False)
    axes.tick_params(labelsize=_SMALL, pad=1, length=2)


def _share(panels: Any, histograms: Sequence[Sequence[TailHistogram]]) -> None:
    """Give all panels the same axes, or those of a row, and label the outer ones."""
    spans = [math.log10(h.x_limits[1] / h.x_limits[0]) for row in histograms for h in row]
    low, high = _union(h.x_limits for row in histograms for h in row)
    is_common = math.log10(high / low) <= _SHARED_UP_TO * float(np.median(spans))
    groups = [[h for row in histograms for h in row]] * len(histograms) if is_common else histograms
    for number, (line, row, group) in enumerate(zip(panels, histograms, groups, strict=True)):
        x_limits, y_limits = _union(h.x_limits for h in group), _union(h.y_limits for h in group)
        for column, axes in enumerate(line[: len(row)]):
            axes.set_xlim(*x_limits)
            axes.set_ylim(*y_limits)
            is_lowest = number + 1 == len(histograms) or column >= len(histograms[number + 1])
            axes.tick_params(labelleft=column == 0, labelbottom=not is_common or is_lowest)
            axes.minorticks_off()
            _label_axis(axes.xaxis, x_limits, most=3)
            _label_axis(axes.yaxis, y_limits, most=4)


def _union(limits: Iterable[tuple[float, float]]) -> tuple[float, float]:
    lows, highs = zip(*limits, strict=True)
    return min(lows), max(highs)


def _label_axis(axis: Any, limits: tuple[float, float], *, most: int) -> None:
    """Label a few powers of ten; where fewer than two are in sight, the numbers between them too."""
    from matplotlib.ticker import LogLocator, NullFormatter, StrMethodFormatter

    first, last = math.ceil(math.log10(limits[0])), math.floor(math.log10(limits[1]))
    if last > first:
        axis.set_major_locator(LogLocator(numticks=most))
        axis.set_minor_formatter(NullFormatter())
        return
    axis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0)))
    axis.set_major_formatter(StrMethodFormatter("{x:g}"))
    axis.set_minor_formatter(NullFormatter())


def _name_axes(figure: Any, panels: Any, *, is_inverse: bool) -> None:
    symbol = r"1/\lambda" if is_inverse else r"\lambda"
    for axes in panels[-1]:  # of the panels: a name of the whole figure would lie on its legend
        axes.set_xlabel(rf"{'inverse ' if is_inverse else ''}eigenvalue ${symbol}$", fontsize=_SMALL + 0.5, labelpad=1.5)
    figure.supylabel(rf"density $\rho({symbol})$", fontsize=7)


def _add_legend(figure: Any, qualities: Collection[str], *, wide: bool) -> None:
    from matplotlib.lines import Line2D
    from matplotlib.patches import Patch

    handles: list[Any] = [Patch(facecolor=COLORS[0], alpha=0.35, edgecolor=COLORS[0], label="eigenvalues")]
    if "good" in qualities:
        handles.append(Line2D([], [], color="black", linewidth=1.2, label="power law"))
    if "poor" in qualities:
        handles.append(Line2D([], [], color="black", linewidth=1.2, linestyle=(0, (2, 1)), label="doubtful power law"))
    handles.append(Line2D([], [], color=COLORS[1], linewidth=0.9, linestyle="--", label=r"$x_{\min}$"))
    figure.legend(handles=handles, loc="outside lower center", ncols=4 if wide or len(handles) < 4 else 2)
