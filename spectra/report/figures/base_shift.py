"""What retraining moved, base by base: in how many directions the change of each matrix lies, and where in the model."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError
from spectra.report.figures.depth import Place, name_the_depths, places
from spectra.report.figures.series import add_legend, aspect, draw_along_depth, look
from spectra.report.figures.style import COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.report.figures.units import scale_multipliers
from spectra.results.base_shift import BaseShift, MatrixChange

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_PANEL = 0.66  # height over column width
_SPREAD = 0.3  # of a block: over it the bases stand side by side, so that their bars do not hide each other


def base_shift(shifts: Mapping[str, BaseShift], *, wide: bool = False) -> Figure:
    """Draw the spectra of what each retraining added to the base.

    Two panels. The share of a change's squared norm in its largest singular values, against how many these are: median over
    the matrices that changed, and the band of the middle half; with lines at k, kT and k(T+1) directions, if all bases agree on
    ranks and numbers of tasks. The stable rank of the change along the depth of the model: median over the matrices of a block,
    and its middle half; hollow where a tenth or more of a change may be rounding.

    Args:
        shifts: By name, such as ``{"standard": ..., "lora-ml": ..., "reptile": ...}``.
        wide: Text width, with the panels side by side, instead of column width.

    Returns:
        The figure.

    Raises:
        InputError: No base, or one in which no matrix changed by a known amount.
    """
    from matplotlib.figure import Figure

    still = [name for name, shift in shifts.items() if not shift.changed]
    if still or not shifts:
        what = f"no matrix of '{still[0]}' changed by a known amount" if still else "there is no base"
        raise InputError(f"{what}, so there is nothing to draw. Give shifts of bases that were retrained.")
    legend = aspect(list(shifts), wide=wide) - aspect([], wide=True)
    size = (TEXT_WIDTH, 0.72 * COLUMN_WIDTH) if wide else (COLUMN_WIDTH, (2 * _PANEL + legend) * COLUMN_WIDTH)
    with style():
        figure = Figure(figsize=size, layout="constrained")
        energy, depth = figure.subplots(*((1, 2) if wide else (2, 1)))
        for number, (name, shift) in enumerate(shifts.items()):
            _draw_energy(energy, number, name, shift.changed)
        _finish_energy(energy, shifts.values())
        _draw_ranks(depth, shifts)
        add_legend(figure, depth, wide=wide)
    return figure


def _draw_energy(axes: Any, number: int, name: str, matrices: Sequence[MatrixChange]) -> None:
    color, _ = look(number)
    counts = list(matrices[0].energy)
    low, middle, high = _quartiles([[matrix.energy[count] for count in counts] for matrix in matrices])
    axes.fill_between(counts, low, high, color=color, alpha=0.18, linewidth=0, zorder=2)
    axes.plot(counts, middle, color=color, label=name, zorder=3)


def _finish_energy(axes: Any, shifts: Collection[BaseShift]) -> None:
    from matplotlib.ticker import FormatStrFormatter, PercentFormatter

    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter(FormatStrFormatter("%d"))
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(0.0, 1.03)
    axes.set_xlabel("largest singular values of the change")
    axes.set_ylabel("share of its squared norm")
    largest = max(matrix.num_eigenvalues for shift in shifts for matrix in shift.changed)
    axes.set_xlim(right=1.15 * largest)
    known = {(shift.rank, shift.num_tasks) for shift in shifts}
    rank, num_tasks = known.pop()
    if known or rank is None or num_tasks is None:
        return
    counts = {rank * num_tasks: ("$kT$", "right"), rank * (num_tasks + 1): ("$k(T+1)$", "left"), rank: ("$k$", "center")}
    for count, (label, side) in counts.items():
        if count > largest:
            continue
        axes.axvline(count, color="0.55", linewidth=0.7, linestyle=(0, (4, 2)), zorder=1)
        axes.annotate(label, (count, 1.0), xycoords=("data", "axes fraction"), ha=side, va="bottom", fontsize=7)


def _draw_ranks(axes: Any, shifts: Mapping[str, BaseShift]) -> None:
    matrices = {matrix.matrix_name: matrix for shift in shifts.values() for matrix in shift.changed}
    placed, label = places(list(matrices), is_input=[matrix.kind == "embedding" for matrix in matrices.values()])
    place_of = dict(zip(matrices, placed, strict=True))
    for number, (name, shift) in enumerate(shifts.items()):
        aside = _SPREAD * (number / (len(shifts) - 1) - 0.5) if len(shifts) > 1 else 0.0
        _draw_along(axes, number, name, [(place_of[matrix.matrix_name], matrix) for matrix in shift.changed], aside)
    scale_multipliers(axes, [matrix.stable_rank for shift in shifts.values() for matrix in shift.changed])
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0.0)
    axes.set_xlabel(label)
    axes.set_ylabel("stable rank of the change")
    name_the_depths(axes, placed)


def _draw_along(axes: Any, number: int, name: str, points: Sequence[tuple[Place, MatrixChange]], aside: float) -> None:
    at = {place.depth: place for place, _ in sorted(points, key=lambda point: point[0].depth)}
    inside = [[matrix for place, matrix in points if place.depth == depth] for depth in at]
    bands = [_quartiles([matrix.stable_rank for matrix in matrices]) for matrices in inside]
    draw_along_depth(
        axes,
        *look(number),
        name,
        [_apart(place, aside) for place in at.values()],
        [middle for _, middle, _ in bands],
        bars=[(middle - low, high - middle) for low, middle, high in bands],
        hollow=[not all(matrix.is_reliable for matrix in matrices) for matrices in inside],
    )


def _apart(place: Place, aside: float) -> Place:
    """Move a place aside; no line joins the ends of a model with its blocks, whose matrices are others."""
    stack = {"in": -1, "out": -2}[place.tick] if place.is_end else place.stack
    return dataclasses.replace(place, depth=place.depth + aside, stack=stack)


def _quartiles(values: Sequence[float] | Sequence[Sequence[float]]) -> Any:
    """Return quartile, median and quartile over the first axis."""
    import numpy as np

    return np.quantile(values, (0.25, 0.5, 0.75), axis=0)
