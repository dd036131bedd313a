"""Bytes that training holds, as far as they follow from a model and its optimizer: no activations, no buffers of libraries."""

from __future__ import annotations

import copy
from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spectra.training.parameter_groups import unwrapped_optimizer
from spectra.training.recipe.preview_record import MemoryEstimate


def memory_estimate(model: nn.Module, optimizer: Optimizer, adapters: Iterable[Tensor] = ()) -> MemoryEstimate:
    """Estimate what training holds beside activations.

    Args:
        model: That is trained.
        optimizer: Of its parameters, or a wrapper of one. It is not changed.
        adapters: Parameters of adapters.

    Returns:
        The estimate.
    """
    inner = unwrapped_optimizer(optimizer)
    return MemoryEstimate(
        weights=_num_bytes([*model.parameters(), *model.buffers()]),
        adapters=_num_bytes(adapters),
        gradients=_num_bytes(parameter for group in inner.param_groups for parameter in group["params"]),
        optimizer_state=_bytes_of_state(inner),
    )


def _bytes_of_state(optimizer: Optimizer) -> int | None:
    """Let a twin of the optimizer take a step on parameters without numbers, and count what it keeps."""
    twin = copy.copy(optimizer)
    twin.state = defaultdict(dict)
    twin.param_groups = []
    for group in optimizer.param_groups:
        parameters = [nn.Parameter(torch.empty_like(parameter, device="meta")) for parameter in group["params"]]
        for parameter in parameters:
            parameter.grad = torch.empty_like(parameter)
        # The fused kernel is of real devices, and keeps what the plain one does.
        twin.param_groups.append({**group, "params": parameters} | ({"fused": False} if "fused" in group else {}))
    try:
        twin.step()
    except (RuntimeError, NotImplementedError, TypeError, AttributeError):  # kernels that want numbers, or a GPU
        return None
    return _num_bytes(value for state in twin.state.values() for value in state.values() if isinstance(value, Tensor))


def _num_bytes(tensors: Iterable[Tensor]) -> int:
    return sum(tensor.numel() * tensor.element_size() for tensor in tensors)
