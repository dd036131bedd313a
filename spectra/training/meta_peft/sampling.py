"""Which tasks a step of retraining takes, and which of their rows: plain arithmetic on numbers of rows.

============================ =========================================================================================
tasks are taken              an epoch ends
============================ =========================================================================================
in turn (``round_robin``)    when every row of every task was seen once (``drop``), or when the longest task was seen
                             whole and all others as often (``restart``)
drawn (all others)           when every row of every task was seen once (``drop``), or after as many batches as all
                             tasks have together (``restart``)
============================ =========================================================================================

Source: Block et al. (2025), arXiv 2410.22264, whose text leaves the order of tasks open. Round robin until all tasks are seen
whole is that of the released code, which ends a round early when a task turns out to have no batch left; ours goes on with the
next task. Drawing tasks in proportion to a power of their sizes is usual in multi-task training.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from spectra.errors import InputError
from spectra.policies.drop_prob import chosen


class TaskSampling(StrEnum):
    """Which tasks come next."""

    ROUND_ROBIN = "round_robin"
    """All in turn, in their order: the released code's."""
    PROPORTIONAL = "proportional"
    """Drawn, with probabilities like their numbers of rows."""
    UNIFORM = "uniform"
    """Drawn, all with one probability."""
    TEMPERATURE = "temperature"
    """Drawn, with probabilities like their numbers of rows to the power of 1 / temperature."""


class Exhausted(StrEnum):
    """What becomes of a task whose rows were all seen in this epoch."""

    DROP = "drop"
    """It is not taken any more."""
    RESTART = "restart"
    """It begins again, in a new order."""


@dataclass(frozen=True)
class Part:
    """The rows that one task contributes to one step.

    Attributes:
        task: Its place among the tasks.
        indices: Places of the rows in the task's data; of this process only.
        share: What the mean loss of these rows counts. The average over processes of share times mean loss is the mean over
            all rows of the part. A process for which no row is left takes one of another's, with a share of 0, so that all
            processes do the same work.
    """

    task: int
    indices: tuple[int, ...]
    share: float


