"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from analysis.low_data_finetuning.methods import ADAPTERS, METHODS
from analysis.low_data_finetuning.summary import ALL
from analysis.readme_tables import table, write_tables

LEVEL = 0.05  # the usual one
NOTHING = "–"

Results = Mapping[str, Any]
Rows = Iterable[Mapping[str, Any]]


def update(readme: Path, results: Results) -> None:
    """Write every table anew; all else stays."""
    write_tables(readme, {name: make(results) for name, make in _TABLES.items()})


def verdict(row: Mapping[str, Any]) -> str:
    """Say what a comparison has shown, by its corrected p value."""
    if row["p_holm"] is None:
        return "nothing to test"
    if row["p_holm"] >= LEVEL:
        return "not told apart"
    return "better" if row["mean"] > 0.0 else "worse"


def _state(results: Results) -> str:
    state = results["state"]
    parts = {"tuning": state["tuning"], **{f"seed {seed}": of for seed, of in state["seeds"].items()}}
    is_done = all(of["done"] == of["of"] for of in parts.values())
    done = table(["cells done", *parts], [["", *(f"{of['done']} of {of['of']}" for of in parts.values())]])
    return done if is_done else f"**Not finished.** Numbers below are of the cells that are there.\n\n{done}"


def _accuracy(results: Results) -> str:
    cells = {(row["task"], row["size"], row["adapter"], row["method"]): row for row in results["accuracy"]}
    places = [(task, size, adapter) for size in results["sizes"] for adapter in ADAPTERS for task in (*results["tasks"], ALL)]
    heads = [f"{task}, {size}, {adapter}" for task, size, adapter in places]
    rows = (
        [head, *(_percent(cells.get((*place, method))) for method in METHODS)]
        for head, place in zip(heads, places, strict=True)
    )
    return table(["task, size, adapter", *METHODS], rows)


def _differences(rows: Rows) -> str:
    return table(
        ["size", "adapter", "task", "difference", "seeds", "points (95 % interval)", "p", "p, Holm", "verdict"],
        (
            [
                row["size"],
                row["adapter"],
                row["task"],
                f"{row['one']} − {row['other']}",
                row["num_pairs"],
                _points(row),
                _p(row["p_value"]),
                _p(row["p_holm"]),
                verdict(row),
            ]
            for row in rows
        ),
    )


def _tuning(results: Results) -> str:
    rows = (
        [row["size"], row["adapter"], row["method"], _tried(row), NOTHING if row["chosen"] is None else f"{row['chosen']:g}"]
        for row in results["tuning"]
    )
    return table(["size", "adapter", "method", "accuracy on dev by learning rate", "chosen"], rows)


def _tried(row: Mapping[str, Any]) -> str:
    return ", ".join(f"{rate}: {accuracy:.1%}" for rate, accuracy in row["tried"].items()) or NOTHING


def _seconds(results: Results) -> str:
    cells = {(row["size"], row["adapter"], row["method"]): row["mean"] for row in results["seconds"]}
    places = [(size, adapter) for size in results["sizes"] for adapter in ADAPTERS]
    rows = ([method, *(_number(cells.get((*place, method)), 0) for place in places)] for method in METHODS)
    return table(["method", *(f"{size}, {adapter}" for size, adapter in places)], rows)


def _multipliers(results: Results) -> str:
    rows = (
        [row["method"], row["adapter"], row["kind"], _number(row["first"], 3), _number(row["last"], 3)]
        for row in sorted(results["multipliers"], key=lambda row: (METHODS.index(row["method"]), row["adapter"]))
    )
    return table(["method", "adapter", "multipliers of", "mean at the start", "mean at the end"], rows)


def _percent(row: Mapping[str, Any] | None) -> str:
    if row is None:
        return NOTHING
    error = "" if row["std_error"] is None else f" ± {100.0 * row['std_error']:.1f}"
    return f"{100.0 * row['mean']:.1f}{error} ({row['seeds']})"


def _points(row: Mapping[str, Any]) -> str:
    if row["low"] is None:
        return f"{100.0 * row['mean']:+.1f}"
    low, high = (100.0 * row[end] for end in ("low", "high"))
    return f"{100.0 * row['mean']:+.1f} ({low:+.1f} to {high:+.1f})"


def _p(value: float | None) -> str:
    return NOTHING if value is None else f"{value:.3f}" if value >= 0.001 else "< 0.001"


def _number(value: float | None, digits: int) -> str:
    return NOTHING if value is None else f"{value:.{digits}f}"


_TABLES = {
    "state": _state,
    "against plain": lambda results: _differences(results["against plain"]),
    "against controls": lambda results: _differences(results["against controls"]),
    "accuracy": _accuracy,
    "by task": lambda results: _differences(results["by task"]),
    "tuning": _tuning,
    "multipliers": _multipliers,
    "seconds": _seconds,
}
