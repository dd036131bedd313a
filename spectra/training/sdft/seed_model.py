"""The seed model, which is the one before fine-tuning: for a while, inside the model that is being tuned."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import torch
from torch import nn

from spectra.errors import InputError
from spectra.fisher.tasks import without_peft


@contextmanager
def as_seed(model: nn.Module) -> Iterator[nn.Module]:
    """Let a model speak as it was before fine-tuning: in eval mode, without gradients, its adapter switched off.

    Gradients are off by ``no_grad`` and not by inference mode: what a model keeps of a pass, such as the frequencies of dynamic
    rotary positions, could not be trained with afterwards.

    Args:
        model: Any; of peft, or with an adapter that transformers loaded, its base speaks.

    Yields:
        The base, or the model itself. Afterwards every module has its mode and every parameter its ``requires_grad`` again.

    Raises:
        InputError: The adapter is merged into the weights, which switching it off would change.
    """
    if any(getattr(module, "merged", False) is True for module in model.modules()):
        raise InputError("the adapter is merged into the weights of the model. Call its unmerge_adapter(), or give the base.")
    training = [module for module in model.modules() if module.training]
    trained = {id(parameter) for parameter in model.parameters() if parameter.requires_grad}
    model.eval()
    try:
        with torch.no_grad(), _without_adapter(model):
            yield without_peft(model)
    finally:
        for module in training:
            module.training = True
        for parameter in model.parameters():  # peft makes all of an adapter trainable when it is switched on again
            if parameter.requires_grad != (id(parameter) in trained):
                parameter.requires_grad_(id(parameter) in trained)


def _without_adapter(model: Any) -> AbstractContextManager[Any]:
    if hasattr(model, "disable_adapter"):  # of peft
        return model.disable_adapter()  # type: ignore[no-any-return]
    return _own_adapter_off(model) if getattr(model, "_hf_peft_config_loaded", False) else nullcontext()


@contextmanager
def _own_adapter_off(model: Any) -> Iterator[None]:
    """Do the same for an adapter that ``load_adapter`` of transformers put into the model."""
    model.disable_adapters()
    try:
        yield
    finally:
        model.enable_adapters()
