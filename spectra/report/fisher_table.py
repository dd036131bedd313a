"""The table of a Fisher on the terminal: highest scores first, as many as one looks at, in the width there is."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from spectra.results.fisher import Fisher
from spectra.results.words import counted

if TYPE_CHECKING:
    from rich.table import Table

# By level: the columns between name and score with the width each takes, the first to go last.
_COLUMNS = {
    "layer": {"num_params": 12},
    "site": {"role": 18, "drop_prob": 11, "num_params": 12},
    "tensor": {"shape": 12, "trace": 10, "trace_std_error": 10},
    "neuron": {"side": 8, "index": 7},
}
_HEADINGS = {"num_params": "parameters", "drop_prob": "drop prob", "trace_std_error": "± se"}
_TEXTS = ("role", "side")
_SCORE_WIDTH = 15  # the longest name of an aggregate, and the gap after the name
_NAME_WIDTH = 36  # to be read: block number and role


def fisher_table(fisher: Fisher, level: str, *, width: int, max_rows: int = 20) -> Table:
    """Make the table of a Fisher.

    Args:
        fisher: Any.
        level: What a row is: ``layer``, ``site``, ``tensor`` or ``neuron``.
        width: Columns of the terminal. Where they do not hold a name of 36 letters, columns are left out; longer names are cut
            at their start.
        max_rows: Most rows shown; a last line counts the rest.

    Returns:
        A rich table. The heading of the score names its aggregate; the sum of F over its weights, for a neuron.
    """
    from rich.table import Table
    from rich.text import Text

    columns = dict(_COLUMNS[level])
    while columns and level != "neuron" and width - _SCORE_WIDTH - sum(columns.values()) < _NAME_WIDTH:
        columns.popitem()
    rows = fisher.table(level)
    if level == "tensor":
        scores = fisher.scores("tensor")
        rows = [{**row, "score": scores[row["name"]]} for row in rows]
    rows.sort(key=lambda row: -math.inf if _is_missing(row["score"]) else row["score"], reverse=True)
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    table.add_column("weight" if level == "neuron" else level, no_wrap=True, overflow="ellipsis")
    for name in columns:
        table.add_column(_HEADINGS.get(name, name), justify="left" if name in _TEXTS else "right", no_wrap=True)
    table.add_column("sum" if level == "neuron" else fisher.info.aggregate, justify="right", no_wrap=True)
    name_width = max(16, width - _SCORE_WIDTH - sum(columns.values()))
    for row in rows[:max_rows]:
        cells = (_cell(name, row[name]) for name in (*columns, "score"))
        table.add_row(Text(_shortened(row["name"], name_width)), *cells)  # a text: brackets in a name are no markup
    if len(rows) > max_rows:
        table.add_row(f"… {counted(len(rows) - max_rows, f'more {level}')}")
    return table


def _is_missing(value: Any) -> bool:
    return value is None or (isinstance(value, float) and math.isnan(value))


def _cell(name: str, value: Any) -> str:
    if _is_missing(value):
        return "–"
    if name == "drop_prob":
        return f"{value:g}"
    return f"{value:.2e}" if isinstance(value, float) else f"{value:,}" if isinstance(value, int) else str(value)


def _shortened(name: str, width: int) -> str:
    """Cut a long name at its start: block number and role stand at its end."""
    return name if len(name) <= width else "…" + name[-(width - 1) :]
