"""The weights of a model in training: listed once under their plain names, found again in their modules, copied.

Names are those of the plain model, whatever is around it: parallel and compiled training, activation checkpointing, adapters.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spectra.diagnose.plan import plan_analysis
from spectra.errors import InputError
from spectra.esd.eigenvalues import MATRIX_ERRORS
from spectra.matrices import WeightMatrices
from spectra.results.settings import AnalysisSettings
from spectra.sources import open_source
from spectra.sources.adapter_module import has_adapters
from spectra.sources.module import open_module
from spectra.sources.tensors import Source, StoredTensor
from spectra.sources.torch_tensor import row_reader
from spectra.training.added_weights import adding_layers, with_added_weights
from spectra.training.parameter_groups import plain_parameter_name
from spectra.training.sharded_layers import Shard, as_if_whole, is_sharded, local_part, shards_of

# In the names of parameters that peft computes a layer's weight from.
_OF_ADAPTERS = {"base_layer", "modules_to_save", "original_module"}
# What peft's layers compute with.
_ADAPTER_STATE = ("merged_adapters", "active_adapters", "disable_adapters", "scaling")

_SAMPLED_ROWS = 16  # of a weight, to see how far it has moved


@dataclass(frozen=True)
class Place:
    """Where a weight is that a module holds as it is: the module, and the name of its parameter."""

    module: nn.Module
    attribute: str

    def get(self) -> Tensor:
        """Return the parameter as it is now."""
        found: Tensor = getattr(self.module, self.attribute)
        return found.detach()


@dataclass(frozen=True)
class LiveWeights:
    """The weights of a model that are analysed.

    Attributes:
        jobs: In model order. They read what the modules hold at that time.
        settings: With what depends on the model filled in.
        places: Where a weight is, by tensor name; weights that are computed from several parameters are missing.
        shards: By tensor name: parts that must be gathered before a weight can be read; empty without sharding.
    """

    jobs: tuple[WeightMatrices, ...]
    settings: AnalysisSettings
    places: Mapping[str, Place]
    shards: Mapping[str, tuple[Shard, ...]]


def live_weights(model: nn.Module, settings: AnalysisSettings) -> LiveWeights:
    """Choose the weights to analyse, without gathering what is sharded.

    Args:
        model: Live, wrapped or not. It is not changed.
        settings: Resolved settings. ``lora`` is for models with adapters.

    Returns:
        The weights.

    Raises:
        InputError: A weight that cannot be gathered: separate experts in one spectrum. Adapters that are not read.
    """
    shards, adding = shards_of(model), adding_layers(model)
    with as_if_whole(shards):
        if adding:  # first: what they consist of may look like LoRA
            source = with_added_weights(open_module(model), model, adding)
        else:
            source = open_source(model, lora=settings.lora if has_adapters(model) else "delta")
    plan = plan_analysis(_plainly_named(source), settings)
    parameters, modules = _places(model)
    tensors = {job.tensor.name: job.tensor for job in plan.jobs}
    places = {name: parameters[name] for name, tensor in tensors.items() if name in parameters and not tensor.quantized}
    needed = {name: _needed(name, places.get(name), modules, shards) for name in tensors} if shards else {}
    return LiveWeights(plan.jobs, plan.settings, places, needed)


def weights_state(model: nn.Module) -> tuple[Any, ...]:
    """Return what must not change while weights stay listed: names, shapes, dtypes, sharding, and which adapters count.

    Args:
        model: Live.

    Returns:
        Equal for a model whose weights were changed in place, or replaced by others of the same kind.
    """
    parameters = ((name, tuple(p.shape), p.dtype, is_sharded(p)) for name, p in model.named_parameters())
    adapters = (
        str([getattr(module, name, None) for name in _ADAPTER_STATE])
        for module in model.modules()
        if hasattr(module, _ADAPTER_STATE[0])
    )
    return (*parameters, *adapters)


def copied(jobs: Sequence[WeightMatrices], places: Mapping[str, Place]) -> list[WeightMatrices]:
    """Copy weights to host memory.

    Args:
        jobs: Weights whose numbers are all there.
        places: As in :class:`LiveWeights`. From a GPU such weights go through pinned memory, in their own dtype.

    Returns:
        The same, to be read from the copies. A weight that cannot be read says so when it is analysed.
    """
    copies: dict[int, StoredTensor] = {}
    result = []
    for job in jobs:
        key = id(job.tensor)  # the parts of a fused weight share one
        if key not in copies:
            copies[key] = _copied(job.tensor, places.get(job.tensor.name))
        result.append(dataclasses.replace(job, tensor=copies[key]))
    devices = {places[job.tensor.name].get().device for job in jobs if job.tensor.name in places}
    for device in devices:
        if device.type == "cuda":
            torch.cuda.synchronize(device)
    return result


def sampled_rows(job: WeightMatrices, weights: LiveWeights) -> Tensor | None:
    """Copy a few evenly spaced rows of a weight as it is now.

    Args:
        job: Any of the rows of a tensor.
        weights: That it belongs to.

    Returns:
        float32: 16 rows, or what there is; of what this process holds of a sharded weight. Rows of single experts, and whole
        filters of a convolution. ``None`` for what cannot be read here.
    """
    tensor = job.tensor
    place = weights.places.get(tensor.name)
    if tensor.unreadable or tensor.no_base or not tensor.size or (place is None and weights.shards):
        return None
    if place is None:
        try:
            rows = [tensor.read(row, row + 1).reshape(-1) for row in _spread(tensor.shape[0]).tolist()]
        except MATRIX_ERRORS:  # measuring it says what is wrong
            return None
        return torch.from_numpy(np.stack(rows)).float()
    flat = local_part(place.get()).reshape(-1)
    has_filters = job.kind.startswith("conv") or len(tensor.shape) == 2
    width = max(1, min(len(flat), math.prod(tensor.shape[1:]) if has_filters else tensor.shape[-1]))
    whole = flat[: len(flat) // width * width].reshape(-1, width)
    return whole[_spread(len(whole)).to(whole.device)].float()


def _spread(length: int) -> Tensor:
    """Evenly spaced indices, the first and the last among them."""
    return torch.linspace(0, max(length - 1, 0), min(length, _SAMPLED_ROWS)).long()


def _copied(tensor: StoredTensor, place: Place | None) -> StoredTensor:
    if tensor.unreadable or tensor.no_base:
        return tensor
    if place is not None:
        weight = place.get()
        # Without waiting torch copies into pinned memory.
        copy = weight.to("cpu", copy=True, non_blocking=weight.is_cuda)
        return dataclasses.replace(tensor, read=row_reader(partial(_itself, copy)))
    try:
        if tensor.factors is not None:
            left, right = (np.array(factor) for factor in tensor.factors())
            read = partial(_product, left, right, tensor.shape[1:])
            return dataclasses.replace(tensor, factors=partial(_itself, (left, right)), read=read)
        return dataclasses.replace(tensor, read=partial(_rows, np.array(tensor.read(0, tensor.shape[0]))))
    except MATRIX_ERRORS as error:
        return dataclasses.replace(tensor, factors=None, read=partial(_raise, error))


def _itself(value: Any) -> Any:
    return value


def _rows(whole: NDArray[Any], start: int, stop: int) -> NDArray[Any]:
    return whole[start:stop]


def _product(left: NDArray[Any], right: NDArray[Any], rest: tuple[int, ...], start: int, stop: int) -> NDArray[Any]:
    product: NDArray[Any] = left[start:stop] @ right
    return product.reshape(-1, *rest)


def _raise(error: Exception, start: int, stop: int) -> NDArray[Any]:
    raise error


def _needed(
    name: str, place: Place | None, modules: Mapping[str, Sequence[nn.Module]], shards: Sequence[Shard]
) -> tuple[Shard, ...]:
    """The parts that a weight is read from: its own, or those of the module that computes it."""
    if place is not None:
        return tuple(shard for shard in shards if shard.module is place.module and shard.attribute == place.attribute)
    homes = modules.get(name.rpartition(".")[0])
    if not homes:
        raise InputError(f"'{name}': weights of several modules in one spectrum cannot be sharded. Set moe='per_expert'.")
    inside = {id(module) for home in homes for module in home.modules()}
    return tuple(shard for shard in shards if id(shard.module) in inside)


def _plainly_named(source: Source) -> Source:
    """Take off the names of wrappers that only training has."""
    names = {tensor.name: plain_parameter_name(tensor.name) for tensor in source.tensors}
    if len(set(names.values())) < len(names):  # what peft keeps twice, and lists once, goes by its own name
        return source
    tensors = tuple(
        dataclasses.replace(
            tensor,
            name=names[tensor.name],
            tied_to=names.get(tensor.tied_to or "", tensor.tied_to),
            part_of=names.get(tensor.part_of or "", tensor.part_of),
        )
        for tensor in source.tensors
    )
    return dataclasses.replace(source, tensors=tensors)


def _places(model: nn.Module) -> tuple[dict[str, Place], dict[str, list[nn.Module]]]:
    """The parameters and the modules by plain name; a module shares it with what wraps it, and with peft's copies of it."""
    parameters: dict[str, Place] = {}
    modules: dict[str, list[nn.Module]] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        modules.setdefault(plain_parameter_name(path), []).append(module)
        if _OF_ADAPTERS.isdisjoint(path.split(".")):
            for attribute in module._parameters:
                name = plain_parameter_name(f"{path}.{attribute}" if path else attribute)
                parameters.setdefault(name, Place(module, attribute))
    return parameters, modules
