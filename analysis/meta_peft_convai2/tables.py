"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from analysis.meta_peft_convai2.protocol import ARMS, MEASURES
from analysis.readme_tables import table, write_tables

_HEAD = {"last": "last epoch", "best": "best epoch", "below": "wrong ones below"}

Results = Mapping[str, Any]


def update(readme: Path, results: Results) -> None:
    """Write every table anew; all else stays."""
    write_tables(readme, {name: make(results) for name, make in _TABLES.items()})


def _accuracy(results: Results) -> str:
    rows = ([arm, *(_percent(results["mean"][name][arm]) for name in MEASURES)] for arm in ARMS)
    chance = (f"{results['chance'][name]:.1%}" if name in results["chance"] else "" for name in MEASURES)
    return table(["base", *_HEAD.values()], [*rows, ["chance", *chance]])


def _chance(results: Results) -> str:
    rows = (
        [arm, _HEAD[name], *_judged(found, "above", "below")]
        for name, arms in results["above chance"].items()
        for arm, found in arms.items()
    )
    return table(["base", "measure", "minus chance, by persona", "by seed", "above chance?"], rows)


def _differences(results: Results) -> str:
    rows = (
        [pair, _HEAD[name], *_judged(found, "better", "worse")]
        for name, pairs in results["difference"].items()
        for pair, found in pairs.items()
    )
    return table(["difference", "measure", "by persona", "by seed", "is the first better?"], rows)


def _personas(results: Results) -> str:
    rows = (
        [
            persona,
            _range(of["turns"]),
            _range(of["judged"]),
            *(f"{fmean(results['values']['last'][arm][persona]):.1%}" for arm in ARMS),
        ]
        for persona, of in results["personas"].items()
    )
    return table(["new persona", "turns", "held out", *ARMS], rows)


def _retraining(results: Results) -> str:
    epochs = range(len(results["loss by epoch"]["SR"]))
    rows = (
        [arm, of["steps"], of["rows"], *(_number(results["loss by epoch"][arm][epoch]) for epoch in epochs)]
        for arm, of in results["retraining"].items()
    )
    return table(["base", "steps", "rows", *(f"loss, epoch {epoch + 1}" for epoch in epochs)], rows)


def _tuning(results: Results) -> str:
    best = f"{results['learning rates']['adapting']:g}"
    rows = (
        [f"{rate}, chosen" if rate == best else rate, *(f"{of[name]:.1%}" for name in MEASURES)]
        for rate, of in results["tuning"].items()
    )
    return table(["learning rate", *_HEAD.values()], rows)


def _cost(results: Results) -> str:
    rows = ([arm, *(f"{results['seconds'][arm][stage]:.0f}" for stage in ("retraining", "adapting"))] for arm in ARMS)
    return table(["base", "retraining", "adapting to one persona, and judging"], rows)


def _judged(found: Results, better: str, worse: str) -> list[str]:
    """Both intervals, and a verdict that takes both."""
    intervals = [of["interval"] for of in found.values()]
    lows, highs = zip(*intervals, strict=True)
    word = f"yes, {better}" if min(lows) > 0.0 else f"no, {worse}" if max(highs) < 0.0 else "not told apart"
    return [*(_points(of) for of in found.values()), word]


def _points(found: Results) -> str:
    low, high = (100.0 * edge for edge in found["interval"])
    return f"{100.0 * found['mean']:+.1f} ± {100.0 * found['std_error']:.1f} ({low:+.1f} to {high:+.1f})"


def _percent(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.1%} ± {100.0 * found['std_error']:.1f}"


def _number(found: Mapping[str, float]) -> str:
    return f"{found['mean']:.3f} ± {found['std_error']:.3f}"


def _range(numbers: list[int]) -> str:
    return f"{min(numbers)}" if min(numbers) == max(numbers) else f"{min(numbers)} to {max(numbers)}"


_TABLES = {
    "accuracy": _accuracy,
    "chance": _chance,
    "differences": _differences,
    "personas": _personas,
    "retraining": _retraining,
    "tuning": _tuning,
    "cost": _cost,
}
