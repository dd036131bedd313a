"""Tables in pages of Markdown, between markers.

In a study's ``README.md``: ``<!-- table: NAME -->`` and ``<!-- end -->``. In ``docs/``, whose tests compare a page with what is
made anew: ``<!-- table NAME -->``.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any


def write_tables(readme: Path, tables: Mapping[str, str]) -> None:
    """Write tables anew; all else stays.

    Args:
        readme: The page.
        tables: Markdown by name; each name has one place in the page.

    Raises:
        SystemExit: A name has no place, or several.
    """
    text = readme.read_text(encoding="utf-8")
    for name, lines in tables.items():
        block = f"<!-- table: {name} -->\n\n{lines}\n\n<!-- end -->"
        place = rf"<!-- table: {re.escape(name)} -->.*?<!-- end -->"
        text, number = re.subn(place, lambda _, block=block: block, text, flags=re.DOTALL)
        if number != 1:
            raise SystemExit(f"'{readme}' has {number} places for the table '{name}', expected 1.")
    readme.write_text(text, encoding="utf-8")


def remade(page: str, tables: Mapping[str, Callable[[], str]]) -> str:
    """Return a page of ``docs/`` with its tables made anew; only what stands between markers differs."""
    return re.sub(
        r"(<!-- table (\w+) -->\n)(.*?)(<!-- end -->)",
        lambda match: match[1] + tables[match[2]]() + match[4],
        page,
        flags=re.DOTALL,
    )


def table(head: Sequence[str], rows: Iterable[Sequence[Any]]) -> str:
    """Return a table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(map(str, line))} |" for line in lines)
