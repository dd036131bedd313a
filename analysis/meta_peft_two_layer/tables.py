"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from analysis.meta_peft_two_layer.protocol import ARMS, RETRAINED
from analysis.readme_tables import table, write_tables

Results = Mapping[str, Any]


def update(readme: Path, results: Results) -> None:
    """Write every table anew; all else stays."""
    write_tables(readme, {name: make(results) for name, make in _TABLES.items()})


def _retraining(results: Results) -> str:
    rows = (
        [
            setting,
            *(_number(of["loss"][arm]) for arm in RETRAINED),
            f"{of['ratio of losses']['of means']:.1f}",
            f"{of['ratio of losses']['smallest']:.1f}",
        ]
        for setting, of in results.items()
    )
    return table(["setting", *RETRAINED, "SR / LoRA-ML, of means", "smallest of a seed"], rows)


def _risk(results: Results) -> str:
    rows = (
        [
            setting,
            rank,
            *(_number(of["before"][arm]) for arm in RETRAINED),
            *(_number(of["risk"][arm]) for arm in ARMS),
        ]
        for setting, rank, of in _fine_tuned(results)
    )
    return table(["setting", "fine-tuned", *(f"{arm}, before" for arm in RETRAINED), *ARMS], rows)


def _differences(results: Results) -> str:
    rows = (
        [setting, rank, *_judged(found := of["difference"]["LoRA-ML - SR"]), _factor(found)]
        for setting, rank, of in _fine_tuned(results)
    )
    head = ["LoRA-ML − SR", "lower in seeds", "is LoRA-ML better?", "SR / LoRA-ML"]
    return table(["setting", "fine-tuned", *head], rows)


def _oracle(results: Results) -> str:
    rows = (
        [setting, rank, *map(_factor, found), *map(_seeds, found)]
        for setting, rank, of in _fine_tuned(results)
        for found in [[of["difference"][f"oracle - {arm}"] for arm in RETRAINED]]
    )
    head = [*(f"{arm} / oracle" for arm in RETRAINED), *(f"oracle lower than {arm} in seeds" for arm in RETRAINED)]
    return table(["setting", "fine-tuned", *head], rows)


def _lowest(results: Results) -> str:
    rows = (
        [
            setting,
            rank,
            *(_number(of["lowest"][arm]) for arm in ARMS),
            *_judged(of["difference of the lowest"]["LoRA-ML - SR"]),
        ]
        for setting, rank, of in _fine_tuned(results)
    )
    return table(["setting", "fine-tuned", *ARMS, "LoRA-ML − SR", "lower in seeds", "is LoRA-ML better?"], rows)


def _floor(results: Results) -> str:
    rows = (
        [setting, rank, *map(_group, of["LoRA-ML by loss"].values()), f"{median(of['risks']['oracle']):.4f}"]
        for setting, rank, of in _fine_tuned(results)
    )
    return table(["setting", "fine-tuned", "LoRA-ML, loss at the floor", "LoRA-ML, loss above", "oracle"], rows)


def _cost(results: Results) -> str:
    rows = (
        [setting, f"{of['seconds']['retraining']:.0f}", f"{of['seconds']['fine-tuning']:.0f}"]
        for setting, of in results.items()
    )
    return table(["setting", "retraining, both arms", "fine-tuning, three arms"], rows)


def _fine_tuned(results: Results) -> Iterator[tuple[str, str, Results]]:
    return ((setting, rank, found) for setting, of in results.items() for rank, found in of["fine-tuning"].items())


def _judged(difference: Results) -> list[str]:
    low, high = difference["interval"]
    verdict = "yes" if high < 0.0 else "no, worse" if low > 0.0 else "not told apart"
    return [f"{_number(difference, '+')} ({low:+.3f} to {high:+.3f})", _seeds(difference), verdict]


def _factor(difference: Results) -> str:
    low, high = difference["interval of factor"]
    return f"{difference['factor']:.1f} ({low:.1f} to {high:.1f})"


def _seeds(difference: Results) -> str:
    return f"{difference['lower in']} of {difference['of']}"


def _group(of: Results) -> str:
    return f"{of['median']:.4f} ({of['seeds']} seeds)" if of["seeds"] else "none"


def _number(found: Results, sign: str = "") -> str:
    return f"{found['mean']:{sign}.4f} ± {found['std_error']:.4f}"


_TABLES = {
    "retraining": _retraining,
    "risk": _risk,
    "differences": _differences,
    "oracle": _oracle,
    "floor": _floor,
    "lowest": _lowest,
    "cost": _cost,
}
