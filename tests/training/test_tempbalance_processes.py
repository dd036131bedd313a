"""TempBalance on two processes: the multipliers of one process, on all of them, for replicas and for shards."""

import warnings

import pytest
import torch
from torch.distributed.fsdp import fully_shard
from torch.nn.parallel import DistributedDataParallel

from spectra.errors import InputError
from spectra.training import TempBalance
from tests.forked import in_group
from tests.training.balanced_net import Net, train

OPTIONS = {"policy": "emnlp2024-glue", "interval": 2, "parts": 2}


def sharded(net):
    for block in net.blocks:
        fully_shard(block)
    return fully_shard(net)


def balanced_run(wrap):
    model = wrap(Net())
    # AdamW: a step of each parameter by itself, whose size shows the multiplier.
    optimizer = torch.optim.AdamW(model.parameters(), lr=0.01)
    balance = TempBalance(model, optimizer, **OPTIONS)
    scheduler = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.9)
    return train(model, optimizer, 4, balance, scheduler)


def failing_run(rank):
    """One process runs out of memory in its first update: no other process waits for it, and training goes on."""
    model = DistributedDataParallel(Net())
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    balance = TempBalance(model, optimizer, policy="emnlp2024-glue", interval=1, start_step=1)
    measured = balance._meter._rows_of_live

    def measure(jobs):
        if rank and balance.num_steps == 1:
            raise MemoryError("no memory left")
        return measured(jobs)

    balance._meter._rows_of_live = measure
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return train(model, optimizer, 2, balance)


def process(rank, folder):
    found = {name: balanced_run(wrap) for name, wrap in (("DDP", DistributedDataParallel), ("FSDP2", sharded))}
    with pytest.raises(InputError, match="asynchronous: several processes must measure together"):
        TempBalance(net := Net(), torch.optim.SGD(net.parameters(), lr=0.1), asynchronous=True)
    found["failed"] = failing_run(rank)
    torch.save(found, folder / f"{rank}.pt")


@pytest.mark.slow
def test_two_processes_have_the_multipliers_of_one(tmp_path):
    in_group(process, tmp_path, folder=tmp_path)
    first, second = (torch.load(tmp_path / f"{rank}.pt", weights_only=True) for rank in range(2))
    assert first == second
    assert [len(set(scales.values())) for scales in first.pop("failed")] == [1, 3]
    alone = balanced_run(lambda net: net)
    for scales in first.values():
        for found, expected in zip(scales, alone, strict=True):
            # Gradients averaged over two equal batches, Gram matrices summed from shards: float32 rounding, times tau.
            assert found == pytest.approx(expected, rel=1e-3)
    assert len({scale for scales in alone for scale in scales.values()}) > 3
