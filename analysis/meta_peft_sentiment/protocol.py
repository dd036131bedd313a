"""Which bases are retrained and adapted: learning rates are chosen on dev sets with a seed of its own, for each method alone.

| stage | bases of a cell | adapted | judged on |
|---|---|---|---|
| tuning | one method, at each of three rates | each with every number of samples, at each of two rates | dev |
| final | all methods, at the best rate of each | with every number of samples, at the best rate of method and number | test |

A rate of retraining is as good as what comes of it: the mean accuracy over domains and numbers of samples, each adapted at the
better of its two rates. Of equals, the one with the lower mean loss is taken. The pretrained base is not retrained, and adapted
at as many rates as there are bases and rates of another method.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any

PRETRAINED, STANDARD, REPTILE, LORA_ML = "pretrained", "SR", "Reptile", "LoRA-ML"
DOMAINS = ("airline", "books", "dvd", "electronics", "kitchen")  # each is held out in turn
METHODS = (PRETRAINED, STANDARD, REPTILE, LORA_ML)
RETRAINED = METHODS[1:]
SIZES = (16, 64, 256)  # samples of the domain that was held out
NO_RATE = 0.0  # of the base that is not retrained

Adapting = tuple[str, float, int, float]  # method, rate of retraining, samples, rate of adapting


@dataclass(frozen=True)
class Cell:
    """Bases that are retrained on all domains but one, and what becomes of them on that one.

    Attributes:
        held_out: The domain.
        seed: Of everything that is random.
        split: ``"dev"`` or ``"test"``: where models are judged.
        adaptings: Which models, of which bases.
        num_rows: Rows of each domain in retraining.
        epochs: Passes over them.
        adapting_steps: Steps of each adapting.
        num_judged: Rows that models are judged on, at most.
        keeps_shifts: Whether the spectra of all matrices are kept, for the figure.
    """

    held_out: str
    seed: int
    split: str
    adaptings: tuple[Adapting, ...]
    num_rows: int
    epochs: int
    adapting_steps: int
    num_judged: int
    keeps_shifts: bool = False

    @property
    def bases(self) -> list[tuple[str, float]]:
        """Methods and rates of the bases that the models are made of."""
        return list(dict.fromkeys((method, rate) for method, rate, _, _ in self.adaptings))


Found = Mapping[Cell, Mapping[str, Any]]


@dataclass(frozen=True)
class Protocol:
    """How much is tried.

    Attributes:
        tuning_domains: Held out while tuning.
        retraining_rates: Tried for each method.
        adapting_rates: Tried for each method and number of samples.
        pretrained_rates: The same for the pretrained base.
        tuning_seed: Of the choice.
        final_seeds: Of the comparison.
        num_rows: Rows of each domain in retraining.
        epochs: Passes over them.
        adapting_steps: Steps of each adapting.
        num_judged: Rows of a test.
    """

    tuning_domains: tuple[str, ...]
    retraining_rates: tuple[float, ...]
    adapting_rates: tuple[float, ...]
    pretrained_rates: tuple[float, ...]
    tuning_seed: int
    final_seeds: tuple[int, ...]
    num_rows: int
    epochs: int
    adapting_steps: int
    num_judged: int

    def tried(self, method: str) -> list[tuple[float, tuple[float, ...]]]:
        """Return what is tried for a method: rates of retraining, and of adapting what comes of it."""
        if method == PRETRAINED:
            return [(NO_RATE, self.pretrained_rates)]
        return [(rate, self.adapting_rates) for rate in self.retraining_rates]


FULL = Protocol(
    tuning_domains=("books", "kitchen"),
    retraining_rates=(1e-4, 2e-4, 4e-4),
    adapting_rates=(2.5e-4, 1e-3),
    pretrained_rates=(1.25e-4, 2.5e-4, 5e-4, 1e-3, 2e-3, 4e-3),
    tuning_seed=100,
    final_seeds=(0, 1, 2),
    num_rows=128,
    epochs=2,
    adapting_steps=32,
    num_judged=400,
)

QUICK = Protocol(
    tuning_domains=("books",),
    retraining_rates=(1e-4, 4e-4),
    adapting_rates=(1e-3,),
    pretrained_rates=(1e-3, 4e-3),
    tuning_seed=100,
    final_seeds=(0, 1),
    num_rows=4,
    epochs=1,
    adapting_steps=1,
    num_judged=8,
)


def tuning_cells(protocol: Protocol) -> list[Cell]:
    """Rates, of one method in each cell."""
    return [_tuning_cell(protocol, domain, method) for domain in protocol.tuning_domains for method in METHODS[::-1]]


def final_cells(protocol: Protocol, found: Found) -> list[Cell]:
    """The comparison."""
    best = [chosen(protocol, method, found) for method in METHODS]
    adaptings = [
        (method, rate, size, of_size[size]) for method, (rate, of_size) in zip(METHODS, best, strict=True) for size in SIZES
    ]
    cells = [(seed, domain) for seed in protocol.final_seeds for domain in DOMAINS]
    return [_cell(protocol, domain, seed, "test", adaptings, (seed, domain) == cells[0]) for seed, domain in cells]


def chosen(protocol: Protocol, method: str, found: Found) -> tuple[float, dict[int, float]]:
    """Return the rate of a method's retraining, and those of adapting by number of samples."""
    best = {
        rate: {size: min(rates, key=lambda at: _badness(protocol, (method, rate, size, at), found)) for size in SIZES}
        for rate, rates in protocol.tried(method)
    }

    def badness(rate: float) -> tuple[float, float]:
        parts = [_badness(protocol, (method, rate, size, at), found) for size, at in best[rate].items()]
        return fmean(part[0] for part in parts), fmean(part[1] for part in parts)

    rate = min(best, key=badness)
    return rate, best[rate]


def on_dev(protocol: Protocol, adapting: Adapting, found: Found) -> float:
    """Return the mean accuracy of models that were tried."""
    return -_badness(protocol, adapting, found)[0]


def model(models: Iterable[Mapping[str, Any]], adapting: Adapting) -> Mapping[str, Any]:
    """Find what was measured of a model."""
    return next(one for one in models if (one["method"], one["rate"], one["size"], one["adapting rate"]) == adapting)


def _badness(protocol: Protocol, adapting: Adapting, found: Found) -> tuple[float, float]:
    cells = [_tuning_cell(protocol, domain, adapting[0]) for domain in protocol.tuning_domains]
    models = [model(found[cell]["models"], adapting) for cell in cells]
    return -fmean(one["accuracy"] for one in models), fmean(one["loss"] for one in models)


def _tuning_cell(protocol: Protocol, domain: str, method: str) -> Cell:
    adaptings = [(method, rate, size, at) for rate, rates in protocol.tried(method) for size in SIZES for at in rates]
    return _cell(protocol, domain, protocol.tuning_seed, "dev", adaptings)


def _cell(
    protocol: Protocol, domain: str, seed: int, split: str, adaptings: Sequence[Adapting], keeps_shifts: bool = False
) -> Cell:
    numbers = (protocol.num_rows, protocol.epochs, protocol.adapting_steps, protocol.num_judged)
    return Cell(domain, seed, split, tuple(adaptings), *numbers, keeps_shifts)
