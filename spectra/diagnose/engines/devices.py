"""Layers over devices: which they are, how many threads feed each, and one queue for all.

A seat is a thread's right to use a device. Three seats at each device are one that reads and sends rows, one whose matrices are
being solved, and one that fits on the CPU what was solved before; which is which changes from layer to layer.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from queue import SimpleQueue
from typing import TYPE_CHECKING, Literal, TypeVar

from spectra.diagnose.engines import local
from spectra.errors import InputError
from spectra.esd.accelerator import CPU, check_device, check_solver

if TYPE_CHECKING:
    from spectra.sources.open import Model

Job = TypeVar("Job")
Result = TypeVar("Result")
Workers = int | Literal["auto"]

# Reading, solving, fitting; see above. Our choice: not measured on a GPU.
_SEATS_AT_A_DEVICE = 3


def resolve_device(device: str, model: Model | None) -> str:
    """Check a device, or choose it.

    Args:
        device: ``"auto"``, ``"cpu"`` or a device of torch's.
        model: What will be analysed; ``None``: a file.

    Returns:
        The name of the device.

    Raises:
        InputError: A device that is not there.
    """
    if device != "auto":
        return check_device(device)
    parameters = getattr(model, "parameters", None)
    first = next(iter(parameters()), None) if callable(parameters) else None
    return CPU if first is None or first.device.type in (CPU, "meta") else str(first.device)


def resolve_devices(device: str, model: Model | None, precision: str) -> tuple[str, ...]:
    """Check the devices of an analysis, or choose them.

    Args:
        device: ``"auto"``, ``"cpu"``, a device of torch's or several between commas; ``"cuda"`` is every GPU that torch sees.
        model: What will be analysed; ``None``: a file.
        precision: ``"float64"`` or ``"float32"``.

    Returns:
        Their names, at least one.

    Raises:
        InputError: Devices that are not there, or cannot solve in this precision; NumPy's CPU beside others.
    """
    if device == "cuda":
        import torch

        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        names = [f"cuda:{number}" for number in range(count)] or [device]
    else:
        names = [name.strip() for name in device.split(",")]
    if len(names) > 1 and {CPU, "auto", "cuda"} & set(names):
        raise InputError(f"device: '{device}' names one that stands alone among several. Name each, such as 'cuda:0,cuda:1'.")
    found, faults = [], []
    for name in names:
        try:
            found.append(resolve_device(name, model))
            check_solver(found[-1], precision)
        except InputError as error:
            faults.append(str(error))
    if faults:
        raise InputError(" ".join(faults))
    return tuple(found)


def resolve_workers(workers: Workers) -> int:
    """Check a number of workers, or choose it.

    Args:
        workers: At least 1, or ``"auto"``.

    Returns:
        The number.

    Raises:
        InputError: Anything else.
    """
    if workers == "auto":
        return local.usable_cores()
    if not isinstance(workers, int) or workers < 1:
        raise InputError(f"workers: expected 'auto' or a number of at least 1, got {workers!r}.")
    return workers


def seats_at(devices: Sequence[str], workers: Workers) -> tuple[str, ...]:
    """Give every worker thread a place at a device.

    Args:
        devices: From :func:`resolve_devices`.
        workers: Threads for each device, or ``"auto"``: the cores this process may use on the CPU, three elsewhere.

    Returns:
        The device of each thread.

    Raises:
        InputError: Not a number of at least 1.
    """
    number = _SEATS_AT_A_DEVICE if workers == "auto" and CPU not in devices else resolve_workers(workers)
    return tuple(devices) * number


def run(
    function: Callable[[Job, str], Result],
    jobs: Sequence[Job],
    *,
    cost: Callable[[Job], float],
    seats: Sequence[str],
    need: Callable[[Job], int] = lambda job: 0,
    budget: int | None = None,
) -> Generator[tuple[Job, Result], None, None]:
    """Apply a function to jobs, each on the device that is free first, and yield results as they come.

    Args:
        function: Called with a job and the name of a device, in worker threads; an exception ends the run.
        jobs: In any order.
        cost: Relative duration of a job; the longest start first.
        seats: From :func:`seats_at`.
        need: Bytes of the host that a job takes while it runs.
        budget: Bytes of all jobs in flight together, at least the need of each. Default: no limit.

    Yields:
        As :func:`spectra.diagnose.engines.local.run`.
    """
    free: SimpleQueue[str] = SimpleQueue()
    for seat in seats:
        free.put(seat)

    def seated(job: Job) -> Result:
        seat = free.get()  # never waits: there are as many threads as seats
        try:
            return function(job, seat)
        finally:
            free.put(seat)

    yield from local.run(seated, jobs, cost=cost, workers=len(seats), need=need, budget=budget)
