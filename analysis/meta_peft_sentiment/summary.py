"""What the cells say: accuracies, differences between methods in the same cells, and what retraining moved.

Of a domain the standard error is that over seeds. Over all domains it is that of the five means, so that seeds which share a
domain and its test do not count as if they were independent.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from statistics import fmean
from typing import Any

from analysis.meta_peft_sentiment.protocol import (
    DOMAINS,
    LORA_ML,
    METHODS,
    PRETRAINED,
    REPTILE,
    RETRAINED,
    SIZES,
    STANDARD,
    Found,
    Protocol,
    chosen,
    final_cells,
    on_dev,
)
from analysis.meta_peft_sentiment.shifts import MEASURES
from analysis.tempbalance_low_data.summary import mean_and_error, paired

PAIRS = (
    (LORA_ML, STANDARD),
    (LORA_ML, REPTILE),
    (REPTILE, STANDARD),
    (STANDARD, PRETRAINED),
    (LORA_ML, PRETRAINED),
)
ALL = "all"
BETWEEN = f"{STANDARD} - {LORA_ML}"

Rows = Sequence[Mapping[str, Any]]
Value = Callable[[Mapping[str, Any]], float]  # of a cell's row


def results_of(protocol: Protocol, found: Found) -> dict[str, Any]:
    """Summarise the study."""
    rows = [found[cell] for cell in final_cells(protocol, found)]
    return {
        "tuning": {method: _tuning(protocol, method, found) for method in METHODS},
        "sizes": {str(size): _of_size(rows, size) for size in SIZES},
        "retraining": {method: _retraining(rows, method) for method in RETRAINED},
        "shifts": {
            base: {name: _over_domains(rows, _shift(base, name)) for name in MEASURES} for base in (*RETRAINED, BETWEEN)
        },
        "adapting seconds": round(fmean(one["seconds"] for row in rows for one in row["models"]), 1),
        "spectra": rows[0]["spectra"],
    }


def _tuning(protocol: Protocol, method: str, found: Found) -> dict[str, Any]:
    """List what was tried for a method, by rate of retraining, samples and rate of adapting."""
    best, adapting = chosen(protocol, method, found)
    accuracies = [
        {
            "rate": rate,
            "size": size,
            "adapting rate": at,
            "accuracy": round(on_dev(protocol, (method, rate, size, at), found), 4),
        }
        for rate, rates in protocol.tried(method)
        for size in SIZES
        for at in rates
    ]
    return {"tried": accuracies, "chosen": {"rate": best, **{str(size): at for size, at in adapting.items()}}}


def _of_size(rows: Rows, size: int) -> dict[str, Any]:
    accuracies = {method: _accuracy(method, size) for method in METHODS}
    by_domain = {domain: _of_domain(rows, domain) for domain in DOMAINS}
    return {
        "accuracy": {
            **{
                domain: {m: mean_and_error(map(of, cells)) for m, of in accuracies.items()}
                for domain, cells in by_domain.items()
            },
            ALL: {method: _over_domains(rows, of) for method, of in accuracies.items()},
        },
        "difference": {
            **{domain: _differences(accuracies, [[row] for row in cells]) for domain, cells in by_domain.items()},
            ALL: _differences(accuracies, list(by_domain.values())),
        },
    }


def _differences(accuracies: Mapping[str, Value], groups: Sequence[Rows]) -> dict[str, Any]:
    """Compare methods group by group, each of which counts once: a cell, or the cells of a domain."""
    means = {
        method: [{"seed": place, "accuracy": fmean(map(of, group))} for place, group in enumerate(groups)]
        for method, of in accuracies.items()
    }
    return {f"{one} - {other}": paired(means[one], means[other]) for one, other in PAIRS}


def _retraining(rows: Rows, method: str) -> dict[str, Any]:
    def number(name: str) -> Value:
        return lambda row: next(base[name] for base in row["bases"] if base["method"] == method)

    return {
        "steps": number("steps")(rows[0]),
        "loss": _over_domains(rows, number("loss")),
        "seconds": round(fmean(map(number("seconds"), rows)), 1),
    }


def _over_domains(rows: Rows, value: Value) -> dict[str, float]:
    return mean_and_error(fmean(map(value, _of_domain(rows, domain))) for domain in DOMAINS)


def _of_domain(rows: Rows, domain: str) -> Rows:
    return [row for row in rows if row["held_out"] == domain]


def _accuracy(method: str, size: int) -> Value:
    return lambda row: next(one["accuracy"] for one in row["models"] if (one["method"], one["size"]) == (method, size))


def _shift(base: str, name: str) -> Value:
    return lambda row: row["shifts"][base][name]
