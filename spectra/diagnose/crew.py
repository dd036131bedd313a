"""Who analyses: threads of this process on the CPU or on GPUs, or the processes of a Ray cluster."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from spectra.diagnose.engines.available_memory import memory_budget
from spectra.diagnose.engines.devices import resolve_devices, resolve_workers, seats_at
from spectra.errors import InputError, did_you_mean
from spectra.esd.accelerator import CPU
from spectra.results.kept_rows import open_rows

if TYPE_CHECKING:
    from spectra.sources.open import Model

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Crew:
    """Who works.

    Attributes:
        engine: ``"local"`` or ``"ray"``.
        address: Of a Ray cluster, or ``None``.
        workers: Threads, or CPUs of a Ray cluster that is started for it.
        at_once: Most tasks in flight on a cluster that is there; ``None``: as many as it has room for.
        device: Where spectra are computed; several between commas.
        seats: The device of each thread of this machine; empty for Ray.
        cache: Folder of rows of earlier analyses, or ``None``.
        budget: Bytes that layers in flight may take together; ``None``: not counted here.
    """

    engine: str
    address: str | None
    workers: int
    at_once: int | None
    device: str
    seats: tuple[str, ...] = ()
    cache: Path | None = None
    budget: int | None = None


def crew_for(
    model: Model | None,
    *,
    engine: str,
    address: str | None,
    workers: int | Literal["auto"],
    device: str,
    precision: str,
    cache: str | os.PathLike[str] | None = None,
    max_memory: int | str | None = None,
) -> Crew:
    """Check who is to work.

    Args:
        model: Whose device ``"auto"`` stands for; ``None``: a file's.
        engine: As :func:`analyze` takes it.
        address: Likewise.
        workers: Likewise.
        device: Likewise.
        precision: Likewise.
        cache: Likewise.
        max_memory: Likewise.

    Returns:
        Who works.

    Raises:
        InputError: Something that cannot be used.
        ResultsError: ``cache`` holds something else, or cannot be made.
        MissingPackageError: Ray is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"engine: unknown {engine!r}.{did_you_mean(str(engine), ENGINES)} Known: {', '.join(ENGINES)}.")
    if engine == "ray":
        from spectra.diagnose.engines.ray_cluster import check_address
        from spectra.diagnose.remote_work import device_on_nodes

        if cache is not None:
            raise InputError("cache: the nodes of engine 'ray' do not use one. Leave it out, or use engine='local'.")
        if max_memory is not None:
            raise InputError("max_memory: engine 'ray' goes by the memory of each node. Leave it out, or use engine 'local'.")
        check_address(address)
        at_once = None if address is None or workers == "auto" else resolve_workers(workers)
        return Crew(engine, address, resolve_workers(workers), at_once, device_on_nodes(device))
    if address is not None:
        raise InputError(f"address '{address}': only engine 'ray' works at another place. Add engine='ray' (--engine ray).")
    where = resolve_devices(device, model, precision)
    seats = seats_at(where, workers)
    kept = None if cache is None else open_rows(cache)
    return Crew(engine, None, len(seats), None, ",".join(where), seats, kept, budget_at(seats, max_memory))


def budget_at(seats: Sequence[str], max_memory: int | str | None) -> int | None:
    """Choose how many bytes layers in flight may take together.

    Args:
        seats: The device of each worker.
        max_memory: As :func:`analyze` takes it.

    Returns:
        Bytes; ``None`` for devices of torch's, where stacks are made by the memory of the device.

    Raises:
        InputError: Not a size, or one for other devices than the CPU.
    """
    if set(seats) <= {CPU}:
        return memory_budget(max_memory)
    if max_memory is not None:
        raise InputError("max_memory: other devices than the CPU go by their own memory. Leave it out, or use device 'cpu'.")
    return None
