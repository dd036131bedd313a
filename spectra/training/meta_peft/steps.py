"""The data of a step: rows of one task or of several, as the loader of a trainer hands them over."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from torch.utils.data import DataLoader, Dataset

from spectra.training.meta_peft.sampling import Part


class Batch(NamedTuple):
    """Rows that go through the model at once; other processes have others at the same time.

    Attributes:
        share: What their mean loss counts, so that averages over processes add up to the mean over the rows of a part.
        alone: The same where this batch is all there is: for the mean over the rows of all processes. 1 in one process.
        inputs: Of the model.
    """

    share: float
    alone: float
    inputs: Any


class TaskPart(NamedTuple):
    """What a task contributes to a step.

    Attributes:
        task: Its name.
        batches: As many in each process. In one process shares add up to 1.
    """

    task: str
    batches: tuple[Batch, ...]


class TaskData(Dataset[Any]):
    """The rows of all tasks: an item is the rows of a part.

    Args:
        tasks: Rows by task.
    """

    def __init__(self, tasks: Mapping[str, Any]) -> None:
        self.tasks = dict(tasks)
        self._names = tuple(self.tasks)

    def __len__(self) -> int:
        return sum(map(len, self.tasks.values()))

    def __getitem__(self, part: Part) -> tuple[str, float, list[Any]]:
        name = self._names[part.task]
        rows = self.tasks[name]
        return name, part.share, [rows[place] for place in part.indices]


class PartCollator:
    """Makes the batches of a step.

    Args:
        collate: Makes inputs of rows.
        batch_size: Most rows of a batch.
        num_processes: That work on a part.
    """

    def __init__(self, collate: Callable[[list[Any]], Any], batch_size: int, num_processes: int = 1) -> None:
        self.collate = collate
        self.batch_size = batch_size
        self.num_processes = num_processes

    def __call__(self, parts: Sequence[tuple[str, float, list[Any]]]) -> list[TaskPart]:
        """Collate the parts of a step."""
        return [TaskPart(task, tuple(self._batches(share, rows))) for task, share, rows in parts]

    def _batches(self, share: float, rows: list[Any]) -> Iterator[Batch]:
        """Cut the rows of this process; one that has none left takes one that does not count, as others wait for it."""
        own = len(rows) if share else 0
        total = round(own * self.num_processes / share) if share else 1
        at_once = self.batch_size * self.num_processes
        for start in range(0, total, at_once):
            first = start // self.num_processes
            cut = rows[first : min(first + self.batch_size, own)]
            alone = len(cut) * self.num_processes / min(at_once, total - start)
            yield Batch(alone * min(at_once, total - start) / total, alone, self.collate(cut or rows[:1]))


class StepLoader(DataLoader[Any]):
    """A loader whose items are steps; a trainer tells it the epoch, which the order depends on."""

    def set_epoch(self, epoch: int) -> None:
        """Take the order of an epoch."""
        self.batch_sampler.set_epoch(epoch)  # type: ignore[union-attr]
