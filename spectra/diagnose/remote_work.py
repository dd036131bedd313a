"""Layers of models over the nodes of a Ray cluster: what is sent there, and what is made of what comes back."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra._version import __version__
from spectra.diagnose.assembly import Diagnosed
from spectra.diagnose.engines import ray
from spectra.diagnose.engines.ray_cluster import connected, num_cpus
from spectra.diagnose.layer import batches, diagnosed
from spectra.diagnose.model_run import ModelRun
from spectra.diagnose.node_work import Checkpoint, diagnose_named
from spectra.errors import EngineError, InputError
from spectra.esd.accelerator import CPU
from spectra.matrices import WeightMatrices
from spectra.sources.location import absolute_location

if TYPE_CHECKING:
    from spectra.sources.open import Model

_DEVICES = ("auto", CPU, "cuda")
_PROCESS_BYTES = 150 * 2**20  # a worker of Ray's that has imported Spectra, before it reads weights (measured)


@dataclass(frozen=True)
class _Task:
    run: ModelRun
    checkpoint: Checkpoint
    batch: Sequence[WeightMatrices]

    @property
    def num_bytes(self) -> int:
        return _PROCESS_BYTES + self.run.plan.need(self.batch)

    def arguments(self, device: str) -> tuple[Any, ...]:
        return self.checkpoint, [job.matrix_name for job in self.batch], device

    def parts(self) -> list[_Task]:
        return [dataclasses.replace(self, batch=[job]) for job in self.batch]


def work_remotely(
    runs: Sequence[ModelRun], *, address: str | None, workers: int, at_once: int | None, device: str
) -> Generator[tuple[ModelRun, Sequence[WeightMatrices], Sequence[Diagnosed]], None, None]:
    """Analyse what is left of models on a Ray cluster.

    Args:
        runs: The models; they are begun in this order, the longest layers of each first.
        address: As :func:`spectra.diagnose.engines.ray_cluster.connected` takes it.
        workers: CPUs of a cluster that is started for it.
        at_once: Most tasks in flight, or ``None``.
        device: ``"cpu"``, or ``"cuda"``: a GPU for each task.

    Yields:
        A model, some of its layers, and what was found. A layer that could not be analysed on any node is a row whose status
        says why.

    Raises:
        EngineError: The cluster cannot be reached, or lacks what it needs.
        InputError: A model in the memory of this process.
    """
    tasks = [(run, checkpoint_of(run)) for run in runs]
    with connected(address, workers=workers, gpus=device != CPU) as stays_connected:
        made_by = {"engine": "ray", "workers": num_cpus(), "repeated_tasks": 0}
        for run in runs:
            run.made_by.update(made_by)
        work = ray.run(
            diagnose_named,
            _in_order(tasks),
            arguments=lambda task: task.arguments(device),
            num_bytes=lambda task: task.num_bytes,
            parts=_Task.parts,
            at_once=at_once,
            on_gpu=device != CPU,
            repeated=_count,
            stays_connected=stays_connected,
        )
        with closing(work) as finished:
            for task, found in finished:
                yield task.run, task.batch, _rows(task, found)


def device_on_nodes(device: str) -> str:
    """Check a device for work on a cluster.

    Args:
        device: ``"auto"``, ``"cpu"`` or ``"cuda"``: which GPU of a node is Ray's choice.

    Returns:
        ``"cpu"`` or ``"cuda"``.

    Raises:
        InputError: Another one.
    """
    if device not in _DEVICES:
        raise InputError(f"device: engine 'ray' takes {', '.join(_DEVICES)}, got {device!r}. Ray gives each task its own GPU.")
    return CPU if device == "auto" else device


def checkpoint_of(run: ModelRun) -> Checkpoint:
    """Return what nodes are told of a model.

    Args:
        run: Opened here.

    Returns:
        Where it is, and what must be found there.

    Raises:
        InputError: It is in the memory of this process.
    """
    base = None if run.base is None else _location(run.base)
    return Checkpoint(_location(run.model), base, run.plan.settings, run.info.fingerprint, __version__, _states_of(run.files))


def _states_of(files: Sequence[Path]) -> tuple[tuple[str, int, int], ...]:
    """Return names, sizes and times; a file that is gone by now is left out, and a node that wants it will say so."""
    found = []
    for file in files:
        with suppress(OSError):
            state = file.stat()
            found.append((file.name, state.st_size, state.st_mtime_ns))
    return tuple(found)


def _location(model: Model) -> str:
    """Return where any process may open a model."""
    if not isinstance(model, str | os.PathLike):
        raise InputError(
            f"engine 'ray' opens checkpoints on its nodes, and a {type(model).__name__} is in the memory of this process. Save "
            "it and give the path, or use engine='local'."
        )
    return absolute_location(model)


def _in_order(models: Sequence[tuple[ModelRun, Checkpoint]]) -> Iterator[_Task]:
    for run, checkpoint in models:
        run.begin()  # its turn comes when a task is asked for
        for batch in sorted(batches(run.waiting), key=lambda batch: sum(job.flops for job in batch), reverse=True):
            yield _Task(run, checkpoint, batch)


def _rows(task: _Task, found: Sequence[Diagnosed] | ray.Lost) -> list[Diagnosed]:
    if isinstance(found, ray.Lost):
        return [diagnosed(job, EngineError(found.reason), task.run.plan.settings) for job in task.batch]
    # Copies: what Ray hands out lies in its object store and would fill it.
    return [(row, None if values is None else values.copy()) for row, values in found]


def _count(task: _Task) -> None:
    task.run.made_by["repeated_tasks"] += 1
