"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.readme_tables import table, write_tables

Results = Mapping[str, Any]


def update(readme: Path, results: Results) -> None:
    """Write every table anew; all else stays."""
    calls, numbers = results["openfunctions"], results["gsm8k"]
    tables = {
        "published": _published(calls),
        "decisions": _decisions(calls),
        "without one call": table(["what else it says", "responses"], calls["without one call"].items()),
        "numbers": _numbers(numbers),
        "cut": _cut(numbers),
        "examples": _examples(numbers["train"]["examples"]),
    }
    write_tables(readme, tables)


def _published(calls: Results) -> str:
    rows, changed = calls["rows"], calls["changed"]
    parts = [("all", rows, "characters"), ("changed", changed, "characters of changed rows")]
    lines = [[name, f"{number:,}", _share(number, rows), *calls[key].values()] for name, number, key in parts]
    lines.insert(1, ["identical", f"{rows - changed:,}", _share(rows - changed, rows), "", "", ""])
    return table(["rows", "number", "share", "mean characters, original", "final", "ratio"], lines)


def _decisions(calls: Results) -> str:
    ours, reference = calls["decisions"]["ours"], calls["decisions"]["reference"]
    words = dict.fromkeys([*reference, *ours])
    lines = [[word, *(_with_share(of.get(word, 0), calls["rows"]) for of in (ours, reference))] for word in words]
    return table(["decision", "ours", "reference's rule"], lines)


def _numbers(numbers: Results) -> str:
    names = ["answers", "with a number", "with the closing number", "agreeing with themselves", "in which the rules differ"]
    return table(["", *numbers], [[name, *(f"{of[name]:,}" for of in numbers.values())] for name in names])


def _cut(numbers: Results) -> str:
    cells = {split: of["without the closing sentence"] for split, of in numbers.items()}
    names = list(cells["train"])
    lines = [[name, *(_with_share(of[name], numbers[split]["answers"]) for split, of in cells.items())] for name in names]
    return table(["accepted by", *cells], lines)


def _examples(examples: Results) -> str:
    lines = [
        [word, f"`{one['line']}`", one["answer"], one["ours"], one["reference"]] for word in examples for one in examples[word]
    ]
    return table(["accepted by", "last line", "answer", "ours finds", "the reference finds"], lines)


def _with_share(number: int, of: int) -> str:
    return f"{number:,} ({_share(number, of)})"


def _share(number: int, of: int) -> str:
    return f"{number / of:.1%}"
