"""Tables and words as Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def table(headings: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table whose first column is of names, and whose others are of numbers.

    Args:
        headings: One for each column.
        rows: As many cells each; pipes in them are escaped.

    Returns:
        Lines, without a newline at the end.
    """
    sides = ["---", *["---:"] * (len(headings) - 1)]
    cells = [headings, sides, *([cell.replace("|", "\\|") for cell in row] for row in rows)]
    return "\n".join(f"| {' | '.join(row)} |" for row in cells)


def bullets(items: Iterable[str]) -> str:
    """Return a list of sentences, each on one line."""
    return "\n".join(f"- {' '.join(item.split())}" for item in items)


def code(text: str) -> str:
    """Return a name as it is, without meaning in Markdown."""
    return f"`{text}`"
