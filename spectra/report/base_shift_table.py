"""The table of base shifts on the terminal: what each retraining moved over all matrices, and the matrices it moved most."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from spectra.report.cells import name_cell, number_cell, plain_table
from spectra.results.base_shift import BaseShift, MatrixChange
from spectra.results.records import LayerStatus

if TYPE_CHECKING:
    from rich.table import Table

_NUMBERS_WIDTH = 34  # of the columns beside the name and the shares, with their gaps
_SHARE_WIDTH = 9  # of a column of shares, likewise
_CARE = "The pretrained base is not A*: what all tasks have in common is in the change as well. A diagnostic, no verdict."


def base_shift_table(shifts: Mapping[str, BaseShift], *, width: int, max_rows: int = 5) -> Table:
    """Make the table of the bases that retraining gave.

    Args:
        shifts: By name, such as ``{"standard": ..., "lora-ml": ...}``.
        width: Columns of the terminal; longer names are cut at their start.
        max_rows: Most matrices of each base, those first that have no spectrum or moved furthest; a last line counts the rest.

    Returns:
        A rich table. Of each base, as medians over the matrices that changed, and of single matrices: the norm of the change
        over that of the pretrained one, its stable rank, numerical rank and shares of its energy in the largest singular
        values. A star marks a change of which a tenth or more may be rounding. Under the table stands what theory says, where
        ranks and numbers of tasks are known.
    """
    from rich.text import Text

    top = sorted({count for shift in shifts.values() for count in shift.top})
    theories = list(dict.fromkeys(shift.theory for shift in shifts.values() if shift.theory))
    caption = Text("\n".join([*theories, _CARE] if theories else []), "dim")
    table = plain_table("", caption=caption, caption_justify="left")
    for heading in ("change", "stable rank", "rank", *(f"top {count}" for count in top)):
        table.add_column(heading, justify="right", no_wrap=True)
    name_width = max(16, width - _NUMBERS_WIDTH - _SHARE_WIDTH * len(top))
    for name, shift in shifts.items():
        words = f"{name}, median of {len(shift.changed)}"
        table.add_row(name_cell(words, name_width, "bold"), *_medians(shift, top))
        ordered = sorted(shift.matrices, key=_furthest_first)
        for matrix in ordered[:max_rows]:
            table.add_row(Text("  ") + name_cell(matrix.matrix_name, name_width - 2), *_cells(matrix, top))
        if len(ordered) > max_rows:
            table.add_row(f"  … {len(ordered) - max_rows} more")
    return table


def _furthest_first(matrix: MatrixChange) -> float:
    # What could not be computed comes first: it asks for a look.
    return -math.inf if math.isnan(matrix.norm_change) else -_or_zero(matrix.relative_change)


def _or_zero(value: float) -> float:
    return 0.0 if math.isnan(value) else value


def _medians(shift: BaseShift, top: list[int]) -> list[str]:
    numbers = [number_cell(shift.median("relative_change"), ".3g"), number_cell(shift.median("stable_rank"), ".3g")]
    return [
        *numbers,
        number_cell(shift.median("matrix_rank"), ".0f"),
        *(number_cell(shift.energy(count), ".0%") for count in top),
    ]


def _cells(matrix: MatrixChange, top: list[int]) -> list[str]:
    if matrix.status != LayerStatus.OK:
        return [str(matrix.status)]
    return [
        number_cell(matrix.relative_change, ".3g") + "*" * (not matrix.is_reliable),
        number_cell(matrix.stable_rank, ".3g"),
        f"{number_cell(matrix.matrix_rank, '.0f')}/{matrix.num_eigenvalues}",
        *(number_cell(matrix.energy.get(count, math.nan), ".0%") for count in top),
    ]
