"""Sums over the processes of a data-parallel run: each measures its own batches, sums and counts are added once at the end."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor, distributed

from spectra.errors import InputError
from spectra.fisher.state import Counts


def is_distributed() -> bool:
    """Say whether this process is one of several that torch.distributed connects."""
    return distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1


def rank() -> int:
    """Return the number of this process; 0 where it is alone."""
    return distributed.get_rank() if is_distributed() else 0


@contextmanager
def stopping_together(device: torch.device) -> Iterator[None]:
    """Let all processes stop when one does: the others would wait for its sums.

    Args:
        device: Where the processes talk.

    Yields:
        Nothing.

    Raises:
        InputError: Another process has stopped.
    """
    try:
        yield
    except Exception:
        _count(device, has_stopped=True)
        raise
    if num_stopped := _count(device, has_stopped=False):
        raise InputError(f"{num_stopped} of {distributed.get_world_size()} processes stopped: see their messages.")


def _count(device: torch.device, *, has_stopped: bool) -> int:
    total = torch.tensor(int(has_stopped), device=device)
    distributed.all_reduce(total)
    return int(total)


def same_parameters_looped(unfollowed: Mapping[str, str], names: list[str], device: torch.device) -> None:
    """Refuse sums that were measured in different ways; they are equal numbers, but the record could say only one.

    Args:
        unfollowed: Of this process.
        names: All parameters, in the same order everywhere.
        device: Where the processes talk.

    Raises:
        InputError: No process may wait for another that stopped, so all raise together.
    """
    mine = torch.tensor([name in unfollowed for name in names], dtype=torch.int64, device=device)
    total = mine.clone()
    distributed.all_reduce(total)
    if bool(((total != 0) & (total != distributed.get_world_size())).any()):
        raise InputError("the processes could not follow the same parameters. Pass route='loop'.")


def add_up(sums: Mapping[str, Tensor], counts: Counts, device: torch.device) -> Counts:
    """Add sums and counts over all processes.

    Args:
        sums: Changed in place.
        counts: Of this process.
        device: Where the processes talk.

    Returns:
        The counts of all; the fingerprint of the data covers every process' batches, in the order of ranks.

    Raises:
        InputError: Samples have weights in some processes and none in others; all raise together.
    """
    for tensor in sums.values():
        distributed.all_reduce(tensor)
    names = list(counts.traces)
    numbers = [float(counts.num_samples), float(counts.num_tokens), float(counts.num_skipped), float(counts.num_batches)]
    numbers += [counts.traces[name] for name in names] + [counts.squared_traces[name] for name in names]
    numbers += [float(name in counts.reached) for name in names] + [float(counts.is_weighted)]
    total = torch.tensor(numbers, dtype=torch.float64, device=device)
    distributed.all_reduce(total)
    values = total.tolist()
    if values[-1] not in (0.0, distributed.get_world_size()):
        raise InputError("only some processes have batches with 'sample_weight'. Give it to all of them, or to none.")
    of_traces, of_squares, reached = (values[4 + k * len(names) : 4 + (k + 1) * len(names)] for k in range(3))
    return Counts(
        num_samples=int(values[0]),
        num_tokens=int(values[1]),
        num_skipped=int(values[2]),
        num_batches=int(values[3]),
        data=_joined_fingerprint(counts.data, device),
        traces=dict(zip(names, of_traces, strict=True)),
        squared_traces=dict(zip(names, of_squares, strict=True)),
        unfollowed=counts.unfollowed,
        reached=[name for name, times in zip(names, reached, strict=True) if times],
        is_weighted=counts.is_weighted,
    )


def _joined_fingerprint(data: str, device: torch.device) -> str:
    mine = torch.tensor(list(bytes.fromhex(data.rjust(64, "0"))), dtype=torch.uint8, device=device)
    everyone = [torch.empty_like(mine) for _ in range(distributed.get_world_size())]
    distributed.all_gather(everyone, mine)
    return hashlib.sha256(b"".join(bytes(one.tolist()) for one in everyone)).hexdigest()
