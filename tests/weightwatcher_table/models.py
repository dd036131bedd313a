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


def tuned() -> Net:
    """The same after training: every weight but the embedding has moved."""
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


class Pair(torch.nn.Module):
    """Two dense layers, by the names given."""

    def __init__(self, *names: str, shape: tuple[int, int] = (40, 30)) -> None:
        super().__init__()
        for number, name in enumerate(names):
            self.add_module(name, torch.nn.Linear(shape[1], shape[0], bias=False))
            self.get_submodule(name).weight.data = heavy_tailed(*shape, seed=800 + number)


def fingers() -> Pair:
    """Layers of pure noise, whose tails are short and steep until the largest eigenvalues are taken off."""
    net = Pair("first", "second", "third", shape=(160, 80))
    for number, parameter in enumerate(net.parameters()):
        parameter.data = torch.from_numpy(np.random.default_rng(number + 40).standard_normal((160, 80)).astype(np.float32))
    return net


MODELS = {"net": Net, "tuned": tuned, "lora": Lora, "fingers": fingers, "hyphens": lambda: Pair("to-q", "to-k")}


def scaled(factor: float) -> Net:
    """The first model in another unit."""
    net = Net()
    for parameter in net.parameters():
        parameter.data *= factor
    return net


def tied() -> Pair:
    """Two layers that share their weight."""
    net = Pair("embed", "head")
    net.head.weight = net.embed.weight
    return net


def even_kernels() -> torch.nn.Module:
    """A convolution with an even number of kernel positions and fewer outputs than inputs."""
    net = torch.nn.Sequential(torch.nn.Conv2d(20, 10, 2, bias=False))
    net[0].weight.data = heavy_tailed(10, 20, 2, 2, seed=5)
    return net


def volumes() -> torch.nn.Module:
    """Convolutions that WeightWatcher has no word for, beside a dense layer."""
    torch.manual_seed(0)
    return torch.nn.Sequential(
        torch.nn.Linear(20, 20), torch.nn.Conv1d(10, 10, 3), torch.nn.Conv3d(10, 10, 3), torch.nn.ConvTranspose2d(10, 10, 3)
    )


def groups() -> torch.nn.Module:
    """A grouped convolution and a depthwise one."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Conv2d(10, 20, 3, groups=2), torch.nn.Conv2d(20, 20, 3, groups=20))


def vocabulary() -> torch.nn.Module:
    """An embedding of one row too many."""
    torch.manual_seed(0)
    return torch.nn.Sequential(torch.nn.Embedding(50_001, 8), torch.nn.Linear(30, 30))


def codes() -> dict[str, torch.Tensor]:
    """A state dict with the integers of a quantized weight."""
    torch.manual_seed(0)
    return {"fc.weight": torch.randint(-127, 128, (40, 30), dtype=torch.int8), "head.weight": heavy_tailed(40, 30, seed=6)}


def planted_noise(size: int, num_spikes: int) -> np.ndarray:
    """Square Gaussian weights of standard deviation 1 with strong spikes."""
    rng = np.random.default_rng(7)
    noise = rng.standard_normal((size, size))
    left, right = (np.linalg.qr(rng.standard_normal((size, num_spikes)))[0] for _ in range(2))
    return noise + left @ np.diag(np.linspace(4.0, 8.0, num_spikes) * np.sqrt(size)) @ right.T


MATRIX, OTHER = (np.random.default_rng(seed).standard_normal((30, 20)) for seed in (11, 12))
NOISE = planted_noise(200, 10)


def pareto(size: int, *, seed: int = 3) -> np.ndarray:
    """Ascending quantile-like sample of a Pareto law, alpha = 2.5."""
    return np.sort((1.0 - np.random.default_rng(seed).random(size)) ** (-1.0 / 1.5))


def quarter_circle(size: int) -> np.ndarray:
    """Ascending quantiles of the Marchenko-Pastur law of square matrices, mean 1: squares of those of a quarter circle."""
    grid = np.linspace(0.0, 2.0, 200_001)
    share = (grid * np.sqrt(4.0 - grid**2) / 2.0 + 2.0 * np.arcsin(grid / 2.0)) / np.pi
    return np.interp((np.arange(size) + 0.5) / size, share, grid) ** 2
