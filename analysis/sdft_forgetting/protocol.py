"""Which models are trained: learning rates are chosen for tuning on the original responses, and used by all.

| stage | models of a seed |
|---|---|
| tuning | ``vanilla`` and ``sdft`` with each adapter at three learning rates, seeds of their own |
| final | each adapter at the best of its three, with the responses of each arm |

What is learned at a higher learning rate is paid for by what is forgotten. The lowest counts at which the mean accuracy of
``vanilla`` on new sums, over the tuning seeds, is hardly below the best.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

ARMS = ("vanilla", "mix", "sdft")
MIX_RATIO = {"mix": 0.5, "sdft": 1.0}
TRIED = ("vanilla", "sdft")  # at all learning rates; chosen for the first
ADAPTERS = ("rank 2", "rank 32", "full")
BATCH_SIZE = 16
TOLERANCE = 0.05  # below the best accuracy

Tuning = tuple[str, str, float]  # adapter, arm, the largest learning rate of the schedule


@dataclass(frozen=True)
class Cell:
    """A model before tuning, and those that are made of it.

    Attributes:
        seed: Of everything that is random.
        tunings: Which models are made of it.
        base_steps: Steps before tuning.
        num_taught: Examples to tune on.
        epochs: Passes over them.
        num_judged: Questions of each test.
    """

    seed: int
    tunings: tuple[Tuning, ...]
    base_steps: int
    num_taught: int
    epochs: int
    num_judged: int


Found = Mapping[Cell, Mapping[str, Any]]


@dataclass(frozen=True)
class Protocol:
    """How much is tried.

    Attributes:
        learning_rates: By adapter, growing.
        tuning_seeds: Of the choice.
        final_seeds: Of the comparison.
        base_steps: Steps before tuning.
        num_taught: Examples to tune on.
        epochs: Passes over them.
        num_judged: Questions of each test.
    """

    learning_rates: Mapping[str, tuple[float, ...]]
    tuning_seeds: tuple[int, ...]
    final_seeds: tuple[int, ...]
    base_steps: int
    num_taught: int
    epochs: int
    num_judged: int


FULL = Protocol(
    learning_rates={"rank 2": (1e-2, 2e-2, 4e-2), "rank 32": (1e-3, 2e-3, 4e-3), "full": (5e-4, 1e-3, 2e-3)},
    tuning_seeds=(100, 101),
    final_seeds=tuple(range(10)),
    base_steps=1200,
    num_taught=480,
    epochs=10,
    num_judged=200,
)

QUICK = Protocol(
    learning_rates={"rank 2": (1e-2,), "rank 32": (3e-3,), "full": (1e-3,)},
    tuning_seeds=(100,),
    final_seeds=(0, 1),
    base_steps=2,
    num_taught=16,
    epochs=1,
    num_judged=4,
)


def tuning_cells(protocol: Protocol) -> list[Cell]:
    """Learning rates."""
    rates = protocol.learning_rates
    tunings = [(adapter, arm, rate) for adapter in ADAPTERS for rate in rates[adapter] for arm in TRIED]
    return [_cell(protocol, seed, tunings) for seed in protocol.tuning_seeds]


def final_cells(protocol: Protocol, found: Found) -> list[Cell]:
    """The comparison."""
    tunings = [(adapter, arm, chosen(protocol, adapter, found)) for adapter in ADAPTERS for arm in ARMS]
    return [_cell(protocol, seed, tunings) for seed in protocol.final_seeds]


def chosen(protocol: Protocol, adapter: str, found: Found) -> float:
    """Return the learning rate of an adapter's final runs."""
    accuracies = {
        rate: tried(protocol, (adapter, TRIED[0], rate), "target", found) for rate in protocol.learning_rates[adapter]
    }
    return min(rate for rate, accuracy in accuracies.items() if accuracy >= max(accuracies.values()) - TOLERANCE)


def tried(protocol: Protocol, tuning: Tuning, measure: str, found: Found) -> float:
    """Return the mean of a measure over the tuning seeds."""
    return fmean(model(found[cell]["models"], tuning)[measure] for cell in tuning_cells(protocol))


def model(models: Sequence[Mapping[str, Any]], tuning: Tuning) -> Mapping[str, Any]:
    """Find what was measured of a model."""
    return next(one for one in models if (one["adapter"], one["arm"], one["learning_rate"]) == tuning)


def _cell(protocol: Protocol, seed: int, tunings: list[Tuning]) -> Cell:
    return Cell(seed, tuple(tunings), protocol.base_steps, protocol.num_taught, protocol.epochs, protocol.num_judged)
