"""A small classifier with named inputs, and batches whose samples have weights; shared by the tests of these."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from spectra.results.fisher import Fisher

Batch = dict[str, Tensor]

NUM_SAMPLES = 5
WEIGHTS = torch.tensor([0.5, 0.0, 2.25, 1.0, 1.25], dtype=torch.float64)


class Named(nn.Module):
    """A classifier whose input has a name, so that its batches are mappings; it takes nothing else."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        torch.manual_seed(0)
        first, second, third = sizes
        self.first, self.head = nn.Linear(first, second), nn.Linear(second, third)
        self.double()

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.first(x).tanh())


def classifier() -> Named:
    return Named(4, 3, 3)


def data(num_samples: int = NUM_SAMPLES) -> Batch:
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(num_samples, 4, generator=generator, dtype=torch.float64)
    return {"x": inputs, "labels": torch.arange(num_samples) % 3}


def own_loss(model: nn.Module, batch: Batch) -> Tensor:
    return functional.cross_entropy(model(batch["x"]), batch["labels"], reduction="none")


def weighted(batch: Batch, weights: Any = WEIGHTS) -> Batch:
    return {**batch, "sample_weight": weights}


def cut(batch: Batch, size: int) -> list[Batch]:
    count = len(batch["labels"])
    return [{name: tensor[start : start + size] for name, tensor in batch.items()} for start in range(0, count, size)]


def assert_same_numbers(one: Fisher, other: Fisher) -> None:
    np.testing.assert_equal([vars(tensor) for tensor in one.tensors], [vars(tensor) for tensor in other.tensors])
    for field in ("values", "row_sums", "col_sums"):
        mine, others = getattr(one, field), getattr(other, field)
        assert list(mine) == list(others)
        assert all(mine[name].tobytes() == others[name].tobytes() for name in mine)
