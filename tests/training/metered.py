"""Small models to measure, and rows to compare; shared by the tests of the layer meter and its processes."""

from __future__ import annotations

import torch
from torch import nn

import spectra

# Where sums of squares run in another order, by dtype of the products: the last digits of alpha and of the norms.
SUMMED = {"float64": 1e-9, "float32": 1e-4}


class Block(nn.Module):
    """A gated unit whose two projections are one weight."""

    def __init__(self):
        super().__init__()
        self.gate_up_proj = nn.Linear(33, 42)
        self.down = nn.Linear(21, 33)

    def forward(self, x):
        gate, up = self.gate_up_proj(x).chunk(2, dim=-1)
        return x + self.down(torch.sigmoid(gate) * up)


class Net(nn.Module):
    """Tall, wide, fused and square weights, a convolution and a stack; 33 rows are two uneven parts."""

    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.inputs = nn.Linear(18, 33)
        self.blocks = nn.ModuleList(Block() for _ in range(2))
        self.conv = nn.Conv2d(3, 15, 2, bias=False)
        self.square = nn.Linear(33, 33)
        with torch.no_grad():
            for parameter in self.parameters():
                parameter *= torch.rand_like(parameter) ** -0.3

    def forward(self, x):
        x = self.inputs(x)
        for block in self.blocks:
            x = block(x)
        return self.square(x) + self.conv.weight.sum()


def train(model, steps=2, **options):
    """A few steps of SGD on random numbers, the same everywhere."""
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, **options)
    generator = torch.Generator().manual_seed(3)
    for _ in range(steps):
        model(torch.randn(8, 18, generator=generator)).square().mean().backward()
        optimizer.step()
        optimizer.zero_grad()
    return model


def table(rows):
    """Rows as plain values, which compare as they are: NaN is None."""
    return [row.to_dict() for row in rows]


def analyzed(model, **options):
    """What the analysis says of a model that lies whole in one process."""
    return table(spectra.analyze(model, device="cpu", **options).layers)
