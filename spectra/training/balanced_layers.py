"""Which layers of a live model are balanced, and which unit each belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn
from torch.optim import Optimizer

from spectra.diagnose.profiles import resolve_settings
from spectra.errors import InputError
from spectra.policies.learning_rate import ScalePolicy, scores_of
from spectra.policies.units import UnitKind, block_of
from spectra.sources.adapter_module import has_adapters
from spectra.training.added_weights import READ
from spectra.training.layer_meter import LayerMeter
from spectra.training.parameter_groups import parameter_units, plain_parameter_name, unwrapped_optimizer


@dataclass(frozen=True)
class BalancedLayers:
    """What is balanced.

    Attributes:
        policy: For these layers: with the way to find a layer's block in this model, and without ``remove_first`` and
            ``remove_last``, which have been followed.
        meter: Measures the layers.
        layers: Names of those that are measured: analysed and trained. In model order.
        members: Layers of each unit.
        left_out: Why other analysed and trained layers take no part.
        device: Of the model.
    """

    policy: ScalePolicy
    meter: LayerMeter
    layers: tuple[str, ...]
    members: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]
    device: torch.device


def balanced_layers(model: nn.Module, policy: ScalePolicy, optimizer: Optimizer) -> BalancedLayers:
    """Find the layers of a model that a policy balances.

    Args:
        model: Live, wrapped or not. Layers that are not trained, and where there are adapters those without, take no part:
            their learning rate is nobody's.
        policy: Says which kinds of layers count, and what a unit is. Its ``remove_first`` and ``remove_last`` are of the layers
            that are trained.
        optimizer: Whose parameters are trained.

    Returns:
        The layers, their units, and what measures them.

    Raises:
        InputError: No layer is left, an optimizer of another model, or adapters that are not read.
    """
    analysis: dict[str, Any] = {"profile": "tempbalance"} | ({"lora": "merged"} if has_adapters(model) else {})
    analysis |= policy.analysis
    meter = LayerMeter(model, resolve_settings(**analysis))
    trained = _trained_layers(model, meter.layers, optimizer)
    rows = [row for row in meter.rows_before_reading if row.layer_name in trained]
    if policy.unit == UnitKind.BLOCK:
        policy = dataclasses.replace(policy, unit=block_finder(model))
    found = scores_of(rows, policy)
    if not found.members:
        raise InputError(_nothing(model, meter.layers, trained))
    taking_part = {layer for layers in found.members.values() for layer in layers}
    left_out = {layer: reason for layer, reason in found.left_out.items() if layer not in taking_part}
    policy = dataclasses.replace(policy, remove_first=False, remove_last=False)
    first = next(iter(model.parameters()))
    layers = tuple(name for name in meter.layers if name in taking_part)
    return BalancedLayers(policy, meter, layers, found.members, left_out, first.device)


def _nothing(model: nn.Module, layers: Collection[str], trained: Collection[str]) -> str:
    what = f"{type(model).__name__} has no layer that this policy could balance: {len(layers)} are analysed, "
    if not trained and any("prompt_encoder" in module._modules for module in model.modules()):
        return f"{what}and a prompt or prefix is trained, which changes no layer's weight. Train {READ}, or whole weights."
    if not trained:
        return f"{what}and none of them is trained (requires_grad). Make it after the choice of what is trained."
    return f"{what}{len(trained)} of them trained, none in a unit. Try unit='layer', or loosen kinds and exclude."


def block_finder(model: nn.Module) -> Callable[[str], str | None]:
    """Return what finds the block of a layer in a model: the innermost entry of a ``ModuleList`` that holds it.

    Lists of experts are no blocks, nor are lists of different modules inside an entry of another list, as the attention and the
    feed-forward part of a T5 block. In a model without such lists, names decide: ``spectra.policies.units.block_of``.

    Args:
        model: Live, wrapped or not.

    Returns:
        Layer name → path of its block, or ``None``.
    """
    lists = {plain_parameter_name(name): module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    paths = {
        path for path, entries in lists.items() if not path.endswith("experts") and not _are_sublayers(path, entries, lists)
    }
    if not paths:
        return block_of

    def find(layer_name: str) -> str | None:
        parts = layer_name.split(".")
        # The last component is the layer itself: an entry that is a bare layer is no block.
        for length in range(len(parts) - 1, 1, -1):
            if parts[length - 1].isdigit() and ".".join(parts[: length - 1]) in paths:
                return ".".join(parts[:length])
        return None

    return find


def _are_sublayers(path: str, entries: nn.ModuleList, lists: Mapping[str, nn.ModuleList]) -> bool:
    """Whether a list is a block taken apart, and not a stage of equal blocks."""
    parts = path.split(".")
    is_inside = any(parts[place].isdigit() and ".".join(parts[:place]) in lists for place in range(1, len(parts)))
    return is_inside and len({type(entry) for entry in entries}) > 1


def _trained_layers(model: nn.Module, layers: tuple[str, ...], optimizer: Optimizer) -> set[str]:
    layer_of = parameter_units(model, {layer: (layer,) for layer in layers})
    known = {id(parameter) for group in unwrapped_optimizer(optimizer).param_groups for parameter in group["params"]}
    parameters = dict(model.named_parameters())
    if known.isdisjoint(map(id, parameters.values())):
        raise InputError(
            f"optimizer: it has parameters that {type(model).__name__} does not have. Pass the model it was made for, after "
            "all wrapping."
        )
    return {layer for name, layer in layer_of.items() if layer and _is_trained(parameters[name], known)}


def _is_trained(parameter: nn.Parameter, known: Collection[int]) -> bool:
    return parameter.requires_grad and id(parameter) in known
