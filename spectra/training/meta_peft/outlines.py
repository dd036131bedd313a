"""A model without its numbers, on torch's meta device: it tries what may fail, and takes no memory until it is filled."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import TypeVar

import torch
from torch import Tensor, nn

Model = TypeVar("Model", bound=nn.Module)


def outline(model: Model) -> Model:
    """Copy a model without the numbers of its state dict.

    Args:
        model: Any; it is not changed.

    Returns:
        The copy. Its parameters and buffers are on the meta device, but for the buffers that no state dict has.
    """
    return _with_tensors(model, lambda _, tensor: _like(tensor, torch.empty_like(tensor, device="meta")))


def filled(empty: Model, state: Mapping[str, Tensor]) -> Model:
    """Make a model of its outline.

    Args:
        empty: From :func:`outline`; it is not changed.
        state: All tensors of its state dict; they are copied. Keys that share a tensor in the outline share one again.

    Returns:
        The model, on the device of the tensors.
    """
    model = _with_tensors(empty, lambda key, tensor: _like(tensor, state[key].detach().clone()))
    first = next(iter(state.values()), None)
    return model if first is None else model.to(first.device)


def around(empty: Model, live: Mapping[str, Tensor]) -> Model:
    """Make a model of its outline around parameters and buffers that another has, too.

    Args:
        empty: From :func:`outline`; it is not changed.
        live: The parameters and buffers themselves, by the keys of the outline's state dict.

    Returns:
        The model: what changes in one of the two changes in both.
    """
    return _with_tensors(empty, lambda key, _: live[key])


def _with_tensors(model: Model, make: Callable[[str, Tensor], Tensor]) -> Model:
    """Copy a model with other tensors in the place of its own: what shared one does so in the copy."""
    memo: dict[int, Tensor] = {}
    for key, tensor in model.state_dict(keep_vars=True).items():
        if isinstance(tensor, Tensor) and id(tensor) not in memo:
            memo[id(tensor)] = make(key, tensor)
    return copy.deepcopy(model, memo)


def _like(tensor: Tensor, numbers: Tensor) -> Tensor:
    return nn.Parameter(numbers, tensor.requires_grad) if isinstance(tensor, nn.Parameter) else numbers.detach()
