"""Layers that peft adapts otherwise than by LoRA: the weights that they compute with, by peft's own ``get_delta_weight``.

================================  ==================================================================================
adapter                           weight
================================  ==================================================================================
LoRA                              read by ``spectra.sources.adapter_module``, not here
AdaLoRA, LoHa, LoKr, VeRA         W + what the adapter's ``get_delta_weight`` returns: the method that peft merges with
others, such as IA3 and OFT       refused: they scale or turn the weight, or their sum has not been held against peft's
prompts and prefixes              that of the layer: they change none
================================  ==================================================================================

peft is not imported: its layers are known by the names of their classes.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from spectra.errors import InputError
from spectra.sources.tensors import Source, StoredTensor
from spectra.training.parameter_groups import plain_parameter_name

_ADDING = {"AdaLoraLayer", "LoHaLayer", "LoKrLayer", "VeraLayer"}
_TOKENS = "TrainableTokensLayer"  # rows of embeddings, beside other adapters
_NOT_HERE = {"LoraLayer", _TOKENS}

READ = "LoRA, AdaLoRA, LoHa, LoKr or VeRA adapters"  # for messages

_COPY = re.compile(r"(?P<path>.+)\.(?:original_module|modules_to_save\.(?P<adapter>[^.]+))\..+")


def adding_layers(model: nn.Module) -> dict[str, Any]:
    """Find the layers whose adapter adds to their weight and is no LoRA.

    Args:
        model: Live, wrapped or not.

    Returns:
        peft's layers, by the plain path of the layer they are put around.

    Raises:
        InputError: Adapters that are not read, or several kinds in one model.
    """
    found: dict[str, Any] = {}
    kinds: set[str] = set()
    for name, module in model.named_modules():
        if "base_layer" not in module._modules or not hasattr(module, "adapter_layer_names"):
            continue
        path, bases = plain_parameter_name(name), [base.__name__ for base in type(module).__mro__]
        kind = next((base for base in bases if base in _ADDING or base in _NOT_HERE), None)
        if kind is None:
            unknown = next((base for base in bases if base.endswith("Layer")), bases[0]).removesuffix("Layer")
            raise InputError(
                f"'{path}': an adapter of the kind {unknown}, whose effect on the weight is not read. Train {READ}, or whole "
                "weights."
            )
        if kind in _ADDING:
            found[path] = module
        kinds |= {kind} - {_TOKENS}
    if found and len(kinds) > 1:  # of which peft puts one around the other
        raise InputError(f"'{next(iter(found))}': adapters of several kinds in one model are not read. Use one kind.")
    return found


def with_added_weights(source: Source, model: nn.Module, layers: Mapping[str, Any]) -> Source:
    """Replace weights by those that layers compute with, and leave out what adapters consist of.

    Args:
        source: Of the live model, as it is.
        model: That model.
        layers: From :func:`adding_layers`.

    Returns:
        The source. Of modules that peft keeps twice, as they were and as they are trained, it has the one that is used.
    """
    copies = dict(_used_copies(model))
    tensors = []
    for tensor in source.tensors:
        path, _, rest = tensor.name.partition(".base_layer.")
        layer = layers.get(plain_parameter_name(path))
        if rest == "weight" and layer is not None:
            tensors.append(dataclasses.replace(tensor, read=partial(_sum, tensor, layer), factors=None, tied_to=None))
        elif not _is_part(tensor.name, layers) and not _is_unused(tensor.name, copies):
            tensors.append(tensor)
    return dataclasses.replace(source, tensors=tuple(tensors))


def _used_copies(model: nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the paths of modules that peft keeps twice, and the name of the copy in use: empty for the original."""
    for name, module in model.named_modules():
        copies: Any = module._modules.get("modules_to_save")
        if copies is not None and "original_module" in module._modules:
            wrapper: Any = module
            active = [] if wrapper.disable_adapters else [name for name in wrapper.active_adapters if name in copies]
            yield plain_parameter_name(name), active[0] if active else ""


def _is_unused(name: str, copies: Mapping[str, str]) -> bool:
    match = _COPY.fullmatch(name)
    return match is not None and copies.get(plain_parameter_name(match["path"])) != (match["adapter"] or "")


def _is_part(name: str, layers: Mapping[str, Any]) -> bool:
    parts = name.split(".")
    above = (plain_parameter_name(".".join(parts[:length])) for length in range(1, len(parts)))
    return "base_layer" not in parts and not layers.keys().isdisjoint(above)


def _sum(tensor: StoredTensor, layer: Any, start: int, stop: int) -> NDArray[Any]:
    rows: NDArray[np.float64] = tensor.read(start, stop).astype(np.float64)
    present = {name for attribute in layer.adapter_layer_names for name in getattr(layer, attribute, ())}
    inside = [name for name in layer.merged_adapters if name in present]
    used = [] if layer.disable_adapters else inside or [name for name in layer.active_adapters if name in present]
    for adapter in [*used, *inside]:
        if (adapter in used) != (adapter in inside):
            delta = _delta(layer, adapter).reshape(tensor.shape)[start:stop]
            rows += delta if adapter in used else -delta
    return rows


@torch.no_grad()
def _delta(layer: Any, adapter: str) -> NDArray[np.float64]:
    whole: NDArray[np.float64] = layer.get_delta_weight(adapter).to("cpu", torch.float64).numpy()
    return whole
