"""The table of a plan on the terminal: a row per unit, in model order; of many units the highest and the lowest."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from spectra.policies.dropout_plan import DropoutPlan
from spectra.policies.plan import NOUNS, Plan

if TYPE_CHECKING:
    from rich.table import Table

_NUMBERS_WIDTH = 45  # value, score and number of layers, with their headings


def plan_table(planned: Plan | DropoutPlan, *, width: int, max_rows: int = 20) -> Table:
    """Make the table of a plan.

    Args:
        planned: Any plan.
        width: Columns of the terminal; longer names are cut at their start.
        max_rows: Most rows. Of more units those with the highest and the lowest numbers are shown, and a row between counts
            the others.

    Returns:
        A rich table.
    """
    from rich.table import Table
    from rich.text import Text

    by_unit = isinstance(planned, Plan)
    values = planned.values if isinstance(planned, Plan) else planned.rates
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("unit" if by_unit else "site", no_wrap=True, overflow="ellipsis")
    if isinstance(planned, Plan):
        table.add_column("layers", justify="right", no_wrap=True)
    table.add_column("score", justify="right", no_wrap=True)
    table.add_column(NOUNS[planned.target] if isinstance(planned, Plan) else "drop probability", justify="right", no_wrap=True)
    name_width = max(16, width - _NUMBERS_WIDTH)
    for unit in _shown(values, max_rows):
        if unit is None:
            table.add_row(f"… {len(values) - max_rows + 1} more")
            continue
        layers = [str(len(planned.members[unit]))] if isinstance(planned, Plan) else []
        score = f"{planned.scores[unit]:.4g}" if unit in planned.scores else "–"
        name = unit if len(unit) <= name_width else "…" + unit[1 - name_width :]
        table.add_row(Text(name), *layers, score, f"{values[unit]:.4g}")  # a text: brackets in a name are no markup
    return table


def _shown(values: Mapping[str, float], max_rows: int) -> list[str | None]:
    if len(values) <= max_rows:
        return list(values)
    ordered = sorted(values, key=values.__getitem__, reverse=True)
    top = max_rows // 2
    return [*ordered[:top], None, *ordered[len(ordered) - (max_rows - 1 - top) :]]
