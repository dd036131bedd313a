"""Which runs are done, and how settings are chosen: as many runs for the baseline as for TempBalance, on the dev set.

| stage | baseline | TempBalance |
|---|---|---|
| coarse | three learning rates | the same runs: its learning rate is the best of them |
| fine | three learning rates around the best | three strengths at the best |
| final | the best of all six | the best of the three strengths; and the same with its multipliers shuffled |

A setting is as good as its mean accuracy over the tuning seeds; of equals, the one with the lower mean loss is taken. Final
runs have seeds, and so training sets, of their own, and are judged on the test set.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import fmean
from typing import Any

from analysis.tempbalance_low_data.training import EPOCHS, Run

ARMS = ("baseline", "tempbalance", "shuffled")

Found = Mapping[Run, Mapping[str, Any]]
Cell = tuple[str, int]  # task, number of examples
Setting = tuple[float, float]  # learning rate, strength


@dataclass(frozen=True)
class Protocol:
    """How much is tried.

    Attributes:
        cells: Tasks and sizes.
        learning_rates: Coarse grid.
        factors: Finer grid, as multiples of the best of the coarse one.
        strengths: Of TempBalance.
        tuning_seeds: Two training sets to tune on.
        final_seeds: Of the comparison.
        epochs: Passes over the examples, by size.
    """

    cells: tuple[Cell, ...]
    learning_rates: tuple[float, ...]
    factors: tuple[float, ...]
    strengths: tuple[float, ...]
    tuning_seeds: tuple[int, ...]
    final_seeds: tuple[int, ...]
    epochs: Mapping[int, int]


FULL = Protocol(
    cells=(("books", 64), ("books", 256), ("RTE", 64), ("RTE", 256)),
    learning_rates=(5e-5, 1e-4, 2e-4),
    # Towards larger ones too: the multipliers' arithmetic mean is above 1, which alone may help.
    factors=(0.7, 1.4, 1.8),
    strengths=(0.5, 1.0, 2.0),  # of the range that arXiv 2410.12178 reports, 0.25 to 2
    tuning_seeds=(100, 101),
    final_seeds=tuple(range(5)),
    epochs=EPOCHS,
)

QUICK = Protocol(
    cells=(("books", 32),),
    learning_rates=(1e-4,),
    factors=(1.5,),
    strengths=(1.0,),
    tuning_seeds=(100,),
    final_seeds=(0, 1),
    epochs={32: 1},
)


def coarse_runs(protocol: Protocol, found: Found) -> list[Run]:
    """Learning rates of the baseline."""
    return [
        run
        for cell in protocol.cells
        for rate in protocol.learning_rates
        for run in _tuning(protocol, cell, "baseline", (rate, 0))
    ]


def finer_runs(protocol: Protocol, found: Found) -> list[Run]:
    """Learning rates around the best coarse one."""
    return [
        run
        for cell in protocol.cells
        for at in _finer(protocol, cell, found)
        for run in _tuning(protocol, cell, "baseline", at)
    ]


def balanced_runs(protocol: Protocol, found: Found) -> list[Run]:
    """Strengths of TempBalance at the best coarse learning rate."""
    return [
        run
        for cell in protocol.cells
        for at in _strengths(protocol, cell, found)
        for run in _tuning(protocol, cell, "tempbalance", at)
    ]


def final_runs(protocol: Protocol, found: Found) -> list[Run]:
    """The comparison."""
    return [
        Run(task, size, arm, *chosen(protocol, (task, size), arm, found), seed, "test", protocol.epochs[size])
        for task, size in protocol.cells
        for arm in ARMS
        for seed in protocol.final_seeds
    ]


def chosen(protocol: Protocol, cell: Cell, arm: str, found: Found) -> Setting:
    """Return the learning rate and the strength of an arm's final runs."""
    if arm == "baseline":
        return _best(protocol, cell, arm, [*_coarse(protocol), *_finer(protocol, cell, found)], found)
    return _best(protocol, cell, "tempbalance", _strengths(protocol, cell, found), found)


def tuned(protocol: Protocol, cell: Cell, found: Found) -> list[tuple[str, Setting, float]]:
    """List what was tried on the dev set: arm, setting, mean accuracy."""
    tried = [("baseline", at) for at in (*_coarse(protocol), *_finer(protocol, cell, found))]
    tried += [("tempbalance", at) for at in _strengths(protocol, cell, found)]
    return [(arm, at, -_badness(protocol, cell, arm, at, found)[0]) for arm, at in tried]


def _coarse(protocol: Protocol) -> list[Setting]:
    return [(rate, 0.0) for rate in protocol.learning_rates]


def _finer(protocol: Protocol, cell: Cell, found: Found) -> list[Setting]:
    best, _ = _best(protocol, cell, "baseline", _coarse(protocol), found)
    return [(float(f"{factor * best:.3g}"), 0.0) for factor in protocol.factors]


def _strengths(protocol: Protocol, cell: Cell, found: Found) -> list[Setting]:
    best, _ = _best(protocol, cell, "baseline", _coarse(protocol), found)
    return [(best, strength) for strength in protocol.strengths]


def _best(protocol: Protocol, cell: Cell, arm: str, settings: Iterable[Setting], found: Found) -> Setting:
    return min(settings, key=lambda setting: _badness(protocol, cell, arm, setting, found))


def _badness(protocol: Protocol, cell: Cell, arm: str, setting: Setting, found: Found) -> tuple[float, float]:
    rows = [found[run] for run in _tuning(protocol, cell, arm, setting)]
    return -fmean(row["accuracy"] for row in rows), fmean(row["loss"] for row in rows)


def _tuning(protocol: Protocol, cell: Cell, arm: str, setting: Setting) -> list[Run]:
    task, size = cell
    rate, strength = setting
    return [Run(task, size, arm, rate, float(strength), seed, "dev", protocol.epochs[size]) for seed in protocol.tuning_seeds]
