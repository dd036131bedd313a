"""Which layers of a live model are balanced, and which unit each belongs to."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from spectra.diagnose.profiles import resolve_settings
from spectra.errors import InputError
from spectra.policies.learning_rate import ScalePolicy, scores_of
from spectra.policies.units import UnitKind, block_of
from spectra.sources.adapter_module import has_adapters
from spectra.training.layer_meter import LayerMeter
from spectra.training.parameter_groups import parameter_units, plain_parameter_name


@dataclass(frozen=True)
class BalancedLayers:
    """What is balanced.

    Attributes:
        policy: With the way to find a layer's block in this model.
        meter: Measures the layers.
        layers: Names of those that are measured: analysed and trained. In model order.
        members: Layers of each unit.
        device: Of the model.
    """

    policy: ScalePolicy
    meter: LayerMeter
    layers: tuple[str, ...]
    members: Mapping[str, tuple[str, ...]]
    device: torch.device


def balanced_layers(model: nn.Module, policy: ScalePolicy) -> BalancedLayers:
    """Find the layers of a model that a policy balances.

    Args:
        model: Live, wrapped or not. Layers that are not trained, and where there are adapters those without, take no part:
            their learning rate is nobody's.
        policy: Says which kinds of layers count, and what a unit is.

    Returns:
        The layers, their units, and what measures them.

    Raises:
        InputError: No layer is left.
    """
    analysis: dict[str, Any] = {"profile": "tempbalance"} | ({"lora": "merged"} if has_adapters(model) else {})
    analysis |= policy.analysis
    meter = LayerMeter(model, resolve_settings(**analysis))
    trained = _trained_layers(model, meter.layers)
    rows = [row for row in meter.rows_before_reading if row.layer_name in trained]
    if policy.unit == UnitKind.BLOCK:
        policy = dataclasses.replace(policy, unit=block_finder(model))
    members = {unit: layers for unit, layers in scores_of(rows, policy).members.items() if layers}
    taking_part = {layer for layers in members.values() for layer in layers}
    if not members:
        raise InputError(
            f"{type(model).__name__} has no layer that this policy could balance: {len(meter.layers)} are analysed, "
            f"{len(trained)} of them trained, none in a unit. Try unit='layer', or loosen kinds and exclude."
        )
    first = next(iter(model.parameters()))
    return BalancedLayers(policy, meter, tuple(name for name in meter.layers if name in taking_part), members, first.device)


def block_finder(model: nn.Module) -> Callable[[str], str | None]:
    """Return what finds the block of a layer in a model: the innermost entry of a ``ModuleList`` that holds it.

    Lists of experts are no blocks. In a model without such lists, names decide: ``spectra.policies.units.block_of``.

    Args:
        model: Live, wrapped or not.

    Returns:
        Layer name → path of its block, or ``None``.
    """
    lists = [name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)]
    plain = {plain_parameter_name(name) for name in lists}
    paths = {path for path in plain if path.rpartition(".")[2] != "experts"}
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


def _trained_layers(model: nn.Module, layers: tuple[str, ...]) -> set[str]:
    layer_of = parameter_units(model, {layer: (layer,) for layer in layers})
    parameters = dict(model.named_parameters())
    return {layer for name, layer in layer_of.items() if layer and parameters[name].requires_grad}
