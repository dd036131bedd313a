"""A small model whose blocks have tails of different weight, and a loop that trains it; shared by tests of TempBalance."""

from __future__ import annotations

import torch
from torch import nn

WIDTH, NUM_BLOCKS = 64, 3  # more than the 50 eigenvalues that a fit needs


class Block(nn.Module):
    """Pre-norm: its first parameter is that of a normalization."""

    def __init__(self):
        super().__init__()
        self.norm = nn.LayerNorm(WIDTH)
        self.fc1 = nn.Linear(WIDTH, 2 * WIDTH)
        self.fc2 = nn.Linear(2 * WIDTH, WIDTH)

    def forward(self, x):
        return x + self.fc2(torch.relu(self.fc1(self.norm(x))))


class Net(nn.Module):
    def __init__(self, seed=0):
        super().__init__()
        torch.manual_seed(seed)
        self.stem = nn.Linear(8, WIDTH)
        self.blocks = nn.ModuleList(Block() for _ in range(NUM_BLOCKS))
        self.classifier = nn.Linear(WIDTH, 2)
        with torch.no_grad():  # heavier tails, block by block
            for number, block in enumerate(self.blocks):
                for layer in (block.fc1, block.fc2):
                    layer.weight *= torch.rand_like(layer.weight) ** (2 * number)

    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = block(x)
        return self.classifier(x)


def train(net, optimizer, steps, balance=None, scheduler=None, *, seed=0):
    """Train on random numbers; return the multipliers after each step."""
    generator = torch.Generator().manual_seed(seed)
    seen = []
    for _ in range(steps):
        x = torch.randn(16, 8, generator=generator)
        optimizer.zero_grad()
        nn.functional.cross_entropy(net(x), (x.sum(1) > 0).long()).backward()
        optimizer.step()
        if scheduler:
            scheduler.step()
        if balance:
            balance.step()
            seen.append(dict(balance.scales))
    return seen
