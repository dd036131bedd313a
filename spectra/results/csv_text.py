"""Tables as CSV, which spreadsheets open: no cell of theirs is a formula.

Names of layers and models come from files of strangers, and a spreadsheet runs a cell that begins with ``=``. OWASP's rule
(owasp.org, "CSV Injection"): a text that begins with ``= + - @``, a tab, or a line end gets a ``'`` before it, which a
spreadsheet takes for "this is text". So does one that begins with ``'``, so that :func:`name_from_csv` knows what was there.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

# The full-width forms are read as the others where a spreadsheet is set to Japanese or Chinese.
_BEGIN_FORMULAS = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")
_QUOTE = "'"


def csv_text(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    r"""Return a table.

    Args:
        columns: In order.
        rows: Plain values by column; ``None`` for what is not known.

    Returns:
        Text with ``\n`` line ends, empty for what is not known; numbers read back to the same float64.
    """
    return csv_lines([columns, *([row.get(name) for name in columns] for row in rows)])


def csv_lines(lines: Iterable[Sequence[Any]]) -> str:
    r"""Return lines of a table, of which columns may have the same name.

    Args:
        lines: The names of the columns first.

    Returns:
        Text with ``\n`` line ends.
    """
    return "".join(map(_line, lines))


def csv_cell(value: Any) -> Any:
    """Return what stands in a cell.

    Args:
        value: Any.

    Returns:
        The value; a text that a spreadsheet would run, with a ``'`` before it. A text that is a number (``-1e-4``) stays.

    Example:
        >>> csv_cell("=1+1"), csv_cell("-0.5"), csv_cell(-0.5)
        ("'=1+1", '-0.5', -0.5)
    """
    if not isinstance(value, str) or not value.startswith((*_BEGIN_FORMULAS, _QUOTE)) or _is_number(value):
        return value
    return _QUOTE + value


def _line(values: Sequence[Any]) -> str:
    buffer = io.StringIO()
    # What is part of the line end is quoted: with "\n" alone a "\r" in a name would begin a line, and a formula.
    csv.writer(buffer, lineterminator="\r\n").writerow(map(csv_cell, values))
    return buffer.getvalue().removesuffix("\r\n") + "\n"


def name_from_csv(cell: str) -> str:
    """Return the text that :func:`csv_cell` made a cell of.

    Args:
        cell: As a reader of CSV gives it.

    Returns:
        The text.

    Example:
        >>> name_from_csv("'=1+1")
        '=1+1'
    """
    return cell.removeprefix(_QUOTE)


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return text == text.strip()
