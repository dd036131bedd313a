"""Adapters inside a live model, as the peft library puts them there: known by their attributes, peft is not imported."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectra.sources.adapter import (
    BASE,
    MERGED,
    Adapter,
    LowRankUpdate,
    Parts,
    arranged,
    low_rank_update,
    merged,
    plain_name,
    sort_parts,
)
from spectra.sources.module import open_module
from spectra.sources.tensors import Source, StoredTensor

if TYPE_CHECKING:
    import torch

# Variants of peft's LoRA layers that leave the weight W + s B A, or DoRA's: by the start of their classes' names.
_KNOWN_VARIANTS = ("Dora", "MiCA", "Velora")


@dataclass(frozen=True)
class _Layer:
    """A layer with adapters.

    Attributes:
        module: peft's layer.
        inside: Adapters that are merged into the layer's own weight.
        used: Adapters that the layer computes with: what is merged counts, until adapters are disabled.
        refused: Why its adapters are not read, or an empty string.
    """

    module: Any
    inside: tuple[str, ...]
    used: tuple[str, ...]
    refused: str


def has_adapters(model: torch.nn.Module) -> bool:
    """Tell whether a model holds LoRA layers.

    Args:
        model: Any module.

    Returns:
        ``True`` for a ``PeftModel`` with LoRA and for models with such layers put in; ``False`` for other adapters.
    """
    return any(_is_adapted(module) for module in model.modules())


def open_adapted(model: torch.nn.Module, mode: str) -> Source:
    """List the tensors of an adapted model in one of the modes of adapters.

    The adapters are those that the model computes with: the active ones, none where they are disabled, and the merged ones.

    Args:
        model: With LoRA layers; it is not changed.
        mode: ``"delta"``, ``"merged"``, ``"factors"`` or ``"base"``; see :mod:`spectra.sources.adapter`.

    Returns:
        The source.

    Raises:
        SourceError: No adapter is active, or one is of a kind that is not read.
    """
    inner = _unwrapped(model)
    source = open_module(inner)
    layers, wrappers = dict(_layers(inner)), dict(_wrappers(inner))
    parts, rest = sort_parts(source.tensors)
    own, saved = _own_and_saved(rest, wrappers)
    refused = {path: layer.refused for path, layer in layers.items() if layer.refused}
    updates: dict[str, tuple[LowRankUpdate, ...]] = {}
    for path, layer in layers.items():
        if path in refused:
            continue
        name = f"{path}.weight"
        of_layer = _updates(path, layer, layer.used, parts)
        is_done = mode == MERGED and layer.used == layer.inside  # the layer's own weight is what is asked for
        if not is_done:
            own = [_without_merged(t, path, layer, parts) if t.name == name else t for t in own]
        if mode == BASE:
            of_layer = of_layer or _updates(path, layer, tuple(parts[path]), parts)
        if of_layer and not is_done:
            updates[name] = of_layer
    base = dataclasses.replace(source, tensors=tuple(own))
    listed = tuple(part for path in refused for of_adapter in parts.get(path, {}).values() for part in of_adapter.values())
    if mode == MERGED and not updates and not saved and not refused:
        tensors = tuple(own)
    else:
        tensors = arranged(Adapter(source.location, updates, saved, refused, listed), base, mode)
    return dataclasses.replace(source, tensors=tensors)


def _is_adapted(module: Any) -> bool:
    has_parts = all(hasattr(getattr(module, name, None), "keys") for name in ("lora_A", "lora_B", "scaling"))
    return has_parts and hasattr(module, "base_layer")


def _unwrapped(model: Any) -> Any:
    """Take off compilation and parallel training, whose names would come before peft's own."""
    import torch

    parallel = (torch.nn.DataParallel, torch.nn.parallel.DistributedDataParallel)
    while True:
        inner = model.module if isinstance(model, parallel) else model._modules.get("_orig_mod")
        if inner is None:
            return model
        model = inner


def _path(name: str) -> str:
    return plain_name(".".join(part for part in name.split(".") if part != "_orig_mod"))


