"""The table of a model shift on the terminal: the matrices that changed most first, with their spectra before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectra.report.cells import name_cell, number_cell, plain_table
from spectra.results.model_shift import MatrixShift, ModelShift

if TYPE_CHECKING:
    from rich.table import Table

_NUMBERS_WIDTH = 46  # of the other columns, with their gaps
_STAR = "* of a poor fit: not to be relied on"


def model_shift_table(shift: ModelShift, *, width: int, max_rows: int = 20) -> Table:
    """Make the table of the matrices of a model shift.

    Args:
        shift: Any.
        width: Columns of the terminal; longer names are cut at their start.
        max_rows: Most rows; a last line counts the rest.

    Returns:
        A rich table: the norm of each change over that of its matrix, and alpha and stable rank before and after, where they
        were computed. A star marks an alpha of a poor fit; a line below says so if there is one.
    """
    table = plain_table("matrix")
    headings = ["change", "alpha", "stable rank"] if shift.settings else ["change"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    name_width = max(16, width - _NUMBERS_WIDTH)
    ordered = _largest_first(shift.matrices)
    for matrix in ordered[:max_rows]:
        cells = (number_cell(matrix.relative_change, ".3g"), _alphas(matrix), _ranks(matrix))
        table.add_row(name_cell(matrix.matrix_name, name_width), *cells[: len(headings)])
    if len(ordered) > max_rows:
        table.add_row(f"… {len(ordered) - max_rows} more")
    if shift.settings and any("*" in _alphas(matrix) for matrix in ordered[:max_rows]):
        table.caption, table.caption_justify, table.caption_style = _STAR, "left", "dim"
    return table


def _largest_first(matrices: Sequence[MatrixShift]) -> list[MatrixShift]:
    # What could not be compared comes first: it asks for a look.
    return sorted(matrices, key=lambda matrix: -math.inf if math.isnan(matrix.relative_change) else -matrix.relative_change)


def _alphas(matrix: MatrixShift) -> str:
    sides = ((matrix.alpha_before, matrix.fit_quality_before), (matrix.alpha_after, matrix.fit_quality_after))
    return " → ".join(number_cell(alpha, ".2f") + "*" * (quality == "poor") for alpha, quality in sides)


def _ranks(matrix: MatrixShift) -> str:
    return " → ".join(number_cell(rank, ".1f") for rank in (matrix.stable_rank_before, matrix.stable_rank_after))
