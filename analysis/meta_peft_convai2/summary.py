"""What the cells say: accuracies over personas and seeds, and differences judged persona by persona and seed by seed.

Models of one seed share a base, and those of one persona their turns: the values of all personas and seeds are not as many
independent ones. Intervals are therefore of means: over seeds for each persona, and over personas for each seed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from analysis.meta_peft_convai2.data import NUM_CANDIDATES
from analysis.meta_peft_convai2.protocol import (
    ARMS,
    MEASURES,
    METHODS,
    Found,
    Protocol,
    chosen,
    final_cells,
    measured,
    models,
    tuned,
)
from analysis.tempbalance_low_data.summary import mean_and_error, paired

CHANCE = {"last": 1.0 / NUM_CANDIDATES, "below": 0.5}  # that of the best epoch is not known
PAIRS = (("LoRA-ML", "SR"), ("LoRA-ML", "Reptile"), ("SR", "raw"), ("LoRA-ML", "raw"), ("Reptile", "raw"))

Results = dict[str, Any]
Rows = Sequence[Mapping[str, Any]]
Values = Mapping[str, Sequence[float]]  # by persona, a seed each


def results_of(protocol: Protocol, found: Found) -> Results:
    """Summarise the study."""
    rate = chosen(protocol, found)
    rows = {arm: [found[cell] for cell in final_cells(protocol, found) if cell.arm == arm] for arm in ARMS}
    values = {name: {arm: _values(of, rate, name) for arm, of in rows.items()} for name in MEASURES}
    return {
        "chance": CHANCE,
        "learning rates": {"retraining": protocol.retraining_rate, "adapting": rate},
        "tuning": {
            f"{each:g}": {name: round(value, 4) for name, value in of.items()} for each, of in tuned(protocol, found).items()
        },
        "values": values,
        "mean": {name: {arm: mean_and_error(_all(of)) for arm, of in arms.items()} for name, arms in values.items()},
        "by epoch": {arm: _by_epoch(of, rate) for arm, of in rows.items()},
        "above chance": {
            name: {arm: _versus(of, _constant(of, chance)) for arm, of in values[name].items()}
            for name, chance in CHANCE.items()
        },
        "difference": {
            name: {f"{one} - {other}": _versus(arms[one], arms[other]) for one, other in PAIRS} for name, arms in values.items()
        },
        "personas": _personas(rows["raw"], rate),
        "loss by epoch": {arm: _losses(rows[arm]) for arm in METHODS},
        "retraining": {arm: {name: rows[arm][0]["retraining"][name] for name in ("steps", "rows")} for arm in METHODS},
        "seconds": {
            arm: {
                "retraining": round(fmean(row["retraining"]["seconds"] for row in of), 1),
                "adapting": round(fmean(one["seconds"] for row in of for one in models(row, rate)), 1),
            }
            for arm, of in rows.items()
        },
    }


def _values(rows: Rows, rate: float, name: str) -> dict[str, list[float]]:
    by_seed = [measured(row, rate) for row in rows]
    return {persona: [of[persona][name] for of in by_seed] for persona in by_seed[0]}


def _constant(values: Values, number: float) -> Values:
    return {persona: [number] * len(of) for persona, of in values.items()}


def _all(values: Values) -> list[float]:
    return [value for of in values.values() for value in of]


def _by_epoch(rows: Rows, rate: float) -> Results:
    looks = [one["looks"] for row in rows for one in models(row, rate)]
    return {epoch: mean_and_error(look[epoch]["accuracy"] for look in looks) for epoch in looks[0]}


def _losses(rows: Rows) -> list[dict[str, float]]:
    return [mean_and_error(of_epoch) for of_epoch in zip(*(row["retraining"]["losses"] for row in rows), strict=True)]


def _personas(rows: Rows, rate: float) -> Results:
    """Count the turns of each persona, which hang on the dialogues that a seed holds out."""
    by_seed = [{one["persona"]: one for one in models(row, rate)} for row in rows]
    return {persona: {name: [of[persona][name] for of in by_seed] for name in ("turns", "judged")} for persona in by_seed[0]}


def _versus(ones: Values, others: Values) -> Results:
    """Compare two arms: over personas, each a mean over seeds, and the other way round."""
    return {
        "by persona": _paired(ones, others, lambda values: [fmean(of) for of in values.values()]),
        "by seed": _paired(ones, others, lambda values: [fmean(of) for of in zip(*values.values(), strict=True)]),
    }


def _paired(ones: Values, others: Values, means: Callable[[Values], list[float]]) -> Results:
    first, second = (
        [{"seed": place, "value": value} for place, value in enumerate(means(values))] for values in (ones, others)
    )
    return paired(first, second, of=lambda row: row["value"])
