"""Write the tables of docs/weightwatcher.md: ``python docs/make_weightwatcher_table.py``.

The rows are those that tests/test_weightwatcher_table.py runs, WeightWatcher beside Spectra; a test keeps the page up to date.
"""

import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

PAGE = Path(__file__).with_name("weightwatcher.md")
ROOT = Path(__file__).parents[1]


def text() -> str:
    """Return the page with its tables as they should be."""
    if str(ROOT) not in sys.path:
        sys.path.insert(0, str(ROOT))
    from tests.weightwatcher_table.differences import DIFFERENCES
    from tests.weightwatcher_table.methods import METHODS
    from tests.weightwatcher_table.rows import OPTIONS

    page = PAGE.read_text(encoding="utf-8")
    heads = ("WeightWatcher 0.7.7", "Spectra", "`spectra analyze`", "numbers")
    for name, rows in (("options", OPTIONS), ("methods", METHODS)):
        cells = [(_calls(row), _code(row.our_text), _code(row.flag_text), row.verdict) for row in rows]
        page = _between(page, name, _table(heads, cells))
    differences = [(d.id, d.weightwatcher, d.spectra, d.why) for d in DIFFERENCES]
    return _between(page, "differences", _table(("", "WeightWatcher 0.7.7", "Spectra", "why"), differences))


def _calls(row: Any) -> str:
    """The call, and the other names that the row accounts for."""
    named = [name for name in row.names if name not in re.findall(r"\w+", row.their_text)]
    call = row.their_text if row.theirs != "–" and not row.theirs.startswith("apply_...") else ""
    return ", ".join(_code(name) for name in [call, *named] if name)


def _code(call: str) -> str:
    if "`" in call or call in ("–", "", "always", "the default"):
        return call or "–"
    return f"`{call}`"


def _table(heads: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    lines = [heads, ("---",) * len(tuple(heads)), *rows]
    return "\n".join("| " + " | ".join(cell.replace("|", "\\|") for cell in line) + " |" for line in lines)


def _between(page: str, name: str, table: str) -> str:
    start, end = f"<!-- {name}: made by make_weightwatcher_table.py -->", f"<!-- end of {name} -->"
    before, rest = page.split(start)
    _, after = rest.split(end)
    return f"{before}{start}\n{table}\n{end}{after}"


if __name__ == "__main__":
    PAGE.write_text(text(), encoding="utf-8")
