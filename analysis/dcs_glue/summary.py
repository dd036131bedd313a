"""What the cells say: means with standard errors, differences seed by seed, weights round by round, and label errors found."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from analysis.dcs_glue.label_errors import RANKINGS, REFERENCE, area, precision
from analysis.dcs_glue.protocol import ARMS, CONDITIONS, WEIGHTED, Found, Protocol, chosen, final_cells, tuned
from analysis.tempbalance_low_data.summary import mean_and_error, paired

PAIRS = (
    ("dcs", "plain"),
    ("dcs", "plain-twice"),
    ("dcs", "uniform"),
    ("literal-adaboost", "uniform"),
    ("uniform", "plain"),
    ("plain-twice", "plain"),
)
CURVE = 4  # precision is kept up to this many times the number of flipped labels

Rows = Sequence[Mapping[str, Any]]


def results_of(protocol: Protocol, found: Found) -> dict[str, Any]:
    """Summarise the study."""
    rows = {
        (task, condition): [found[c] for c in final_cells(protocol, found) if (c.task, c.condition) == (task, condition)]
        for task in protocol.tasks
        for condition in CONDITIONS
    }
    return {
        "chosen": {task: chosen(protocol, task, found) for task in protocol.tasks},
        "tuning": {task: {f"{rate:g}": round(at, 4) for rate, at in tuned(protocol, task, found)} for task in protocol.tasks},
        "cells": {f"{task}, {condition}": _cell(of) for (task, condition), of in rows.items()},
        "label errors": {task: _label_errors(of) for (task, condition), of in rows.items() if condition == "flipped"},
    }


def _cell(rows: Rows) -> dict[str, Any]:
    models = {arm: _of_model(rows, arm) for arm in (*ARMS, "teacher")}
    return {
        "accuracy": {arm: mean_and_error(one["accuracy"] for one in of) for arm, of in models.items()},
        "accuracies": {arm: [one["accuracy"] for one in of] for arm, of in models.items()},
        "loss": {arm: mean_and_error(one["loss"] for one in of) for arm, of in models.items()},
        "difference": {f"{one} - {other}": paired(models[one], models[other]) for one, other in PAIRS},
        "weights": {arm: _weights([row["rounds"][arm] for row in rows]) for arm in WEIGHTED},
        "seconds": {arm: round(fmean(one["seconds"] for one in models[arm]), 1) for arm in ARMS},
        # The first arm that needs a teacher has trained it, the others have found its answers.
        "teacher seconds": round(fmean(max(of["teacher_seconds"] for of in _timed(row)) for row in rows), 1),
    }


def _of_model(rows: Rows, arm: str) -> Rows:
    return [row["models"][arm] | {"seed": row["seed"]} for row in rows]


def _timed(row: Mapping[str, Any]) -> Rows:
    return [row["models"][arm] for arm in ARMS]


def _weights(runs: Sequence[Rows]) -> dict[str, Any]:
    """Describe the weights of the runs of an arm, by round and after the last one."""
    by_round = list(zip(*runs, strict=True))
    return {
        **{f"{name} by round": [round(fmean(one[name] for one in of), 5) for of in by_round] for name in ("ess", "eps")},
        "ess by seed": [[one["ess"] for one in run] for run in runs],
        "effective share": mean_and_error(run[-1]["ess"] for run in runs),
        "smallest effective share": mean_and_error(min(one["ess"] for one in run) for run in runs),
        "largest weight": mean_and_error(max(one["v_max"] for one in run) for run in runs),
        "skipped": dict(Counter(one["skipped"] for run in runs for one in run if one["skipped"] is not None)),
        "rounds": sum(map(len, runs)),
    }


def _label_errors(rows: Rows) -> dict[str, Any]:
    """Judge the rankings, and compare each with the loss of the plain model after training."""
    found = {name: [_quality_of_ranking(row, name) for row in rows] for name in RANKINGS}
    number, size = len(rows[0]["places"][REFERENCE]), rows[0]["size"]
    return {
        "flipped": number,
        "examples": size,
        "rankings": {
            name: {
                "area": mean_and_error(one["area"] for one in of),
                "precision": mean_and_error(one["precision"] for one in of),
                "curve": [round(fmean(values), 4) for values in zip(*(one["curve"] for one in of), strict=True)],
            }
            for name, of in found.items()
        },
        "difference": {
            name: {what: paired(of, found[REFERENCE], of=lambda one, what=what: one[what]) for what in ("area", "precision")}
            for name, of in found.items()
            if name != REFERENCE
        },
    }


def _quality_of_ranking(row: Mapping[str, Any], name: str) -> dict[str, Any]:
    at, size = row["places"][name], row["size"]
    return {
        "seed": row["seed"],
        "area": area(at, size),
        "precision": precision(at, len(at)),
        "curve": [precision(at, first) for first in range(1, min(CURVE * len(at), size) + 1)],
    }
