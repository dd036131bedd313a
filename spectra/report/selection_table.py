"""The tables of a rewriting run on the terminal: what was decided and why, and the same for each group."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from spectra.results.distill_records import DECISIONS, REASONS
from spectra.results.selection_report import SelectionReport
from spectra.results.words import counted

if TYPE_CHECKING:
    from rich.table import Table

_WIDE = 80  # from here on there is room for what the words mean
_NUMBERS_WIDTH = 50  # of the columns of a group, with their headings


def selection_table(report: SelectionReport, *, width: int) -> Table:
    """Make the table of decisions, with the reasons of rejection under theirs.

    Args:
        report: Any.
        width: Columns of the terminal. Below 80 the meaning of the words is left out.

    Returns:
        A rich table.
    """
    from rich.table import Table

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("decision", no_wrap=True)
    table.add_column("samples", justify="right", no_wrap=True)
    table.add_column("share", justify="right", no_wrap=True)
    if width >= _WIDE:
        table.add_column("meaning")
    for word, count, meaning in _lines(report):
        cells = (word, f"{count:,}", f"{count / report.num_samples:.1%}", meaning)
        table.add_row(*cells[: len(table.columns)], style="dim" if word.startswith(" ") else None)
    return table


def selection_groups_table(report: SelectionReport, *, width: int, max_rows: int = 20) -> Table:
    """Make the table of the groups, largest first.

    Args:
        report: With groups.
        width: Columns of the terminal; longer names are cut at their end.
        max_rows: Most groups shown; a last line counts the rest.

    Returns:
        A rich table, with the median ratio of the lengths of accepted responses and originals.
    """
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("group", no_wrap=True, overflow="ellipsis", max_width=max(8, width - _NUMBERS_WIDTH))
    for heading in ("samples", "accepted", "identical", "rejected", "length"):
        table.add_column(heading, justify="right", no_wrap=True)
    for name, group in list(report.groups.items())[:max_rows]:
        shares = (f"{count / group.num_samples:.1%}" for count in (group.accepted, group.identical, group.num_rejected))
        length = "–" if group.length_ratio is None else f"×{group.length_ratio.median:.2f}"
        table.add_row(Text(name), f"{group.num_samples:,}", *shares, length)  # a text: brackets in a name are no markup
    rest = len(report.groups) - max_rows
    if rest > 0:
        table.add_row(f"… {counted(rest, 'more group')}")
    return table


def _lines(report: SelectionReport) -> Iterator[tuple[str, int, str]]:
    counts = {"accepted": report.accepted, "identical": report.identical, "rejected": report.num_rejected}
    for decision, count in counts.items():
        yield decision, count, DECISIONS[decision]
    for reason, count in report.rejected.items():
        yield f"  {reason}", count, REASONS[reason]
