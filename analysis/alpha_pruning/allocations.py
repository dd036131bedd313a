"""How a global sparsity is distributed over the blocks of a model: by alpha, and the controls."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

import spectra
from spectra.policies.plan import Plan, plan

SPARSITIES = (0.5, 0.7)
SEEDS = (0, 1, 2, 3)
NUM_SHUFFLED = 3  # orders of the blocks drawn for each seed
ALLOCATIONS = ("uniform", "alpha", "reversed", "shuffled", "alpha, recommended fit")

# Plans by sparsity and allocation; for "shuffled" those of every seed one after the other.
Plans = dict[tuple[float, str], list[Plan]]


def plans_for(model: str | Path) -> Plans:
    """Make every plan from two analyses."""
    found: Plans = {}
    for preset, allocations in (("alphapruning", ("uniform", "alpha", "reversed")), ("recommended", ("alpha",))):
        report = _analysed(model, preset)
        for sparsity in SPARSITIES:
            for allocation in allocations:
                name = allocation if preset == "alphapruning" else f"{allocation}, recommended fit"
                found[sparsity, name] = [_plan(report, preset, sparsity, allocation)]
    for sparsity in SPARSITIES:
        found[sparsity, "shuffled"] = list(_shuffled(found[sparsity, "alpha"][0]))
    return found


def of_seed(plans: Plans, seed: int) -> Plans:
    """Keep the random orders of one seed, so that all seeds together have tried many."""
    own = slice(seed * NUM_SHUFFLED, (seed + 1) * NUM_SHUFFLED)
    return {key: made[own] if key[1] == "shuffled" else made for key, made in plans.items()}


def described(plans: Plans) -> dict[str, Any]:
    """Give the scores and sparsities of the blocks."""
    fits = {"published fit": "alpha", "recommended fit": "alpha, recommended fit"}
    return {
        "alpha of the blocks": {
            fit: [round(value, 3) for value in plans[SPARSITIES[0], name][0].scores.values()] for fit, name in fits.items()
        },
        "sparsity of the blocks": {
            f"{name}, {sparsity:.0%}": [round(value, 3) for value in made[0].values.values()]
            for (sparsity, name), made in plans.items()
            if name != "shuffled"
        },
    }


def _analysed(model: str | Path, preset: str) -> spectra.Report:
    from spectra.policies.presets import SPARSITY_PRESETS

    return spectra.analyze(model, **SPARSITY_PRESETS[preset].analysis)


def _plan(report: spectra.Report, preset: str, sparsity: float, allocation: str) -> Plan:
    made = plan(report, policy="alphapruning", preset=preset, sparsity=sparsity, allocation=allocation)
    assert isinstance(made, Plan)
    return made


def _shuffled(by_alpha: Plan) -> Iterator[Plan]:
    """Give the blocks each other's sparsities: blocks are of one size in these models, so that the global one stays."""
    rng = np.random.default_rng(0)
    for _ in range(NUM_SHUFFLED * len(SEEDS)):
        order = rng.permutation(len(by_alpha.values))
        values = list(by_alpha.values.values())
        yield dataclasses.replace(by_alpha, values=dict(zip(by_alpha.values, (values[place] for place in order), strict=True)))
