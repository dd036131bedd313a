"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.readme_tables import table, write_tables
from analysis.tempbalance_low_data.protocol import ARMS

Results = Mapping[str, Any]


def update(readme: Path, results: Results) -> None:
    """Write every table anew; all else stays."""
    write_tables(readme, {name: make(results) for name, make in _TABLES.items()})


def _accuracy(results: Results) -> str:
    pairs = list(next(iter(results.values()))["difference"])
    rows = (
        [cell, *(_percent(of["accuracy"][arm]) for arm in ARMS), *(_difference(of["difference"][pair]) for pair in pairs)]
        for cell, of in results.items()
    )
    return table(["task", *ARMS, *pairs], rows)


def _chosen(results: Results) -> str:
    head = ["task", "baseline: learning rate", "tempbalance: learning rate", "tempbalance: s"]
    rows = (
        [
            cell,
            f"{of['chosen']['baseline']['learning rate']:.2g}",
            f"{of['chosen']['tempbalance']['learning rate']:.2g}",
            f"{of['chosen']['tempbalance']['s']:g}",
        ]
        for cell, of in results.items()
    )
    return table(head, rows)


def _tuning(results: Results) -> str:
    rows = (
        [cell, tried["arm"], f"{tried['learning rate']:.2g}", f"{tried['s']:g}", f"{tried['accuracy on dev']:.1%}"]
        for cell, of in results.items()
        for tried in of["tuning"]
    )
    return table(["task", "arm", "learning rate", "s", "accuracy on dev"], rows)


def _spread(results: Results) -> str:
    pairs = list(next(iter(results.values()))["change of spread"])
    rows = (
        [
            cell,
            f"{of['spread of alpha']['before']:.4f}",
            *(_number(of["spread of alpha"][arm], 4) for arm in ARMS),
            *(_number(of["change of spread"][pair], 4, sign="+") for pair in pairs),
        ]
        for cell, of in results.items()
    )
    return table(["task", "before", *(f"after, {arm}" for arm in ARMS), *pairs], rows)


def _cost(results: Results) -> str:
    rows = (
        [cell, *(f"{of['seconds'][arm]:.0f}" for arm in ARMS), *(f"{of['seconds of updates'][arm]:.1f}" for arm in ARMS[1:])]
        for cell, of in results.items()
    )
    return table(["task", *ARMS, *(f"of it measuring, {arm}" for arm in ARMS[1:])], rows)


def _percent(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.1%} ± {100.0 * found['std_error']:.1f}"


def _difference(found: Mapping[str, Any]) -> str:
    low, high = (100.0 * edge for edge in found["interval"])
    return f"{100.0 * found['mean']:+.1f} ± {100.0 * found['std_error']:.1f} ({low:+.1f} to {high:+.1f})"


def _number(found: Mapping[str, float], digits: int, sign: str = "") -> str:
    return f"{found['mean']:{sign}.{digits}f} ± {found['std_error']:.{digits}f}"


_TABLES = {"accuracy": _accuracy, "chosen": _chosen, "tuning": _tuning, "spread": _spread, "cost": _cost}
