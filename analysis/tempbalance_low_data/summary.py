"""What the runs say: means with standard errors, differences seed by seed, and how uneven the blocks became."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from statistics import fmean, pstdev, stdev
from typing import Any

from analysis.tempbalance_low_data.protocol import ARMS, Cell, Found, Protocol, chosen, final_runs, tuned

CONFIDENCE = 0.95


def results_of(protocol: Protocol, found: Found) -> dict[str, Any]:
    """Summarise the study, one entry for each task and size."""
    return {f"{task}, {size} examples": _cell(protocol, (task, size), found) for task, size in protocol.cells}


def _cell(protocol: Protocol, cell: Cell, found: Found) -> dict[str, Any]:
    rows = {
        arm: [found[run] for run in final_runs(protocol, found) if (run.task, run.size, run.arm) == (*cell, arm)]
        for arm in ARMS
    }
    return {
        "chosen": {arm: dict(zip(("learning rate", "s"), chosen(protocol, cell, arm, found), strict=True)) for arm in ARMS},
        "tuning": [
            {"arm": arm, "learning rate": rate, "s": strength, "accuracy on dev": round(accuracy, 4)}
            for arm, (rate, strength), accuracy in tuned(protocol, cell, found)
        ],
        "accuracy": {arm: mean_and_error(row["accuracy"] for row in of) for arm, of in rows.items()},
        "accuracies": {arm: [row["accuracy"] for row in of] for arm, of in rows.items()},
        "loss": {arm: mean_and_error(row["loss"] for row in of) for arm, of in rows.items()},
        "difference": {
            f"{one} - {other}": paired(rows[one], rows[other])
            for one, other in (("tempbalance", "baseline"), ("shuffled", "baseline"), ("tempbalance", "shuffled"))
        },
        "spread of alpha": {
            "before": round(_spread(rows["baseline"][0]["scores_before"]), 5),  # of the checkpoint: the same in every run
            **{arm: mean_and_error(_spread(row["scores_after"]) for row in of) for arm, of in rows.items()},
        },
        "change of spread": {
            f"{arm} - baseline": paired(rows[arm], rows["baseline"], of=lambda row: _spread(row["scores_after"]))
            for arm in ARMS[1:]
        },
        "scores before": rows["baseline"][0]["scores_before"],
        "scores after": {arm: _means(row["scores_after"] for row in of) for arm, of in rows.items()},
        "scales": {arm: _means(row["scales"] for row in of) for arm, of in rows.items()},
        "seconds": {arm: round(fmean(row["seconds"] for row in of), 1) for arm, of in rows.items()},
        "seconds of updates": {arm: round(fmean(row["seconds_of_updates"] for row in of), 2) for arm, of in rows.items()},
    }


def mean_and_error(values: Iterable[float]) -> dict[str, float]:
    """Return the mean and its standard error."""
    found = list(values)
    error = stdev(found) / math.sqrt(len(found)) if len(found) > 1 else math.nan
    return {"mean": round(fmean(found), 5), "std_error": round(error, 5)}


def paired(ones: Sequence[Mapping[str, Any]], others: Sequence[Mapping[str, Any]], of: Any = None) -> dict[str, Any]:
    """Compare runs of the same seeds: mean difference, standard error, and Student's interval."""
    from scipy.stats import t

    value = of or (lambda row: row["accuracy"])
    assert [row["seed"] for row in ones] == [row["seed"] for row in others]
    differences = [value(one) - value(other) for one, other in zip(ones, others, strict=True)]
    found: dict[str, Any] = mean_and_error(differences)
    half = float(t.ppf((1.0 + CONFIDENCE) / 2.0, len(differences) - 1)) * found["std_error"]
    return found | {"interval": [round(found["mean"] - half, 5), round(found["mean"] + half, 5)]}


def _spread(scores: Mapping[str, float]) -> float:
    return pstdev(scores.values())


def _means(mappings: Iterable[Mapping[str, float]]) -> dict[str, float]:
    rows = list(mappings)
    return {unit: round(fmean(row[unit] for row in rows), 4) for unit in rows[0]}
