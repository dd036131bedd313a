"""Which runs are done: a learning rate is chosen for plain fine-tuning on the dev set, and used by all.

| stage | runs | judged on |
|---|---|---|
| tuning | ``plain``, three learning rates, clean labels, seeds of their own | dev |
| final | all arms at the best of them, clean labels and some flipped | test |

A learning rate is as good as its mean accuracy over the tuning seeds; of equals, the one with the lower mean loss is taken.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

ARMS = ("plain", "plain-twice", "uniform", "dcs", "literal-adaboost")
DISTILLED = ("uniform", "dcs", "literal-adaboost")
WEIGHTED = ("dcs", "literal-adaboost")
CONDITIONS = ("clean", "flipped")


@dataclass(frozen=True)
class Cell:
    """Runs that share everything but the method: examples, flips, the head's first weights, order, dropout masks, teacher.

    Attributes:
        task: ``"books"`` or ``"RTE"``.
        condition: ``"clean"``, or ``"flipped"``: some labels are wrong.
        seed: Of everything that is random.
        learning_rate: The largest of the schedule.
        arms: Which runs, in this order.
        split: ``"dev"`` or ``"test"``: where models are judged.
        size: Number of training examples.
        epochs: Passes over them.
        num_judged: Examples that models are judged on, at most.
    """

    task: str
    condition: str
    seed: int
    learning_rate: float
    arms: tuple[str, ...]
    split: str
    size: int
    epochs: int
    num_judged: int

    @property
    def has_teacher(self) -> bool:
        """Whether any arm learns from one."""
        return any(arm in DISTILLED for arm in self.arms)


Found = Mapping[Cell, Mapping[str, Any]]


@dataclass(frozen=True)
class Protocol:
    """How much is tried.

    Attributes:
        learning_rates: Of ``plain``.
        tuning_seeds: Training sets to tune on.
        final_seeds: Of the comparison.
        size: Number of training examples.
        epochs: Passes over them.
        num_judged: Examples that models are judged on, at most.
        tasks: Of ``tempbalance_low_data``.
    """

    learning_rates: tuple[float, ...]
    tuning_seeds: tuple[int, ...]
    final_seeds: tuple[int, ...]
    size: int
    epochs: int
    num_judged: int = 500
    tasks: tuple[str, ...] = ("books", "RTE")


FULL = Protocol(
    learning_rates=(5e-5, 1e-4, 2e-4),
    tuning_seeds=(100, 101),
    final_seeds=tuple(range(5)),
    size=256,
    # The fewest that leave DCS two rounds which matter: the first is its warm-up, the last comes after all training.
    epochs=4,
)

QUICK = Protocol(
    learning_rates=(1e-4,), tuning_seeds=(100,), final_seeds=(0, 1), size=16, epochs=2, num_judged=16
)  # fmt: skip


def tuning_cells(protocol: Protocol) -> list[Cell]:
    """Learning rates of plain fine-tuning."""
    return [cell for task in protocol.tasks for rate in protocol.learning_rates for cell in _tuning(protocol, task, rate)]


def final_cells(protocol: Protocol, found: Found) -> list[Cell]:
    """The comparison."""
    return [
        _cell(protocol, task, condition, seed, chosen(protocol, task, found), ARMS, "test")
        for seed in protocol.final_seeds
        for task in protocol.tasks
        for condition in CONDITIONS
    ]


def chosen(protocol: Protocol, task: str, found: Found) -> float:
    """Return the learning rate of a task's final runs."""
    return min(protocol.learning_rates, key=lambda rate: _badness(protocol, task, rate, found))


def tuned(protocol: Protocol, task: str, found: Found) -> list[tuple[float, float]]:
    """List what was tried on the dev set: learning rate, mean accuracy."""
    return [(rate, -_badness(protocol, task, rate, found)[0]) for rate in protocol.learning_rates]


def _badness(protocol: Protocol, task: str, rate: float, found: Found) -> tuple[float, float]:
    rows = [found[cell]["models"]["plain"] for cell in _tuning(protocol, task, rate)]
    return -_mean(rows, "accuracy"), _mean(rows, "loss")


def _mean(rows: Iterable[Mapping[str, float]], name: str) -> float:
    return fmean(row[name] for row in rows)


def _tuning(protocol: Protocol, task: str, rate: float) -> list[Cell]:
    return [_cell(protocol, task, "clean", seed, rate, ("plain",), "dev") for seed in protocol.tuning_seeds]


def _cell(protocol: Protocol, task: str, condition: str, seed: int, rate: float, arms: tuple[str, ...], split: str) -> Cell:
    return Cell(task, condition, seed, rate, arms, split, protocol.size, protocol.epochs, protocol.num_judged)
