"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.meta_peft_sentiment.protocol import LORA_ML, METHODS, SIZES, STANDARD
from analysis.meta_peft_sentiment.shifts import MEASURES
from analysis.meta_peft_sentiment.summary import ALL, PAIRS
from analysis.readme_tables import table, write_tables

MAIN = f"{LORA_ML} - {STANDARD}"

Results = Mapping[str, Any]


def update(readme: Path, results: Results) -> None:
    """Write every table anew; all else stays."""
    write_tables(readme, {name: make(results) for name, make in _TABLES.items()})


def _accuracy(results: Results) -> str:
    rows = (
        [size, domain, *(_percent(of[method]) for method in METHODS)]
        for size, found in results["sizes"].items()
        for domain, of in found["accuracy"].items()
    )
    return table(["samples", "held out", *METHODS], rows)


def _differences(results: Results) -> str:
    pairs = [f"{one} - {other}" for one, other in PAIRS]
    rows = ([size, *(_points(found["difference"][ALL][pair]) for pair in pairs)] for size, found in results["sizes"].items())
    return table(["samples", *pairs], rows)


def _verdict(results: Results) -> str:
    rows = (
        [size, domain, _points(of[MAIN]), _word(of[MAIN])]
        for size, found in results["sizes"].items()
        for domain, of in found["difference"].items()
    )
    return table(["samples", "held out", MAIN, "is LoRA-ML better?"], rows)


def _shifts(results: Results) -> str:
    rows = ([base, *(_measure(of[name], name) for name in MEASURES)] for base, of in results["shifts"].items())
    return table(["change", *MEASURES], rows)


def _tuning(results: Results) -> str:
    rows = (
        [
            method,
            _rate(rate, of["chosen"]["rate"]),
            _rate(at, None),
            *(_dev(of, rate, size, at) for size in SIZES),
        ]
        for method, of in results["tuning"].items()
        for rate, at in dict.fromkeys((one["rate"], one["adapting rate"]) for one in of["tried"])
    )
    return table(["method", "rate of retraining", "of adapting", *(f"{size} samples" for size in SIZES)], rows)


def _cost(results: Results) -> str:
    rows = [
        [
            f"retraining, {method}",
            of["steps"],
            f"{of['loss']['mean']:.3f} ± {of['loss']['std_error']:.3f}",
            f"{of['seconds']:.0f}",
        ]
        for method, of in results["retraining"].items()
    ]
    rows.append(["adapting, each", "", "", f"{results['adapting seconds']:.0f}"])
    return table(["", "steps of the base", "mean loss while retraining", "processor seconds"], rows)


def _dev(of: Mapping[str, Any], rate: float, size: int, at: float) -> str:
    accuracy = next(
        one["accuracy"] for one in of["tried"] if (one["rate"], one["size"], one["adapting rate"]) == (rate, size, at)
    )
    is_chosen = (rate, at) == (of["chosen"]["rate"], of["chosen"][str(size)])
    return f"{accuracy:.1%}" + (", chosen" if is_chosen else "")


def _rate(rate: float, chosen: float | None) -> str:
    return "" if not rate else f"{rate:g}" + (", chosen" if rate == chosen else "")


def _measure(found: Mapping[str, float], name: str) -> str:
    if name.startswith("top"):
        return _percent(found)
    digits = 4 if name == "relative change" else 1
    return f"{found['mean']:.{digits}f} ± {found['std_error']:.{digits}f}"


def _word(difference: Mapping[str, Any]) -> str:
    low, high = difference["interval"]
    return "yes" if low > 0.0 else "no, worse" if high < 0.0 else "not told apart"


def _percent(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.1%} ± {100.0 * found['std_error']:.1f}"


def _points(found: Mapping[str, Any]) -> str:
    low, high = (100.0 * edge for edge in found["interval"])
    return f"{100.0 * found['mean']:+.1f} ± {100.0 * found['std_error']:.1f} ({low:+.1f} to {high:+.1f})"


_TABLES = {
    "accuracy": _accuracy,
    "differences": _differences,
    "verdict": _verdict,
    "shifts": _shifts,
    "tuning": _tuning,
    "cost": _cost,
}
