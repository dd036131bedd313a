"""Borrow a model: whatever is changed to measure it is put back, also after an exception."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import contextmanager

import torch
from torch import nn

from spectra.fisher.provenance import MARK


@contextmanager
def as_found(model: nn.Module, measured: Collection[int] | None = None) -> Iterator[None]:
    """Put the model into eval mode and its gradients aside; afterwards put back modes, flags, gradients and random states.

    Args:
        model: Any module.
        measured: ``id`` of the parameters that shall require a gradient, all others shall not; ``None`` leaves the flags.

    Yields:
        Nothing.
    """
    modes = {module: module.training for module in model.modules()}
    parameters = list(model.parameters())
    found = [(parameter.grad, parameter.requires_grad) for parameter in parameters]
    with torch.random.fork_rng(devices=_devices(model), enabled=True):
        try:
            model.eval()
            for parameter in parameters:
                parameter.grad = None
                if measured is not None and parameter.requires_grad != (id(parameter) in measured):
                    parameter.requires_grad_(id(parameter) in measured)
            yield
        finally:
            for module, training in modes.items():
                module.training = training
            for parameter, (gradient, flag) in zip(parameters, found, strict=True):
                if parameter.requires_grad != flag:
                    parameter.requires_grad_(flag)
                parameter.grad = gradient
            for buffer in model.buffers():  # a model may write the batch, and what is known of it, into its own memory
                vars(buffer).pop(MARK, None)


def _devices(model: nn.Module) -> list[torch.device]:
    """Return the CUDA devices whose random state a forward pass may touch."""
    devices = {tensor.device for tensor in (*model.parameters(), *model.buffers())}
    return [device for device in devices if device.type == "cuda"]
