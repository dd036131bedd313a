"""Three layers, two of them units, and an optimizer whose groups are split by them; shared by tests of multipliers."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn

from spectra.training.parameter_groups import build_parameter_groups

UNITS = {"1.weight": "one", "1.bias": "one", "2.weight": "two", "2.bias": "two"}  # layer 0 is base


def model_of(seed: int = 0) -> nn.Sequential:
    """Three dense layers."""
    torch.manual_seed(seed)
    return nn.Sequential(*(nn.Linear(3, 3) for _ in range(3)))


def optimizer_of(model: nn.Module, kind: Any = torch.optim.SGD, **options: Any) -> Any:
    """An optimizer with three groups: base, one, two."""
    return kind(build_parameter_groups(model, UNITS, **{"lr": 0.1, **options}))


def loss_of(model: nn.Module, step: int = 0) -> Tensor:
    """The loss of a batch that depends on the step alone."""
    return model(torch.randn(4, 3, generator=torch.Generator().manual_seed(step))).square().mean()


def backward(model: nn.Module, step: int = 0) -> None:
    """Gradients of that loss."""
    loss_of(model, step).backward()


def scales_at(step: int) -> dict[str, float]:
    """Multipliers that change every seventh step."""
    stage = step // 7
    return {"one": 1.0 + 0.6 * math.sin(1.0 + stage), "two": 0.5 + 0.3 * (stage % 5)}


def rates(optimizer: Any, key: str = "lr") -> list[Any]:
    """The values of the groups."""
    return [group[key] for group in optimizer.param_groups]


def equal(ones: Any, others: Any) -> bool:
    """Whether tensors are equal bit for bit."""
    return all(torch.equal(one, other) for one, other in zip(ones, others, strict=True))
