"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.dcs_glue.label_errors import OURS, REFERENCE
from analysis.dcs_glue.protocol import ARMS, WEIGHTED
from analysis.readme_tables import table, write_tables

Results = Mapping[str, Any]


def update(readme: Path, results: Results) -> None:
    """Write every table anew; all else stays."""
    write_tables(readme, {name: make(results) for name, make in _TABLES.items()})


def _accuracy(results: Results) -> str:
    rows = ([cell, *(_percent(of["accuracy"][arm]) for arm in (*ARMS, "teacher"))] for cell, of in results["cells"].items())
    return table(["task, labels", *ARMS, "teacher"], rows)


def _differences(results: Results) -> str:
    pairs = list(next(iter(results["cells"].values()))["difference"])
    rows = ([cell, *(_points(of["difference"][pair]) for pair in pairs)] for cell, of in results["cells"].items())
    return table(["task, labels", *pairs], rows)


def _weights(results: Results) -> str:
    rows = (
        [
            cell,
            arm,
            _percent(found["effective share"]),
            _percent(found["smallest effective share"]),
            _number(found["largest weight"], 1),
            " → ".join(f"{eps:.1%}" for eps in found["eps by round"]),
            ", ".join(f"{why}: {number}" for why, number in found["skipped"].items()) or "none",
            found["rounds"],
        ]
        for cell, of in results["cells"].items()
        for arm, found in ((arm, of["weights"][arm]) for arm in WEIGHTED)
    )
    head = [
        "task, labels",
        "arm",
        "effective share, last",
        "smallest",
        "largest weight",
        "eps by round",
        "skipped",
        "of rounds",
    ]
    return table(head, rows)


def _label_errors(results: Results) -> str:
    rows = (
        [
            task,
            name,
            _number(ranked["area"], 3),
            _percent(ranked["precision"]),
            *(_versus(of["difference"].get(name), what) for what in ("area", "precision")),
        ]
        for task, of in results["label errors"].items()
        for name, ranked in of["rankings"].items()
    )
    head = ["task", "ranked by", "area under ROC", "precision", f"area − ({REFERENCE})", f"precision − ({REFERENCE})"]
    return table(head, rows)


def _verdict(results: Results) -> str:
    rows = (
        [task, ranked, what, _versus(of["difference"][ranked], what), _word(of["difference"][ranked][what])]
        for task, of in results["label errors"].items()
        for ranked in OURS
        for what in ("area", "precision")
    )
    return table(["task", "list", "judged by", f"list − ({REFERENCE})", "does it find flipped labels better?"], rows)


def _tuning(results: Results) -> str:
    rates = list(next(iter(results["tuning"].values())))
    rows = (
        [task, *(f"{of[rate]:.1%}" for rate in rates), f"{results['chosen'][task]:g}"] for task, of in results["tuning"].items()
    )
    return table(["task", *rates, "chosen"], rows)


def _cost(results: Results) -> str:
    rows = (
        [cell, *(f"{of['seconds'][arm]:.0f}" for arm in ARMS), f"{of['teacher seconds']:.0f}"]
        for cell, of in results["cells"].items()
    )
    return table(["task, labels", *ARMS, "teacher, and its answers"], rows)


def _word(difference: Mapping[str, Any]) -> str:
    low, high = difference["interval"]
    return "yes" if low > 0.0 else "no, worse" if high < 0.0 else "no, not told apart"


def _versus(difference: Mapping[str, Any] | None, what: str) -> str:
    if difference is None:
        return ""
    return _points(difference[what]) if what == "precision" else _number(difference[what], 3, sign="+", interval=True)


def _percent(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.1%} ± {100.0 * found['std_error']:.1f}"


def _points(found: Mapping[str, Any]) -> str:
    low, high = (100.0 * edge for edge in found["interval"])
    return f"{100.0 * found['mean']:+.1f} ± {100.0 * found['std_error']:.1f} ({low:+.1f} to {high:+.1f})"


def _number(found: Mapping[str, Any], digits: int, sign: str = "", *, interval: bool = False) -> str:
    text = f"{found['mean']:{sign}.{digits}f} ± {found['std_error']:.{digits}f}"
    if interval:
        low, high = found["interval"]
        text += f" ({low:{sign}.{digits}f} to {high:{sign}.{digits}f})"
    return text


_TABLES = {
    "accuracy": _accuracy,
    "differences": _differences,
    "weights": _weights,
    "label errors": _label_errors,
    "verdict": _verdict,
    "tuning": _tuning,
    "cost": _cost,
}
