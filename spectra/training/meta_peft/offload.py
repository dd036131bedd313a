"""Adapters that a step does not use, kept in the memory of the host with their optimizer's state."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping

import torch
from torch import Tensor, nn
from torch.optim import Optimizer


def keep_on_device(
    device: torch.device, used: Collection[str], parameters: Mapping[str, Iterable[nn.Parameter]], optimizer: Optimizer | None
) -> None:
    """Move the parameters of tasks, and what the optimizer keeps of them: to the device if they are used, else to the host.

    Args:
        device: Of the model.
        used: Tasks.
        parameters: By task. They stay the same objects, so that the optimizer knows them; gradients are to be gone.
        optimizer: Whose state goes along.
    """
    host = torch.device("cpu")
    for task, its_parameters in parameters.items():
        target = device if task in used else host
        for parameter in its_parameters:
            if parameter.device != target:
                parameter.data = parameter.data.to(target)
                state = {} if optimizer is None else optimizer.state.get(parameter, {})
                # A counter of steps is where the optimizer wants it.
                state |= {name: value.to(target) for name, value in state.items() if _goes_along(value, parameter)}


def _goes_along(value: object, parameter: nn.Parameter) -> bool:
    return isinstance(value, Tensor) and value.shape == parameter.shape
