"""The table of a model shift on the terminal: the matrices that changed most first, with their spectra before and after."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

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
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("matrix", no_wrap=True, overflow="ellipsis")
    headings = ["change", "alpha", "stable rank"] if shift.settings else ["change"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    name_width = max(16, width - _NUMBERS_WIDTH)
    ordered = _largest_first(shift.matrices)
    for matrix in ordered[:max_rows]:
        name = matrix.matrix_name
        short = name if len(name) <= name_width else "…" + name[1 - name_width :]
        cells = (_number(matrix.relative_change, ".3g"), _alphas(matrix), _ranks(matrix))
        table.add_row(Text(short), *cells[: len(headings)])  # a text: brackets in a name are no markup
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
    return " → ".join(_number(alpha, ".2f") + "*" * (quality == "poor") for alpha, quality in sides)


def _ranks(matrix: MatrixShift) -> str:
    return " → ".join(_number(rank, ".1f") for rank in (matrix.stable_rank_before, matrix.stable_rank_after))


def _number(value: float, form: str) -> str:
    return "–" if math.isnan(value) else format(value, form)