def _layers(model: torch.nn.Module) -> Iterator[tuple[str, _Layer]]:
    for name, module in model.named_modules():
        if _is_adapted(module):
            layer: Any = module
            is_off = bool(getattr(layer, "disable_adapters", False))
            present = set(layer.scaling)
            active = tuple(a for a in _names(layer, "active_adapters") if a in present)
            inside = tuple(a for a in getattr(layer, "merged_adapters", ()) if a in present)
            yield _path(name), _Layer(layer, inside, () if is_off else inside or active, _reason_to_refuse(layer))


def _names(module: Any, attribute: str) -> tuple[str, ...]:
    names: Any = getattr(module, attribute, None) or getattr(module, attribute.removesuffix("s"), None) or ()
    return (names,) if isinstance(names, str) else tuple(names)


def _reason_to_refuse(layer: Any) -> str:
    parameter = getattr(layer, "parameter_name", None)
    if parameter is not None:
        return f"an adapter of the parameter '{parameter}' itself, which is not read yet"
    if hasattr(layer, "lora_E"):
        return "an AdaLoRA adapter, whose singular values are parameters of their own: it is not read"
    variants = getattr(layer, "lora_variant", None) or {}
    unknown = {
        type(variant).__name__ for variant in variants.values() if not type(variant).__name__.startswith(_KNOWN_VARIANTS)
    }
    if unknown:
        return f"an adapter of the kind {', '.join(sorted(unknown))}, which is not read"
    if getattr(layer.base_layer, "groups", 1) > 1:
        return "an adapter of a grouped convolution, which has no merged weight"
    return ""


def _updates(path: str, layer: _Layer, adapters: Sequence[str], parts: Parts) -> tuple[LowRankUpdate, ...]:
    fan_in_fan_out = bool(getattr(layer.module, "fan_in_fan_out", False))
    return tuple(
        low_rank_update(
            path, parts[path][name], scale=float(layer.module.scaling[name]), fan_in_fan_out=fan_in_fan_out, adapter=name
        )
        for name in adapters
    )


def _without_merged(tensor: StoredTensor, path: str, layer: _Layer, parts: Parts) -> StoredTensor:
    """Take merged adapters out of a layer's weight again."""
    if not layer.inside:
        return tensor
    inside = _updates(path, layer, layer.inside, parts)
    if any(update.magnitude for update in inside):
        return dataclasses.replace(tensor, unreadable="merged with DoRA, which cannot be taken out: call unmerge_adapter first")
    return merged(tensor, [dataclasses.replace(update, scale=-update.scale) for update in inside])


def _wrappers(model: torch.nn.Module) -> Iterator[tuple[str, str]]:
    """Yield the paths of modules that peft keeps twice, as they were and as trained, and which of the copies is used."""
    for name, module in model.named_modules():
        copies: Any = getattr(module, "modules_to_save", None)
        if hasattr(copies, "keys") and hasattr(module, "original_module"):
            is_off = bool(getattr(module, "disable_adapters", False))
            active = [a for a in _names(module, "active_adapters") if a in copies.keys() and not is_off]  # noqa: SIM118
            yield _path(name), active[0] if active else ""


def _own_and_saved(
    tensors: Sequence[StoredTensor], wrappers: Mapping[str, str]
) -> tuple[list[StoredTensor], dict[str, StoredTensor]]:
    own: list[StoredTensor] = []
    saved: dict[str, StoredTensor] = {}
    for tensor in tensors:
        path, copy, attribute = _in_wrapper(tensor.name, wrappers)
        tied_to = "".join(part for part in _in_wrapper(tensor.tied_to, wrappers)[::2]) if tensor.tied_to else None
        renamed = dataclasses.replace(tensor, name=path + attribute, tied_to=tied_to)
        if copy == "":
            own.append(renamed)
        elif copy == wrappers[path]:
            saved[renamed.name] = dataclasses.replace(renamed, tied_to=None)
    return own, saved


def _in_wrapper(name: str, wrappers: Mapping[str, str]) -> tuple[str, str, str]:
    """Split a name into the path of peft's wrapper, the copy it belongs to (empty: the original), and the rest with its dot."""
    for path in wrappers:
        match = re.fullmatch(rf"{re.escape(path)}\.(?:original_module|modules_to_save\.(?P<copy>[^.]+))(?P<rest>\..+)", name)
        if match:
            return path, match["copy"] or "", match["rest"]
    return "", "", name
