"""Jobs over the nodes of a Ray cluster: a process for each job in flight, and another try where one or its node is lost.

What fails is repeated here and not by Ray's ``max_retries``, which stays 0: Ray repeats a task that is killed for memory
without end (``task_oom_retries``, a setting of the cluster), and with the same claim to memory.
"""

from __future__ import annotations

import dataclasses
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable, Sequence
from dataclasses import dataclass
from types import ModuleType
from typing import Any, Generic, TypeVar

from spectra.diagnose.engines.ray_cluster import imported
from spectra.errors import EngineError, SpectraError

Job = TypeVar("Job")
Result = TypeVar("Result")

MOST_ATTEMPTS = 4  # Ray's own default: max_retries=3
_IN_FLIGHT_PER_CPU = 2  # our choice: the next job is at hand when one ends, and a cluster that can grow sees what it lacks
_SECONDS_BETWEEN_LOOKS = 2.0  # at what the cluster offers; our choice


@dataclass(frozen=True)
class Lost:
    """A job that failed as often as it may.

    Attributes:
        reason: In words.
    """

    reason: str


@dataclass(frozen=True)
class _Attempt(Generic[Job]):
    job: Job
    number: int = 1
    memory: int = 0
    """Bytes that it claims."""


@dataclass(frozen=True)
class _Room:
    """What a cluster offers: CPUs of all nodes, and the memory of the largest in bytes."""

    cpus: int
    memory: int


_WITHDRAWN = Lost("it was withdrawn: the node with room for it is gone")


def run(
    function: Callable[..., Result],
    jobs: Iterable[Job],
    *,
    arguments: Callable[[Job], tuple[Any, ...]],
    num_bytes: Callable[[Job], int],
    parts: Callable[[Job], Sequence[Job]] = lambda job: [job],
    at_once: int | None = None,
    on_gpu: bool = False,
    repeated: Callable[[Job], None] = lambda job: None,
    stays_connected: bool = True,
) -> Generator[tuple[Job, Result | Lost], None, None]:
    """Apply a function to jobs on the cluster that this process is connected to, and yield results as they come.

    Args:
        function: Of an importable module. A :class:`~spectra.errors.SpectraError` of it is tried again, perhaps elsewhere: a
            file may be missing on one node. Any other exception ends the run.
        jobs: In the order in which they start; taken as there is room for them.
        arguments: Of the function, for a job; they travel to the node.
        num_bytes: Memory that a job claims on its node, doubled each time it fails. One that fits nowhere claims all of the
            largest node.
        parts: A job that failed as often as it may is taken apart, if it can be, and each part tried once more.
        at_once: Most jobs in flight. Default: twice the CPUs of the cluster, as they come and go.
        on_gpu: Each job needs a GPU.
        repeated: Called for each job that is tried again.
        stays_connected: Whether the connection outlives this call: then leaving the loop early cancels what runs. Otherwise the
            cluster ends it with the connection; a job that ends while it is cancelled can end this process (Ray 2.60, a check
            of its own).

    Yields:
        Each job, or part of one, with its result, in order of completion.

    Raises:
        EngineError: The cluster has no GPU, or its nodes lack what the function needs.
    """
    ray = imported()
    if on_gpu and not ray.cluster_resources().get("GPU"):
        raise EngineError("no node of the Ray cluster has a GPU. Leave out the device, or add a node that has one.")
    remote = ray.remote(num_cpus=1, num_gpus=1 if on_gpu else 0, max_retries=0)(function)
    fresh, again = map(_Attempt, jobs), deque[_Attempt[Job]]()
    in_flight: dict[Any, _Attempt[Job]] = {}
    room, looked = _room(ray), time.monotonic()
    try:
        while True:
            while len(in_flight) < (at_once or _IN_FLIGHT_PER_CPU * room.cpus):
                attempt = again.popleft() if again else next(fresh, None)
                if attempt is None:
                    break
                memory = min(num_bytes(attempt.job) * 2 ** (attempt.number - 1), room.memory)
                reference = remote.options(memory=memory).remote(*arguments(attempt.job))
                in_flight[reference] = dataclasses.replace(attempt, memory=memory)
            if not in_flight:
                return
            for reference in ray.wait(list(in_flight), timeout=_SECONDS_BETWEEN_LOOKS)[0]:
                attempt, result = in_flight.pop(reference), _result(ray, reference)
                following = _following(attempt, result, parts)
                again.extend(following)
                if following:
                    repeated(attempt.job)
                else:
                    yield attempt.job, result
            if time.monotonic() - looked > _SECONDS_BETWEEN_LOOKS:
                room, looked = _room(ray), time.monotonic()
                _withdraw(ray, [reference for reference, attempt in in_flight.items() if attempt.memory > room.memory])
    finally:
        for reference in in_flight if stays_connected else ():
            ray.cancel(reference, force=True)


def _room(ray: ModuleType) -> _Room:
    nodes = [node["Resources"] for node in ray.nodes() if node["Alive"]]
    cpus = sum(int(node.get("CPU", 0)) for node in nodes)
    # One job waits for a node where there is none, so that a cluster that can grow does.
    return _Room(max(1, cpus), max((int(node.get("memory", 0)) for node in nodes if node.get("CPU")), default=0))


def _withdraw(ray: ModuleType, references: Sequence[Any]) -> None:
    """Take jobs back that claim more than any node offers now: they would wait for ever."""
    for reference in references:
        ray.cancel(reference)


def _result(ray: ModuleType, reference: Any) -> Any:
    """Return what a job returned, or why it was lost."""
    errors = ray.exceptions
    try:
        return ray.get(reference)
    except errors.TaskCancelledError:
        return _WITHDRAWN
    except errors.RayTaskError as error:
        cause = error.cause
        if isinstance(cause, EngineError) or not isinstance(cause, SpectraError):
            raise _unfit(cause) from error
        return Lost(str(cause))
    except errors.OutOfMemoryError:
        return Lost("its process was stopped, as its node ran out of memory")
    except errors.NodeDiedError:
        return Lost("its node died")
    except errors.ObjectLostError:
        return Lost("its result was lost with a node")
    except errors.WorkerCrashedError:
        return Lost("its process was killed, for want of memory perhaps")


def _unfit(cause: Exception) -> Exception:
    """Return what ends the run: nodes that cannot do the work, or a mistake of ours as it is."""
    if not isinstance(cause, ImportError) and "failed to import on the worker" not in str(cause):
        return cause
    reason = " ".join(str(cause).split())
    return EngineError(f"a node of the Ray cluster lacks what it needs: {reason}. Install the same Spectra on every node.")


def _following(attempt: _Attempt[Job], result: Any, parts: Callable[[Job], Sequence[Job]]) -> list[_Attempt[Job]]:
    """Return what is to be tried after a result: nothing, or a lost job once more, or its parts."""
    if not isinstance(result, Lost):
        return []
    if result is _WITHDRAWN:
        return [attempt]
    if attempt.number < MOST_ATTEMPTS:
        return [dataclasses.replace(attempt, number=attempt.number + 1)]
    apart = parts(attempt.job)
    return [dataclasses.replace(attempt, job=part) for part in apart] if len(apart) > 1 else []
