"""Which cells are run, and in which order: at each point what is done is a study by itself.

| stage | cells | judged on |
|---|---|---|
| tuning | the methods that are tuned, three learning rates for each size and adapter, two tasks, a seed of its own | dev |
| final | seed by seed: small sizes first, all tasks, adapters and methods at the rates chosen | test |
| longer | seed by seed: plain fine-tuning with as many steps as DCS has with its teacher | test |

A learning rate is as good as its mean accuracy over the tuning tasks; of equals, the one with the lower mean loss is taken.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from analysis.low_data_finetuning.methods import ADAPTERS, FULL, LORA, METHODS, TUNED, TWICE, passes, rate_of

DEV, TEST = "dev", "test"
BATCH_SIZE = 8


@dataclass(frozen=True)
class Cell:
    """What decides a run.

    Attributes:
        task: One of ``data.TASKS``.
        size: Training examples.
        adapter: ``"full"`` or ``"LoRA"``.
        method: One of ``methods.METHODS``.
        learning_rate: At its highest.
        seed: Of everything that is random, the draw of the examples included.
        split: ``"dev"`` or ``"test"``: where the model is judged.
        epochs: Passes over the examples.
        max_length: Tokens that texts are cut to.
        num_judged: Most rows that models are judged on.
    """

    task: str
    size: int
    adapter: str
    method: str
    learning_rate: float
    seed: int
    split: str
    epochs: int
    max_length: int
    num_judged: int

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass."""
        return -(-self.size // BATCH_SIZE)


Found = Mapping[Cell, Mapping[str, Any]]
Group = tuple[str, int, str]  # method, size, adapter: what a learning rate is chosen for


@dataclass(frozen=True)
class Protocol:
    """How much is tried.

    Attributes:
        tasks: Of the comparison.
        tuning_tasks: Those that learning rates are chosen on.
        sizes: Training examples, small ones first.
        learning_rates: Tried, by adapter.
        tuning_seed: Of the choice.
        final_seeds: Of the comparison.
        epochs: Passes over the examples, by size.
        max_length: Tokens that texts are cut to.
        num_judged: Most rows that models are judged on.
    """

    tasks: tuple[str, ...]
    tuning_tasks: tuple[str, ...]
    sizes: tuple[int, ...]
    learning_rates: Mapping[str, tuple[float, ...]]
    tuning_seed: int
    final_seeds: tuple[int, ...]
    epochs: Mapping[int, int]
    max_length: int
    num_judged: int


STUDY = Protocol(
    tasks=("SST-2", "RTE", "books", "kitchen"),
    tuning_tasks=("SST-2", "books"),
    sizes=(64, 256),
    learning_rates={FULL: (5e-5, 1e-4, 2e-4), LORA: (1e-3, 2e-3, 4e-3)},
    tuning_seed=100,
    final_seeds=tuple(range(5)),
    # At least four: the first is the warm-up of DCS, and its weights after the last act no more.
    epochs={64: 5, 256: 4, 1024: 4},
    max_length=32,
    num_judged=300,
)

QUICK = Protocol(
    tasks=("RTE",),
    tuning_tasks=("RTE",),
    sizes=(16,),
    learning_rates={FULL: (1e-4, 2e-4), LORA: (1e-3,)},
    tuning_seed=100,
    final_seeds=(0, 1),
    epochs={16: 2},
    max_length=16,
    num_judged=16,
)


def tuning_cells(protocol: Protocol) -> list[Cell]:
    """Learning rates, small sizes first."""
    return [
        cell
        for group in _groups(protocol)
        for rate in protocol.learning_rates[group[2]]
        for cell in _tuning(protocol, group, rate)
    ]


def final_cells(protocol: Protocol, found: Found) -> list[Cell]:
    """The comparison, as far as learning rates are chosen; :func:`longer_cells` are not among them."""
    return _compared(protocol, found, [method for method in METHODS if method != TWICE])


def longer_cells(protocol: Protocol, found: Found) -> list[Cell]:
    """Plain fine-tuning with as many steps as DCS has with its teacher."""
    return _compared(protocol, found, [TWICE])


def chosen(protocol: Protocol, group: Group, found: Found) -> float | None:
    """Return the learning rate of a method, size and adapter; ``None`` as long as not all have been tried."""
    method, size, adapter = group
    group = (rate_of(method), size, adapter)
    rates = protocol.learning_rates[adapter]
    tried = {rate: [found.get(cell) for cell in _tuning(protocol, group, rate)] for rate in rates}
    if any(row is None for rows in tried.values() for row in rows):
        return None
    return min(rates, key=lambda rate: (-_mean(tried[rate], "accuracy"), _mean(tried[rate], "loss")))


def tuned(protocol: Protocol, group: Group, found: Found) -> dict[float, float]:
    """Return the mean accuracy on dev of each learning rate of which all cells are there."""
    rows = {rate: [found.get(cell) for cell in _tuning(protocol, group, rate)] for rate in protocol.learning_rates[group[2]]}
    return {rate: _mean(of_rate, "accuracy") for rate, of_rate in rows.items() if None not in of_rate}


def _mean(rows: Any, name: str) -> float:
    return fmean(row[name] for row in rows)


def _groups(protocol: Protocol) -> list[Group]:
    return [(method, size, adapter) for size in protocol.sizes for adapter in ADAPTERS for method in TUNED]


def _tuning(protocol: Protocol, group: Group, rate: float) -> list[Cell]:
    return [_cell(protocol, task, group, rate, protocol.tuning_seed, DEV) for task in protocol.tuning_tasks]


def _compared(protocol: Protocol, found: Found, methods: list[str]) -> list[Cell]:
    groups = [(method, size, adapter) for size in protocol.sizes for adapter in ADAPTERS for method in methods]
    rates = {group: chosen(protocol, group, found) for group in groups}
    return [
        _cell(protocol, task, group, rate, seed, TEST)
        for seed in protocol.final_seeds
        for size in protocol.sizes
        for task in protocol.tasks
        for group, rate in rates.items()
        if rate is not None and group[1] == size
    ]


def _cell(protocol: Protocol, task: str, group: Group, rate: float, seed: int, split: str) -> Cell:
    method, size, adapter = group
    epochs = passes(method) * protocol.epochs[size]
    return Cell(task, size, adapter, method, rate, seed, split, epochs, protocol.max_length, protocol.num_judged)
