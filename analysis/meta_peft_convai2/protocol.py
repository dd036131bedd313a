"""Which models are trained: the learning rate of adapting is chosen on personas of its own, and used for all bases.

| stage | bases | adapted to |
|---|---|---|
| tuning | ``SR``, a seed of its own | new personas that are not compared, at each learning rate |
| final | ``raw``, ``SR``, ``Reptile`` and ``LoRA-ML`` | the largest new personas, at the best of them |

A learning rate is as good as what adapted models tell apart after the last epoch (``"below"`` of :data:`MEASURES`), a mean over
the tuning personas: few turns are held out, and accuracy sees only those at which no wrong candidate is above the true reply.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

METHODS = {"SR": "standard", "Reptile": "reptile", "LoRA-ML": "peft_ml"}
ARMS = ("raw", *METHODS)
TUNED = "SR"
MEASURES = {
    "last": "accuracy after the last epoch",
    "best": "accuracy after the best epoch",
    "below": "share of wrong candidates below the true reply, after the last epoch",
}


@dataclass(frozen=True)
class Cell:
    """A base, and the models that are adapted from it.

    Attributes:
        arm: How the base was made; ``"raw"``: not retrained.
        seed: Of everything that is random.
        retraining_rate: Largest learning rate of the base's schedule.
        adapting_rates: Of the adapters' schedules; the models of a base differ by them.
        num_tasks: Personas to retrain on.
        first: Place of the first new persona, by size.
        last: Place after the last one.
        retraining_epochs: Passes over the turns of retraining.
        adapting_epochs: Passes over those of a new persona.
        every: Epochs of adapting from one look at the held-out turns to the next.
        most_turns: Of a persona, in training and among those held out.
    """

    arm: str
    seed: int
    retraining_rate: float
    adapting_rates: tuple[float, ...]
    num_tasks: int
    first: int
    last: int
    retraining_epochs: int
    adapting_epochs: int
    every: int
    most_turns: int


Found = Mapping[Cell, Mapping[str, Any]]


@dataclass(frozen=True)
class Protocol:
    """How much is tried.

    Attributes:
        retraining_rate: Largest learning rate of a base's schedule.
        adapting_rates: To choose from.
        tuning_seeds: Of the choice.
        final_seeds: Of the comparison.
        num_tasks: Personas to retrain on.
        num_new: Personas of the comparison.
        num_tuning: Personas of the choice, the next by size.
        retraining_epochs: Passes over the turns of retraining.
        adapting_epochs: Passes over those of a new persona.
        every: Epochs of adapting from one look at the held-out turns to the next.
        most_turns: Of a persona, in training and among those held out.
    """

    retraining_rate: float
    adapting_rates: tuple[float, ...]
    tuning_seeds: tuple[int, ...]
    final_seeds: tuple[int, ...]
    num_tasks: int
    num_new: int
    num_tuning: int
    retraining_epochs: int
    adapting_epochs: int
    every: int
    most_turns: int


FULL = Protocol(
    retraining_rate=5e-5,  # the released code's
    adapting_rates=(2e-4, 6e-4, 2e-3),
    tuning_seeds=(100,),
    final_seeds=(0, 1, 2),
    num_tasks=10,
    num_new=8,
    num_tuning=3,
    retraining_epochs=4,
    adapting_epochs=4,
    every=2,
    most_turns=32,
)

QUICK = Protocol(
    retraining_rate=5e-5,
    adapting_rates=(2e-3,),
    tuning_seeds=(100,),
    final_seeds=(0, 1),
    num_tasks=2,
    num_new=2,
    num_tuning=1,
    retraining_epochs=1,
    adapting_epochs=1,
    every=1,
    most_turns=4,
)


def tuning_cells(protocol: Protocol) -> list[Cell]:
    """Learning rates of adapting, after standard retraining."""
    new = (protocol.num_new, protocol.num_new + protocol.num_tuning)
    return [_cell(protocol, TUNED, seed, protocol.adapting_rates, new) for seed in protocol.tuning_seeds]


def final_cells(protocol: Protocol, found: Found) -> list[Cell]:
    """The comparison; the shortest cells come last, so that two processes end together."""
    rates, new = (chosen(protocol, found),), (0, protocol.num_new)
    return [_cell(protocol, arm, seed, rates, new) for arm in reversed(ARMS) for seed in protocol.final_seeds]


def chosen(protocol: Protocol, found: Found) -> float:
    """Return the learning rate of adapting in the final runs; of equals the lower."""
    tried = tuned(protocol, found)
    return max(sorted(tried), key=lambda rate: tried[rate]["below"])


def tuned(protocol: Protocol, found: Found) -> dict[float, dict[str, float]]:
    """Return what was measured for the choice by learning rate, means over seeds and personas."""
    cells = tuning_cells(protocol)
    return {
        rate: {name: fmean(of[name] for cell in cells for of in measured(found[cell], rate).values()) for name in MEASURES}
        for rate in protocol.adapting_rates
    }


def measured(row: Mapping[str, Any], adapting_rate: float) -> dict[str, dict[str, float]]:
    """Return what was measured of a base's models by persona."""
    return {one["persona"]: _measures(list(one["looks"].values())) for one in models(row, adapting_rate)}


def models(row: Mapping[str, Any], adapting_rate: float) -> Iterator[Mapping[str, Any]]:
    """Yield what is kept of a base's models at a learning rate, a persona each."""
    return (one for one in row["models"] if one["learning_rate"] == adapting_rate)


def _measures(looks: Sequence[Mapping[str, float]]) -> dict[str, float]:
    last = looks[-1]
    return {"last": last["accuracy"], "best": max(look["accuracy"] for look in looks), "below": last["below"]}


def _cell(protocol: Protocol, arm: str, seed: int, rates: tuple[float, ...], new: tuple[int, int]) -> Cell:
    lengths = (protocol.retraining_epochs, protocol.adapting_epochs, protocol.every, protocol.most_turns)
    return Cell(arm, seed, protocol.retraining_rate, rates, protocol.num_tasks, *new, *lengths)
