"""The tables of a comparison on the terminal: the matrices that changed most first, and of several models a line each."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from spectra.report.cells import name_cell, number_cell, plain_table
from spectra.results.comparison import METRICS_ONLY, Comparison, Finding, MatrixComparison
from spectra.results.records import FAILURES, LayerStatus

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

_GAP = 2
_STAR = "* of a poor fit: not to be relied on"
ASK_FOR_A_LOOK = {Finding.INTRUDERS, Finding.TURNED, Finding.HEAVIER_TAIL, Finding.LIGHTER_TAIL}
# Columns of numbers: width, width of the terminal from which there is room for them, and the cell.
_Column = tuple[int, int, Callable[[MatrixComparison], str]]
_COLUMNS: dict[str, _Column] = {
    "change": (8, 0, lambda row: number_cell(row.relative_change, ".3g")),
    "rank": (9, 100, lambda row: f"{row.change_rank}/{row.num_eigenvalues}" if row.change_rank is not None else "–"),
    "overlap": (7, 100, lambda row: number_cell(min(row.overlap_left, row.overlap_right), ".3f")),
    "alpha": (13, 75, lambda row: alphas_cell(row)),
}
_FINDING_WIDTH = 18  # least room for what was found


def most_changed_first(rows: Sequence[MatrixComparison]) -> list[MatrixComparison]:
    """Order matrices by how much they ask for a look.

    Args:
        rows: Of a comparison.

    Returns:
        What could not be analysed, then what changed by the relative change, then metrics without weights by the change of
        alpha, then what has no counterpart; last what did not change. The order of the model among equals.
    """

    def key(row: MatrixComparison) -> tuple[int, float]:
        if row.status in FAILURES:
            return 0, 0.0
        if row.is_changed:
            return 1, -row.relative_change
        if row.status == METRICS_ONLY:
            return 2, -abs(row.alpha_change) if math.isfinite(row.alpha_change) else 0.0
        return (4 if row.status == LayerStatus.UNCHANGED else 3), 0.0

    return sorted(rows, key=key)


def comparison_table(rows: Sequence[MatrixComparison], *, width: int, max_rows: int = 20) -> Table:
    """Make the table of matrices that changed.

    Args:
        rows: Of one model.
        width: Columns of the terminal. Below 100 the rank of the change and the overlap of leading subspaces (the smaller of
            left and right) are left out, below 75 alpha too; names that are too long are cut at their start.
        max_rows: Most matrices; what did not change is counted in a last line, with the rest.

    Returns:
        A rich table, without colour where the console has none. A star marks an alpha of a poor fit; a line below says so.
    """
    from rich.text import Text

    shown = {heading: column for heading, column in _COLUMNS.items() if width >= column[1]}
    fixed = sum(column[0] + _GAP for column in shown.values()) + _FINDING_WIDTH + 2 * _GAP
    name_width = max(16, width - fixed)
    table = plain_table("matrix")
    for heading in shown:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("finding")
    ordered = most_changed_first(rows)
    moved = [row for row in ordered if row.status != LayerStatus.UNCHANGED]
    for row in moved[:max_rows]:
        numbers = [column[2](row) for column in shown.values()]
        table.add_row(name_cell(row.matrix_name, name_width), *numbers, _finding(row), style=_style(row))
    if len(ordered) > min(len(moved), max_rows):
        table.add_row(Text(_rest(max(len(moved) - max_rows, 0), len(ordered) - len(moved))))
    if "alpha" in shown and any("*" in alphas_cell(row) for row in moved[:max_rows]):
        table.caption, table.caption_justify, table.caption_style = _STAR, "left", "dim"
    return table


def models_table(comparison: Comparison, *, width: int) -> Table:
    """Make the table of the models: a line each, in order.

    Args:
        comparison: Of several models.
        width: Columns of the terminal. Below 70 intruders are left out.

    Returns:
        A rich table: how many matrices changed, the norm of all changes over that of the base, how many leading singular
        vectors are new, and the mean of alpha over the matrices that have good fits in the base and in all models.
    """
    headings, rows = models_rows(comparison)
    kept = [place for place, heading in enumerate(headings) if heading != "intruders" or width >= 70]
    table = plain_table(headings[0])
    for place in kept[1:]:
        table.add_column(headings[place], justify="right", no_wrap=True)
    name_width = max(16, width - sum(10 + _GAP for _ in kept[1:]))
    for number, row in enumerate(rows):
        cells = [row[place] for place in kept[1:]]
        table.add_row(name_cell(row[0], name_width), *cells, style=None if number else "dim")
    return table


def models_rows(comparison: Comparison) -> tuple[list[str], list[tuple[str, ...]]]:
    """Lay out the models of a comparison.

    Args:
        comparison: Of several models.

    Returns:
        Headings, and a row for the base and for each model.
    """
    good = _good_everywhere(comparison)
    base = [row.before.alpha for row in comparison.of(comparison.models[0].name) if row.matrix_name in good and row.before]
    rows: list[tuple[str, ...]] = [(f"{comparison.base.name} (base)", "", "", "", number_cell(_mean(base), ".3f"))]
    for model in comparison.models:
        inside = comparison.of(model.name)
        alphas = [row.value("alpha") for row in inside if row.matrix_name in good]
        changed = f"{sum(row.is_changed for row in inside)}/{len(inside)}"
        change = number_cell(comparison.relative_change(model.name), ".3g")
        intruders = str(sum(row.num_intruders or 0 for row in inside))
        rows.append((model.name, changed, change, intruders, number_cell(_mean(alphas), ".3f")))
    first = "checkpoint" if comparison.over_time else "model"
    return [first, "changed", "change", "intruders", "mean alpha"], rows


def _good_everywhere(comparison: Comparison) -> set[str]:
    doubtful = {row.matrix_name for row in comparison.rows if not row.has_good_fits}
    return set(comparison.matrix_names) - doubtful


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan


def alphas_cell(row: MatrixComparison) -> str:
    """Write alpha before and after.

    Args:
        row: Of a comparison.

    Returns:
        The cell; a star marks a poor fit.
    """
    sides = (row.before, row.after)
    if all(side is None or math.isnan(side.alpha) for side in sides):
        return "–"
    return " → ".join(number_cell(side.alpha, ".2f") + "*" * (side.fit_quality == "poor") if side else "–" for side in sides)


def _finding(row: MatrixComparison) -> Text:
    from rich.text import Text

    if row.status in FAILURES:
        return Text(f"{row.status}: {row.notes}" if row.notes else row.status)
    # Without a finding the verdict is how far the matrix changed, which has a column.
    words = "" if row.is_changed and not row.findings else row.verdict or row.status.replace("_", " ")
    return Text(words, no_wrap=True, overflow="ellipsis")


def _style(row: MatrixComparison) -> str | None:
    if row.status in FAILURES:
        return "red"
    if ASK_FOR_A_LOOK & set(row.findings):
        return "yellow"
    return None if row.is_changed and Finding.ROUNDING not in row.findings else "dim"


def _rest(more: int, unchanged: int) -> str:
    parts = [f"{more} more"] * bool(more) + [f"{unchanged} unchanged"] * bool(unchanged)
    return "… " + ", ".join(parts)