class StepSampler:
    """The steps of an epoch, each a list of parts of different tasks; a ``batch_sampler`` for a ``DataLoader``.

    What comes depends on the arguments and the number of the epoch alone: it is the same on all processes (each takes its own
    rows of every part), and the same again when a run is resumed in the middle of an epoch. All epochs are as long: where the
    number of steps depends on which tasks are drawn together (several in a step, and dropped when they are exhausted), they
    are drawn once for all epochs, and rows anew in each.

    Args:
        sizes: Number of rows of each task.
        batch_size: Rows of a part over all processes; the last one of a task may have fewer.
        tasks_per_step: Most tasks of a step, all different; fewer at the end, when fewer are left. Default 1: the released
            code for text. All of them: the released code for images.
        sampling: Which tasks come next; see :class:`TaskSampling`.
        temperature: Of ``sampling="temperature"``: 1 is ``"proportional"``, the larger the closer to ``"uniform"``.
        on_exhausted: See :class:`Exhausted`. Default: ``"drop"`` in round robin, as the released code, else ``"restart"``,
            because dropping tasks would change the probabilities that were asked for.
        seed: Of all draws.
        rank: Which process this is.
        num_processes: How many there are.

    Raises:
        InputError: An argument that cannot be.

    Example:
        >>> for step in StepSampler([3, 2], batch_size=2):
        ...     print([(part.task, part.indices) for part in step])
        [(0, (1, 2))]
        [(1, (1, 0))]
        [(0, (0,))]
    """

    def __init__(
        self,
        sizes: Sequence[int],
        batch_size: int,
        *,
        tasks_per_step: int = 1,
        sampling: str = TaskSampling.ROUND_ROBIN,
        temperature: float = 1.0,
        on_exhausted: str | None = None,
        seed: int = 0,
        rank: int = 0,
        num_processes: int = 1,
    ) -> None:
        self.sizes = tuple(sizes)
        self.batch_size = batch_size
        self.tasks_per_step = tasks_per_step
        self.sampling = TaskSampling(chosen(sampling, TaskSampling, "sampling"))
        self.temperature = temperature
        default = Exhausted.DROP if self.sampling is TaskSampling.ROUND_ROBIN else Exhausted.RESTART
        self.on_exhausted = Exhausted(chosen(default if on_exhausted is None else on_exhausted, Exhausted, "on_exhausted"))
        self.seed = seed
        self.rank = rank
        self.num_processes = num_processes
        self.epoch = 0
        self._check()

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is iterated over.

        Args:
            epoch: Its number, from 0.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        """Count the steps of an epoch."""
        return sum(1 for _ in self._tasks())

    def __iter__(self) -> Iterator[list[Part]]:
        batches = [self._batches(task) for task in range(len(self.sizes))]
        for tasks in self._tasks():
            yield [self._own(task, next(batches[task])) for task in tasks]

    def _check(self) -> None:
        empty = [str(task) for task, size in enumerate(self.sizes) if size < 1]
        faults = [
            (not self.sizes, "sizes: expected at least one task."),
            (bool(empty), f"sizes: no rows in task {', '.join(empty)} (counted from 0). Leave it out."),
            (
                not 1 <= self.tasks_per_step <= max(1, len(self.sizes)),
                f"tasks_per_step: expected 1 to {len(self.sizes)}, the number of tasks, got {self.tasks_per_step}.",
            ),
            (self.num_processes < 1, f"num_processes: expected at least 1, got {self.num_processes}."),
            (
                not 0 <= self.rank < max(1, self.num_processes),
                f"rank: expected 0 to {self.num_processes - 1}, got {self.rank}.",
            ),
            (
                self.batch_size < max(1, self.num_processes),
                f"batch_size: expected at least {max(1, self.num_processes)}, a row for each process, got {self.batch_size}.",
            ),
            (not self.temperature > 0, f"temperature: expected a number above 0, got {self.temperature}."),
            (
                self.temperature != 1 and self.sampling is not TaskSampling.TEMPERATURE,
                f"temperature: counts with sampling 'temperature' only, got sampling '{self.sampling}'.",
            ),
            (self.seed < 0, f"seed: expected at least 0, got {self.seed}."),
        ]
        found = [fault for is_there, fault in faults if is_there]
        if found:
            raise InputError(" ".join(found))

    def _tasks(self) -> Iterator[tuple[int, ...]]:
        """Yield the tasks of every step."""
        lengths = [math.ceil(size / self.batch_size) for size in self.sizes]
        choose = self._in_turn() if self.sampling is TaskSampling.ROUND_ROBIN else self._drawn()
        if self.on_exhausted is Exhausted.DROP:
            yield from _until_empty(lengths, choose)
        elif self.sampling is TaskSampling.ROUND_ROBIN:
            yield from _until_empty([max(lengths)] * len(lengths), choose)
        else:
            everything = range(len(lengths))
            yield from (choose(everything) for _ in range(math.ceil(sum(lengths) / self.tasks_per_step)))

    def _in_turn(self) -> Callable[[Sequence[int]], tuple[int, ...]]:
        """Return a choice of those tasks that follow on the last one chosen."""
        last = -1

        def choose(left: Sequence[int]) -> tuple[int, ...]:
            nonlocal last
            order = sorted(left, key=lambda task: (task - last - 1) % len(self.sizes))
            last = order[: self.tasks_per_step][-1]
            return tuple(order[: self.tasks_per_step])

        return choose

    def _drawn(self) -> Callable[[Sequence[int]], tuple[int, ...]]:
        """Return a choice at random, without replacement.

        The largest of logarithms of weights plus Gumbel noise are such a draw (Kool et al. 2019, arXiv 1903.06059, section 2),
        also where weights are so different that some would be zero as probabilities.
        """
        scores = np.array([self._log_weight(size) for size in self.sizes])
        has_one_order = self.on_exhausted is Exhausted.DROP and self.tasks_per_step > 1
        generator = np.random.default_rng((self.seed, 0 if has_one_order else self.epoch, 0, 0))

        def choose(left: Sequence[int]) -> tuple[int, ...]:
            noisy = scores + generator.gumbel(size=len(scores))
            return tuple(sorted(left, key=lambda task: -noisy[task])[: self.tasks_per_step])

        return choose

    def _log_weight(self, size: int) -> float:
        """Return the logarithm of a task's weight, relative to that of the largest task."""
        if self.sampling is TaskSampling.UNIFORM:
            return 0.0
        return (math.log(size) - math.log(max(self.sizes))) / self.temperature

    def _batches(self, task: int) -> Iterator[tuple[int, ...]]:
        """Yield the rows of a task batch by batch, pass after pass, each in its own order."""
        for number in itertools.count():
            # Never two draws of one seed: places of tasks are counted from 1, and the 0 is that of the tasks' own draws.
            order = np.random.default_rng((self.seed, self.epoch, task + 1, number)).permutation(self.sizes[task]).tolist()
            yield from (tuple(order[start : start + self.batch_size]) for start in range(0, len(order), self.batch_size))

    def _own(self, task: int, rows: tuple[int, ...]) -> Part:
        own = rows[self.rank :: self.num_processes]
        return Part(task, own or rows[:1], len(own) * self.num_processes / len(rows))


def _until_empty(lengths: Sequence[int], choose: Callable[[Sequence[int]], tuple[int, ...]]) -> Iterator[tuple[int, ...]]:
    """Yield choices among the tasks that have batches left, until none has."""
    num_left = list(lengths)
    while left := [task for task, number in enumerate(num_left) if number]:
        tasks = choose(left)
        for task in tasks:
            num_left[task] -= 1
        yield tasks
