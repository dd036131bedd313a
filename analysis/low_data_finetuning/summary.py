"""What the cells say: accuracies, differences seed by seed in each task and over all tasks, with Holm's correction, and costs.

Of all tasks together a seed's value is the mean over tasks. Every number says how many seeds it has; nothing is said of cells
that are not there.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from analysis.low_data_finetuning.methods import (
    ADAPTERS,
    AGAINST_CONTROLS,
    AGAINST_PLAIN,
    METHODS,
    TUNED,
)
from analysis.low_data_finetuning.protocol import (
    Cell,
    Found,
    Protocol,
    chosen,
    final_cells,
    longer_cells,
    tuned,
    tuning_cells,
)
from analysis.tempbalance_low_data.summary import mean_and_error
from spectra.results.paired_difference import holm, paired_difference

ALL = "all"

Place = tuple[str, int, str]  # task or ALL, size, adapter
Accuracies = Mapping[tuple[Place, str], Mapping[int, float]]  # by place and method, then by seed


@dataclass(frozen=True)
class Question:
    """Comparisons that are corrected together.

    Attributes:
        pairs: Of methods.
        tasks: Where they are compared.
    """

    pairs: Sequence[tuple[str, str]]
    tasks: Sequence[str]


def results_of(protocol: Protocol, found: Found) -> dict[str, Any]:
    """Summarise what there is of the study."""
    cells = [cell for cell in (*final_cells(protocol, found), *longer_cells(protocol, found)) if cell in found]
    accuracies = _accuracies(protocol, cells, found)
    questions = {
        "against plain": Question(AGAINST_PLAIN, (ALL,)),
        "against controls": Question(AGAINST_CONTROLS, (ALL,)),
        "by task": Question(AGAINST_PLAIN, protocol.tasks),
    }
    return {
        "state": _state(protocol, found, cells),
        "sizes": list(protocol.sizes),
        "tasks": list(protocol.tasks),
        "tuning": list(_tuning(protocol, found)),
        "accuracy": [
            _at(place) | {"method": method, "seeds": len(of), "accuracies": dict(of)} | _mean(of.values())
            for (place, method), of in accuracies.items()
        ],
        **{name: _answers(question, protocol, accuracies) for name, question in questions.items()},
        "seconds": _seconds(cells, found),
        "multipliers": _multipliers(cells, found),
    }


def _state(protocol: Protocol, found: Found, cells: Sequence[Cell]) -> dict[str, Any]:
    tuning = tuning_cells(protocol)
    per_seed = len(protocol.tasks) * len(protocol.sizes) * len(ADAPTERS) * len(METHODS)
    return {
        "tuning": {"done": sum(cell in found for cell in tuning), "of": len(tuning)},
        "seeds": {
            str(seed): {"done": sum(cell.seed == seed for cell in cells), "of": per_seed} for seed in protocol.final_seeds
        },
    }


def _accuracies(protocol: Protocol, cells: Iterable[Cell], found: Found) -> Accuracies:
    """Sort accuracies; those of all tasks have only seeds of which every task is there."""
    sorted_: dict[tuple[Place, str], dict[int, float]] = {}
    for cell in cells:
        of = sorted_.setdefault(((cell.task, cell.size, cell.adapter), cell.method), {})
        of[cell.seed] = found[cell]["accuracy"]
    for size in protocol.sizes:
        for adapter in ADAPTERS:
            for method in METHODS:
                of_tasks = [sorted_.get(((task, size, adapter), method), {}) for task in protocol.tasks]
                seeds = [seed for seed in of_tasks[0] if all(seed in of for of in of_tasks)]
                if seeds:
                    sorted_[(ALL, size, adapter), method] = {seed: fmean(of[seed] for of in of_tasks) for seed in seeds}
    return sorted_


def _answers(question: Question, protocol: Protocol, accuracies: Accuracies) -> list[dict[str, Any]]:
    """Compare methods over the seeds that both have."""
    rows = []
    for task in question.tasks:
        for size in protocol.sizes:
            for adapter in ADAPTERS:
                for one, other in question.pairs:
                    place = (task, size, adapter)
                    of_one, of_other = accuracies.get((place, one), {}), accuracies.get((place, other), {})
                    if seeds := [seed for seed in of_one if seed in of_other]:
                        values = paired_difference([of_one[seed] for seed in seeds], [of_other[seed] for seed in seeds])
                        rows.append(_at(place) | {"one": one, "other": other} | dataclasses.asdict(values))
    adjusted = holm([row["p_value"] for row in rows])
    return [row | {"p_holm": p} for row, p in zip(rows, adjusted, strict=True)]


def _tuning(protocol: Protocol, found: Found) -> Iterable[dict[str, Any]]:
    for size in protocol.sizes:
        for adapter in ADAPTERS:
            for method in TUNED:
                group = (method, size, adapter)
                tried = {f"{rate:g}": accuracy for rate, accuracy in tuned(protocol, group, found).items()}
                yield {
                    "method": method,
                    "size": size,
                    "adapter": adapter,
                    "tried": tried,
                    "chosen": chosen(protocol, group, found),
                }


def _seconds(cells: Iterable[Cell], found: Found) -> list[dict[str, Any]]:
    """Average the processor's seconds over tasks and seeds."""
    sorted_: dict[tuple[int, str, str], list[float]] = {}
    for cell in cells:
        sorted_.setdefault((cell.size, cell.adapter, cell.method), []).append(found[cell]["seconds"])
    return [
        {"size": size, "adapter": adapter, "method": method, "cells": len(of), "mean": round(fmean(of), 1)}
        for (size, adapter, method), of in sorted_.items()
    ]


def _multipliers(cells: Iterable[Cell], found: Found) -> list[dict[str, Any]]:
    """Average the mean multipliers of the first and of the last measurement over all runs of a method."""
    sorted_: dict[tuple[str, str, str], list[list[float]]] = {}
    for cell in cells:
        for name, means in found[cell]["mean_multipliers"].items():
            sorted_.setdefault((cell.adapter, cell.method, name), []).append(means)
    return [
        {
            "adapter": adapter,
            "method": method,
            "kind": name,
            "first": round(fmean(means[0] for means in of), 4),
            "last": round(fmean(means[-1] for means in of), 4),
        }
        for (adapter, method, name), of in sorted_.items()
    ]


def _at(place: Place) -> dict[str, Any]:
    return dict(zip(("task", "size", "adapter"), place, strict=True))


def _mean(values: Iterable[float]) -> dict[str, float | None]:
    found = list(values)
    return dict(mean_and_error(found)) if len(found) > 1 else {"mean": round(found[0], 5), "std_error": None}
