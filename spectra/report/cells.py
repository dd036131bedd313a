"""Cells of the tables on the terminal: numbers, names cut at their start, and the plain table they stand in."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from spectra.printable import printable

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text


def plain_table(first: str, **options: Any) -> Table:
    """Make a table without lines, whose first column holds names.

    Args:
        first: Heading of that column.
        **options: Further ones of rich's table.

    Returns:
        A rich table with one column.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold", **options)
    table.add_column(first, no_wrap=True, overflow="ellipsis")
    return table


def number_cell(value: float, form: str) -> str:
    """Return a number in a format, or a dash for one that is not known.

    Args:
        value: May be NaN.
        form: As ``format`` takes it.

    Returns:
        The cell.
    """
    return "–" if math.isnan(value) else format(value, form)


def name_cell(name: str, width: int, style: str = "") -> Text:
    """Return the name of a layer, matrix or model; brackets in it are no markup.

    Args:
        name: Any.
        width: Most characters; a longer name is cut at its start, as block number and role stand at its end.
        style: As rich names it.

    Returns:
        The cell.
    """
    from rich.text import Text

    name = printable(name)
    return Text(name if len(name) <= width else "…" + name[1 - width :], style)
