"""What is measured of a cell: the error of each arm's base, what an adapter of a new task could reach, what one learned."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from analysis.meta_peft_linear.fine_tuning import fine_tune
from analysis.meta_peft_linear.linear import (
    Array,
    Moments,
    Problem,
    draw_problem,
    excess_risk,
    reachable_risk,
    relative_error,
    sample_moments,
    singular_values,
    stack_problems,
)
from analysis.meta_peft_linear.protocol import JOINT, Cell, Setting
from analysis.meta_peft_linear.retraining import (
    Adapters,
    Alternating,
    asymmetric_start,
    lora_start,
    retrain_jointly,
    retrain_lora_ml,
    retrain_standard,
    symmetric_start,
)

SYMMETRIC, LORA, STANDARD, ORACLE = "LoRA-ML, U Uᵀ", "LoRA-ML, B A", "SR", "oracle"
STARTS = {SYMMETRIC: symmetric_start, LORA: lora_start}
ARMS = (STANDARD, SYMMETRIC, LORA, ORACLE)
KEPT_VALUES = 4  # of singular values

# What random numbers are for; 0 is the problem itself.
OF_SAMPLES, OF_NEW_SAMPLES, OF_START, OF_NEW_START = 1, 2, 3, 4


def run(cell: Cell) -> dict[str, Any]:
    """Retrain and fine-tune in all settings of a cell, with all seeds at once."""
    started = time.perf_counter()
    problem = _problem(cell)
    bases, left = _retrained(cell, problem)
    found = {arm: _of_base(problem, bases[arm], cell) | {"retraining risk": _rounded(left[arm])} for arm in ARMS}
    for rank in cell.settings[0].ranks:
        for arm, curve in _fine_tuned(cell, problem, bases, rank).items():  # (steps, settings, seeds)
            found[arm][f"risk, rank {rank}"] = _rounded(curve[-1])
            if rank == cell.settings[0].paper_rank:
                found[arm]["curve"] = _rounded(np.stack([curve.mean(-1), curve.min(-1), curve.max(-1)]).transpose(2, 0, 1))
    settings = [
        {"arms": {arm: {name: values[place] for name, values in of.items()} for arm, of in found.items()}}
        for place in range(len(cell.settings))
    ]
    return asdict(cell) | {"found": settings, "seconds": round(time.perf_counter() - started, 1)}


def _problem(cell: Cell) -> Problem:
    of = cell.settings[0]
    return stack_problems([draw_problem(seed, dim=of.d, num_tasks=of.T, rank=of.k) for seed in range(cell.num_seeds)])


def _retrained(cell: Cell, problem: Problem) -> tuple[dict[str, Array], dict[str, Array]]:
    """Return by arm the bases, shape ``(settings, seeds, d, d)``, and the risks on retraining tasks, ``(settings, seeds)``."""
    of = cell.settings[0]
    seen = list(dict.fromkeys((setting.N, setting.noise) for setting in cell.settings))
    tasks = _stacked([_sampled(cell, problem.tasks, *which, OF_SAMPLES) for which in seen])
    bases = {STANDARD: retrain_standard(tasks), ORACLE: np.broadcast_to(problem.base, (len(seen), *problem.base.shape))}
    learned = {arm: base[..., None, :, :] for arm, base in bases.items()}
    for arm, start in STARTS.items():
        bases[arm], adapters = _lora_ml(cell, tasks, _started(cell, start, OF_START, (of.T, of.d, of.retraining_rank)))
        learned[arm] = bases[arm][..., None, :, :] + adapters.product
    places = [seen.index((setting.N, setting.noise)) for setting in cell.settings]
    left = {arm: excess_risk(problem.tasks, matrices).mean(axis=-1)[places] for arm, matrices in learned.items()}
    return {arm: base[places] for arm, base in bases.items()}, left


def _lora_ml(cell: Cell, tasks: Moments, start: Adapters) -> tuple[Array, Adapters]:
    if cell.settings[0].schedule == JOINT:
        return retrain_jointly(tasks, start, cell.adapter_steps)
    return retrain_lora_ml(tasks, start, Alternating(rounds=cell.adapter_steps // Alternating.inner_steps))


def _of_base(problem: Problem, bases: Array, cell: Cell) -> dict[str, list[Any]]:
    of = cell.settings[0]
    return {
        "error": _rounded(relative_error(problem.base, bases)),
        "singular values": _rounded(singular_values(bases - problem.base)[..., :KEPT_VALUES]),
        "reachable": _rounded(reachable_risk(problem.new_task, bases)[..., : of.separating_rank + 1]),
    }


def _fine_tuned(cell: Cell, problem: Problem, bases: dict[str, Array], rank: int) -> dict[str, Array]:
    """Return the excess risk on the new task by arm, shape ``(steps, settings, seeds)``; arms share samples and starts."""
    samples = [_sampled(cell, problem.new_task, setting.n, setting.noise, OF_NEW_SAMPLES) for setting in cell.settings]
    start = _started(cell, asymmetric_start, OF_NEW_START, (cell.settings[0].d, rank))
    learned = fine_tune(np.stack([bases[arm] for arm in ARMS]), _stacked(samples), start, cell.steps)
    risks = np.stack([excess_risk(problem.new_task, matrix) for matrix in learned], axis=1)
    return dict(zip(ARMS, risks, strict=True))


def _sampled(cell: Cell, matrices: Array, num_samples: int | None, noise_std: float, purpose: int) -> Moments:
    """Draw the samples of each seed by themselves: they are the same in a batch of any size."""
    rngs = [np.random.default_rng((seed, purpose, num_samples or 0)) for seed in range(cell.num_seeds)]
    return _stacked([sample_moments(of, num_samples, noise_std, rng) for of, rng in zip(matrices, rngs, strict=True)])


def _started(
    cell: Cell, start: Callable[[np.random.Generator, tuple[int, ...]], Adapters], purpose: int, shape: tuple[int, ...]
) -> Adapters:
    drawn = [start(np.random.default_rng((seed, purpose)), shape) for seed in range(cell.num_seeds)]
    left, right = (np.stack([getattr(one, side) for one in drawn]) for side in ("left", "right"))
    return Adapters(left, right, drawn[0].symmetric)


def _stacked(moments: list[Moments]) -> Moments:
    return Moments(np.stack([one.inputs for one in moments]), np.stack([one.outputs for one in moments]))


def _rounded(values: Array) -> Any:
    """Return nested lists of three significant digits."""
    return np.vectorize(lambda value: float(f"{value:.3g}"), otypes=[float])(values).tolist()


def cell_of(row: dict[str, Any]) -> Cell:
    """Return the cell that a line is of."""
    settings = tuple(Setting(**setting) for setting in row["settings"])
    return Cell(settings, row["num_seeds"], row["adapter_steps"], tuple(row["steps"]))
