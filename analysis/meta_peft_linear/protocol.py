"""Which settings are looked at: a base setting, each of its parameters varied alone, and adapters of too high a rank.

Settings of one shape (all but the numbers of samples and their noise) make a cell: they, and all seeds, are computed at once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace

JOINT, ALTERNATING = "joint", "alternating"


@dataclass(frozen=True)
class Setting:
    """One line of a table.

    Attributes:
        d: Number of inputs and of outputs.
        T: Tasks to retrain on.
        N: Samples of each; ``None`` for infinitely many.
        n: Samples of the new task.
        k: Rank of the difference between a task and the base.
        noise: Standard deviation of the noise, the paper's sigma.
        q: Rank of the adapters while retraining; 0 stands for k.
        schedule: Of LoRA-ML: ``alternating`` or ``joint``.
        length: Steps of retraining, as a multiple of the released number.
    """

    d: int = 10
    T: int = 3
    N: int | None = 5000
    n: int = 100
    k: int = 1
    noise: float = 0.1
    q: int = 0
    schedule: str = ALTERNATING
    length: int = 1

    @property
    def retraining_rank(self) -> int:
        """The rank of the adapters while retraining."""
        return self.q or self.k

    @property
    def paper_rank(self) -> int:
        """The rank of the adapter of the new task in the paper."""
        return self.k if self.T > 2 else 3 * self.k

    @property
    def separating_rank(self) -> int:
        """The rank that the theory says the base of standard retraining needs."""
        return min(self.k * (self.T + 1), self.d)

    @property
    def ranks(self) -> list[int]:
        """The ranks of the adapters of the new task that are tried."""
        return sorted({self.k, self.retraining_rank, self.paper_rank, self.separating_rank})

    @property
    def shape(self) -> Setting:
        """What settings of one cell share."""
        return replace(self, N=None, n=0, noise=0.0)


@dataclass(frozen=True)
class Cell:
    """Settings of one shape.

    Attributes:
        settings: Which.
        num_seeds: Problems, each with samples and starts of its own.
        adapter_steps: Steps of the adapters while retraining.
        steps: Steps of the new task's adapter after which its risk is taken, growing.
    """

    settings: tuple[Setting, ...]
    num_seeds: int
    adapter_steps: int
    steps: tuple[int, ...]


@dataclass(frozen=True)
class Protocol:
    """How much is done.

    Attributes:
        num_seeds: Problems.
        adapter_steps: Of retraining, of length 1; the released schedule has 3,000 rounds of 10.
        steps: Of fine-tuning, as in :class:`Cell`.
    """

    num_seeds: int
    adapter_steps: int
    steps: tuple[int, ...]


FULL = Protocol(
    num_seeds=10,
    adapter_steps=30_000,
    steps=tuple(round(10 ** (power / 6)) for power in range(6, 25)),  # 10 to 10,000
)
QUICK = Protocol(num_seeds=2, adapter_steps=20, steps=(1, 5))

BASE = Setting()
PANELS: dict[str, list[Setting]] = {
    "d": [replace(BASE, d=d) for d in (5, 10, 20)],
    "T": [replace(BASE, T=T) for T in (2, 3, 5, 10)],
    "N": [replace(BASE, N=N) for N in (100, 1000, 10_000)],
    "n": [replace(BASE, n=n) for n in (10, 100, 1000, 10_000)],
    "k": [replace(BASE, k=k) for k in (1, 2, 3)],
}
POPULATION = [replace(setting, N=None) for name in ("d", "T", "k") for setting in PANELS[name]]
RELEASED_NOISE = replace(BASE, noise=0.01)  # the released script draws it with standard deviation sigma squared
SCHEDULES = [replace(BASE, N=N, schedule=JOINT) for N in (BASE.N, None)]
# Longer where descent is slow: with too high a rank, and where the tasks' directions nearly fill the space.
OVERSPECIFIED = [replace(BASE, T=T, N=N, q=q, length=5) for T in (3, 5, 10) for q in (2, 3) for N in (BASE.N, None)]
LONG = [replace(BASE, N=N, length=10, d=d, k=k) for d, k in ((5, 1), (10, 3)) for N in (BASE.N, None)]
ALL = [*(of for panel in PANELS.values() for of in panel), *POPULATION, RELEASED_NOISE, *SCHEDULES, *OVERSPECIFIED, *LONG]


def cells(protocol: Protocol, settings: Iterable[Setting] = ALL) -> list[Cell]:
    """Gather settings by their shape, those that take longest first."""
    by_shape: dict[Setting, dict[Setting, None]] = {}
    for setting in settings:
        by_shape.setdefault(setting.shape, {})[setting] = None
    found = [
        Cell(tuple(of), protocol.num_seeds, protocol.adapter_steps * shape.length, protocol.steps)
        for shape, of in by_shape.items()
    ]
    return sorted(found, key=lambda cell: -cell.adapter_steps * cell.settings[0].T * len(cell.settings))
