"""What several processes saw of the samples, put together the same way on all of them."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import distributed, nn

from spectra.errors import InputError
from spectra.fisher.distributed import is_distributed
from spectra.training.sharded_layers import exchanged, num_processes

Records = tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any], NDArray[Any]]


def gather_records(
    index: NDArray[Any],
    discordance: NDArray[Any],
    step: NDArray[Any],
    loss: NDArray[Any],
    predicted: NDArray[Any],
    device: torch.device | str,
) -> Records:
    """Collect the records of all processes; each must call this.

    Args:
        index: Places of samples, shape ``(M,)``; M may differ between processes, and be 0.
        discordance: Likewise, of each.
        step: Likewise.
        loss: Likewise; NaN stays NaN.
        predicted: Likewise.
        device: Where the processes talk: the GPU with NCCL.

    Returns:
        The same five, in the order of ranks: where the first of two records of a step is kept, that is the lower rank's. What
        one process alone has is returned as it is.
    """
    records = (index, discordance, step, loss, predicted)
    if not is_distributed():
        return records
    # One exchange for all five: whole numbers up to 2^53 are exact in float64, and so is float32.
    mine = torch.as_tensor(np.stack([record.astype(np.float64) for record in records]), device=device)
    lengths = [torch.empty(1, dtype=torch.int64, device=device) for _ in range(num_processes())]
    distributed.all_gather(lengths, torch.tensor([mine.shape[1]], device=device))
    longest = int(torch.cat(lengths).max())
    if longest == 0:
        return records
    padded = torch.nn.functional.pad(mine, (0, longest - mine.shape[1]))
    parts = [torch.empty_like(padded) for _ in lengths]
    distributed.all_gather(parts, padded)
    rows = torch.cat([part[:, : int(length)] for part, length in zip(parts, lengths, strict=True)], dim=1).cpu().numpy()
    together = [row.astype(record.dtype) for row, record in zip(rows, records, strict=True)]
    return together[0], together[1], together[2], together[3], together[4]


def check_equal(weights: NDArray[np.float64]) -> None:
    """Make sure that every process has come to the same weights, to the last bit; each must call this. For debugging.

    Args:
        weights: Of this process.

    Raises:
        InputError: They differ; all processes raise, and the message names those that differ from the first.
    """
    checksums = exchanged([hashlib.sha256(np.ascontiguousarray(weights).data).hexdigest()])
    others = [str(rank) for rank, checksum in enumerate(checksums) if checksum != checksums[0]]
    if others:
        raise InputError(
            f"the sample weights of process {', '.join(others)} differ from those of process 0. Give all processes the same "
            "data set in the same order and the same options, and continue all from the same checkpoint."
        )


def divide_again(model: nn.Module) -> None:
    """Let FSDP2 put away the parameters that it keeps whole after a forward pass until a backward pass that may not come.

    As long as they are there, ``model.zero_grad()`` misses the gradients, which belong to the parts.

    Args:
        model: Divided or not.
    """
    for module in model.modules():
        unit: Any = module
        if hasattr(unit, "set_reshard_after_forward"):
            unit.reshard()
