"""What retraining moved, base by base: in how many directions the change of each matrix lies, and where in the model."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError
from spectra.report.figures.block_medians import draw_block_medians, quartiles
from spectra.report.figures.depth import name_the_depths, places
from spectra.report.figures.matrix_places import asides
from spectra.report.figures.series import add_legend, aspect, look
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
    low, middle, high = quartiles([[matrix.energy[count] for count in counts] for matrix in matrices])
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
    aside = asides(len(shifts), _SPREAD)
    for number, (name, shift) in enumerate(shifts.items()):
        points = [(place_of[matrix.matrix_name], matrix.stable_rank, not matrix.is_reliable) for matrix in shift.changed]
        draw_block_medians(axes, number, name, points, aside=aside[number])
    scale_multipliers(axes, [matrix.stable_rank for shift in shifts.values() for matrix in shift.changed])
    if axes.get_yscale() == "linear":
        axes.set_ylim(bottom=0.0)
    axes.set_xlabel(label)
    axes.set_ylabel("stable rank of the change")
    name_the_depths(axes, placed)
