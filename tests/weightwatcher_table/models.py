"""The models on which WeightWatcher and Spectra are compared for the table in docs/weightwatcher.md.

Imported by the tests and, in a process of its own, by ``ask.py`` beside it: the same seeds give the same weights.
"""

from __future__ import annotations

import numpy as np
import torch


def heavy_tailed(*shape: int, seed: int) -> torch.Tensor:
    """Gaussian weights whose inputs (second axis) have Pareto-distributed lengths, so that the spectrum has a tail."""
    rng = np.random.default_rng(seed)
    lengths = (1.0 - rng.random(shape[1])) ** (-1.0 / 3.0)
    weights = 0.1 * rng.standard_normal(shape) * lengths.reshape(1, -1, *[1] * (len(shape) - 2))
    return torch.from_numpy(weights.astype(np.float32))


class Net(torch.nn.Module):
    """A convolution, an embedding and dense layers; ``small`` has under 20 eigenvalues, ``tiny`` under eight."""

    def __init__(self, seed: int = 0) -> None:
        super().__init__()
        self.conv = torch.nn.Conv2d(12, 16, 3, bias=False)
        self.embed = torch.nn.Embedding(90, 30)
        self.wide = torch.nn.Linear(120, 60)
        self.square = torch.nn.Linear(60, 60)
        self.small = torch.nn.Linear(60, 16)
        self.tiny = torch.nn.Linear(16, 4)
        for number, (name, parameter) in enumerate(self.named_parameters()):
            if name.endswith("weight"):
                parameter.data = heavy_tailed(*parameter.shape, seed=100 * seed + number)


def tuned(rank: int = 40) -> Net:
    """The same after training: every weight but the embedding has moved, by a matrix of low rank."""
    net = Net()
    for number, (name, parameter) in enumerate(net.named_parameters()):
        if name.endswith("weight") and not name.startswith("embed"):
            parameter.data += 0.3 * heavy_tailed(*parameter.shape, seed=1000 + number)
    return net


class Lora(torch.nn.Module):
    """One adapted layer as WeightWatcher looks for it: modules whose names hold lora_A and lora_B."""

    def __init__(self) -> None:
        super().__init__()
        self.base_layer = torch.nn.Linear(64, 48, bias=False)
        self.lora_A = torch.nn.Linear(64, 24, bias=False)
        self.lora_B = torch.nn.Linear(24, 48, bias=False)
        for number, parameter in enumerate(self.parameters()):
            parameter.data = heavy_tailed(*parameter.shape, seed=500 + number)


def planted_noise(size: int, num_spikes: int) -> np.ndarray:
    """Square Gaussian weights of standard deviation 1 with strong spikes."""
    rng = np.random.default_rng(7)
    noise = rng.standard_normal((size, size))
    left, right = (np.linalg.qr(rng.standard_normal((size, num_spikes)))[0] for _ in range(2))
    return noise + left @ np.diag(np.linspace(4.0, 8.0, num_spikes) * np.sqrt(size)) @ right.T


def pareto(size: int, *, seed: int = 3) -> np.ndarray:
    """Ascending quantile-like sample of a Pareto law, alpha = 2.5."""
    return np.sort((1.0 - np.random.default_rng(seed).random(size)) ** (-1.0 / 1.5))
