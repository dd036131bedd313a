"""What the cells say: means with standard errors, and differences seed by seed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from statistics import fmean
from typing import Any

from analysis.sdft_forgetting.protocol import ADAPTERS, ARMS, TRIED, Found, Protocol, chosen, final_cells, model, tried
from analysis.tempbalance_low_data.summary import mean_and_error, paired

SHARES = ("target", "as before", "known", "skill")
MEASURES = (*SHARES, "skill loss")
PAIRS = (("sdft", "vanilla"), ("mix", "vanilla"), ("sdft", "mix"))

Rows = Sequence[Mapping[str, Any]]


def results_of(protocol: Protocol, found: Found) -> dict[str, Any]:
    """Summarise the study."""
    cells = [found[cell] for cell in final_cells(protocol, found)]
    return {
        "chosen": {adapter: chosen(protocol, adapter, found) for adapter in ADAPTERS},
        "tuning": {adapter: _tuning(protocol, adapter, found) for adapter in ADAPTERS},
        "base": _means([cell["base"] for cell in cells], MEASURES),
        "adapters": {adapter: _adapter(cells, adapter, chosen(protocol, adapter, found)) for adapter in ADAPTERS},
        "rewriting": _rewriting([cell["rewriting"] | {"seed": cell["seed"], "of": cell["num_taught"]} for cell in cells]),
        "base seconds": round(fmean(cell["base seconds"] for cell in cells), 1),
    }


def _tuning(protocol: Protocol, adapter: str, found: Found) -> dict[str, Any]:
    """List what was tried for an adapter, by learning rate."""
    return {
        f"{rate:g}": {
            arm: {name: round(tried(protocol, (adapter, arm, rate), name, found), 4) for name in MEASURES} for arm in TRIED
        }
        for rate in protocol.learning_rates[adapter]
    }


def _adapter(cells: Rows, adapter: str, rate: float) -> dict[str, Any]:
    base = [cell["base"] | {"seed": cell["seed"]} for cell in cells]
    arms = {arm: [model(cell["models"], (adapter, arm, rate)) | {"seed": cell["seed"]} for cell in cells] for arm in ARMS}
    measures = (*MEASURES, "shift")
    return {
        "mean": {arm: _means(of, measures) for arm, of in arms.items()},
        "seeds": {arm: {name: [one[name] for one in of] for name in measures} for arm, of in arms.items()},
        "difference": {f"{one} - {other}": _differences(arms[one], arms[other], measures) for one, other in PAIRS},
        "change": {arm: _differences(of, base, MEASURES) for arm, of in arms.items()},
        "seconds": round(fmean(one["seconds"] for of in arms.values() for one in of), 1),
    }


def _rewriting(rows: Rows) -> dict[str, Any]:
    reasons = Counter(reason for row in rows for reason in row["rejected"])
    return {
        "accepted": mean_and_error(row["accepted"] / row["of"] for row in rows),
        "identical": mean_and_error(row["identical"] / row["of"] for row in rows),
        "rejected": {
            reason: mean_and_error(row["rejected"].get(reason, 0) / row["of"] for row in rows) for reason in sorted(reasons)
        },
        "nll original": mean_and_error(row["nll original"] for row in rows),
        "nll selected": mean_and_error(row["nll selected"] for row in rows),
        "nll difference": paired(_nats(rows, "nll selected"), _nats(rows, "nll original"), of=lambda row: row["nll"]),
        "seconds": round(fmean(row["seconds"] for row in rows), 1),
        "examples": rows[0]["examples"],
    }


def _nats(rows: Rows, name: str) -> Rows:
    return [{"seed": row["seed"], "nll": row[name]} for row in rows]


def _means(rows: Rows, names: Sequence[str]) -> dict[str, Any]:
    return {name: mean_and_error(row[name] for row in rows) for name in names}


def _differences(ones: Rows, others: Rows, names: Sequence[str]) -> dict[str, Any]:
    return {name: paired(ones, others, of=lambda row, name=name: row[name]) for name in names}
