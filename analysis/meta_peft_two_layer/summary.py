"""What the settings say: losses and risks, means with standard errors over seeds, and differences seed by seed."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from statistics import fmean, median
from typing import Any

from analysis.meta_peft_two_layer.protocol import ARMS, RETRAINED, Found, Setting
from analysis.tempbalance_low_data.summary import mean_and_error, paired

PAIRS = (("LoRA-ML", "SR"), ("oracle", "LoRA-ML"), ("oracle", "SR"))
# The variance of the noise, and two standard deviations of its mean over 3 × 1000 samples: 0.01 + 2 × 0.01 sqrt(2 / 3000).
AT_THE_FLOOR = 0.0105

Results = dict[str, Any]
Row = Mapping[str, Any]
Curves = Sequence[Sequence[float]]  # at each epoch, by seed


def results_of(settings: Sequence[Setting], found: Found) -> Results:
    """Summarise the study, one entry for each setting: tasks at the base width, then widths."""
    rows = [found[setting] for setting in sorted(settings, key=lambda one: (one.width != 10, one.width, one.tasks))]
    return {f"T = {row['tasks']}, d = {row['width']}": _setting(row) for row in rows}


def _setting(row: Row) -> Results:
    losses = {arm: row["losses"][arm]["values"] for arm in RETRAINED}
    last = {arm: of[-1] for arm, of in losses.items()}
    return {
        "loss": {arm: mean_and_error(of) for arm, of in last.items()},
        "losses": last,
        "ratio of losses": {
            "of means": round(fmean(last["SR"]) / fmean(last["LoRA-ML"]), 2),
            "smallest": round(min(sr / ml for sr, ml in zip(last["SR"], last["LoRA-ML"], strict=True)), 2),
        },
        "loss by epoch": _curves({arm: row["losses"][arm] for arm in RETRAINED}),
        "fine-tuning": {rank: _fine_tuning(arms, last["LoRA-ML"]) for rank, arms in row["risks"].items()},
        "seconds": {stage: row[f"{stage} seconds"] for stage in ("retraining", "fine-tuning")},
    }


def _fine_tuning(arms: Mapping[str, Row], losses: Sequence[float]) -> Results:
    values: dict[str, Curves] = {arm: arms[arm]["values"] for arm in ARMS}
    last = {arm: of[-1] for arm, of in values.items()}
    lowest = {arm: [min(of_seed) for of_seed in zip(*of, strict=True)] for arm, of in values.items()}
    return {
        "before": {arm: mean_and_error(of[0]) for arm, of in values.items()},
        "risk": {arm: mean_and_error(of) for arm, of in last.items()},
        "lowest": {arm: mean_and_error(of) for arm, of in lowest.items()},
        "risks": last,
        "difference": {f"{one} - {other}": _difference(last[one], last[other]) for one, other in PAIRS},
        "difference of the lowest": {f"{one} - {other}": _difference(lowest[one], lowest[other]) for one, other in PAIRS},
        "LoRA-ML by loss": _by_loss(losses, last["LoRA-ML"]),
        "risk by epoch": _curves(arms),
    }


def _by_loss(losses: Sequence[float], risks: Sequence[float]) -> Results:
    """Tell networks that were retrained down to the noise from those that got stuck above it."""
    groups: dict[str, list[float]] = {"at the floor": [], "above": []}
    for loss, risk in zip(losses, risks, strict=True):
        groups["at the floor" if loss <= AT_THE_FLOOR else "above"].append(risk)
    return {name: {"seeds": len(of), "median": median(of) if of else None} for name, of in groups.items()}


def _difference(ones: Sequence[float], others: Sequence[float]) -> Results:
    """Compare seed by seed: differences, and how many times as large the others are (the geometric mean)."""
    found = _paired(ones, others)
    logs = _paired(*([math.log(value) for value in of] for of in (others, ones)))
    return found | {
        "lower in": sum(one < other for one, other in zip(ones, others, strict=True)),
        "of": len(ones),
        "factor": round(math.exp(logs["mean"]), 2),
        "interval of factor": [round(math.exp(edge), 2) for edge in logs["interval"]],
    }


def _paired(ones: Sequence[float], others: Sequence[float]) -> Results:
    rows = ([{"seed": seed, "value": value} for seed, value in enumerate(of)] for of in (ones, others))
    return paired(*rows, of=lambda row: row["value"])


def _curves(arms: Mapping[str, Row]) -> Results:
    epochs = next(iter(arms.values()))["epochs"]
    return {"epochs": epochs, **{arm: [mean_and_error(at) for at in of["values"]] for arm, of in arms.items()}}
