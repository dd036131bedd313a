"""Layers divided over the processes of a run, and weights of which every process holds a part, one layer at a time.

==========================  ===================================  ==============================================
training                    a weight is                          how it becomes whole
==========================  ===================================  ==============================================
DDP                         on every process                     it is
FSDP2, tensor parallel      a ``DTensor``                        its parts go to the one process that asks
FSDP1                       rows of a flat parameter             ``summon_full_params`` of its unit
ZeRO-3                      elsewhere (``ds_id``)                ``GatheredParameters``; not tested here
==========================  ===================================  ==============================================

Everything here that gathers, adds up or exchanges must be called by all processes, in the same order.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any, TypeVar

import torch
from torch import Tensor, distributed, nn

from spectra.errors import InputError
from spectra.fisher.distributed import is_distributed, rank
from spectra.training.gram_rows import gram_of

Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """A parameter of which this process holds a part, or nothing.

    Attributes:
        module: That holds it.
        attribute: Its name there.
        shape: Of the whole parameter.
        unit: FSDP1's module that gathers it; ``None`` elsewhere.
    """

    module: nn.Module
    attribute: str
    shape: tuple[int, ...]
    unit: nn.Module | None = None

    def get(self) -> Any:
        """Return the parameter as it is registered now."""
        return self.module._parameters[self.attribute]


def num_processes() -> int:
    """Return how many processes train together; 1 for one alone."""
    return distributed.get_world_size() if is_distributed() else 1


def is_sharded(parameter: Tensor) -> bool:
    """Tell whether a parameter is one of FSDP2's, tensor parallelism's or ZeRO-3's."""
    return _is_dtensor(parameter) or hasattr(parameter, "ds_id")


def shards_of(model: nn.Module) -> tuple[Shard, ...]:
    """List the parameters that have to be gathered.

    Args:
        model: Live, wrapped or not.

    Returns:
        In the order of the modules, the same on every process; empty for a model that is whole everywhere.

    Raises:
        InputError: FSDP1 without ``use_orig_params``: there are no layers' parameters then, but flat ones.
    """
    if not is_distributed():
        return ()
    found = [
        Shard(module, name, tuple(getattr(parameter, "ds_shape", parameter.shape)))
        for module in model.modules()
        for name, parameter in module._parameters.items()
        if parameter is not None and is_sharded(parameter)
    ]
    return (*found, *_flat_shards(model))


def _flat_shards(model: nn.Module) -> Iterator[Shard]:
    from torch.distributed.fsdp import FullyShardedDataParallel

    for root in FullyShardedDataParallel.fsdp_modules(model, root_only=True):
        # Gathering an inner unit before the outer one has been used would make the inner one a root.
        with FullyShardedDataParallel.summon_full_params(root, recurse=False, writeback=False):
            pass
    for unit in FullyShardedDataParallel.fsdp_modules(model):
        flat: Any = unit._flat_param if unit._has_params else None
        if flat is None:
            continue
        if not unit._use_orig_params:
            raise InputError("FSDP: the parameters of layers are not there. Wrap the model with use_orig_params=True.")
        for (name, module, _), shape in zip(flat._param_infos, flat._shapes, strict=True):
            yield Shard(module, name, tuple(shape), unit)


@contextmanager
def as_if_whole(shards: Sequence[Shard]) -> Iterator[None]:
    """Put stand-ins of full shape, without memory, in place of parts: a model can then be listed, not read.

    Args:
        shards: From :func:`shards_of`.

    Yields:
        Nothing.
    """
    stand_ins: dict[int, Tensor] = {}  # tied parameters stay tied
    with ExitStack() as stack:
        for shard in shards:
            parameter = shard.get()
            empty = torch.empty(1, dtype=parameter.dtype, device=parameter.device)
            _put(stack, shard, stand_ins.setdefault(id(parameter), empty.expand(shard.shape)))
        yield


@contextmanager
def gathered(shards: Sequence[Shard], owner: int) -> Iterator[None]:
    """Make parameters whole on one process.

    FSDP1 and ZeRO-3 make them whole on all.

    Args:
        shards: Of one layer.
        owner: The process where they can be read within the context.

    Yields:
        Nothing.
    """
    with ExitStack() as stack, torch.no_grad():
        for unit in dict.fromkeys(shard.unit for shard in shards if shard.unit is not None):
            from torch.distributed.fsdp import FullyShardedDataParallel

            stack.enter_context(FullyShardedDataParallel.summon_full_params(unit, recurse=False, writeback=False))
        elsewhere = [shard.get() for shard in shards if hasattr(shard.get(), "ds_id")]
        if elsewhere:
            stack.enter_context(import_module("deepspeed").zero.GatheredParameters(elsewhere))
        for shard in shards:
            if _is_dtensor(shard.get()):
                whole = _at_owner(shard.get(), owner)
                if whole is not None:
                    _put(stack, shard, whole)
        yield


def _put(stack: ExitStack, shard: Shard, tensor: Tensor) -> None:
    """Register a tensor in place of a parameter, until the stack is left."""
    parameters: dict[str, Any] = shard.module._parameters
    stack.callback(parameters.__setitem__, shard.attribute, parameters[shard.attribute])
    parameters[shard.attribute] = tensor


def _is_dtensor(tensor: Any) -> bool:
    if not distributed.is_available():
        return False
    from torch.distributed.tensor import DTensor

    return isinstance(tensor, DTensor)


def _at_owner(tensor: Any, owner: int) -> Tensor | None:
    dim = _sharded_dim(tensor)
    if dim is None:  # several meshes, replicas, or a part of the processes: torch knows, and gathers on all
        whole: Tensor = tensor.full_tensor()
        return whole if rank() == owner else None
    length, count = tensor.shape[dim], num_processes()
    chunk = -(-length // count)  # as torch.chunk: the last parts may be shorter, or empty
    part = _local(tensor)
    padding = list(part.shape)
    padding[dim] = chunk - part.shape[dim]
    part = torch.cat([part, part.new_empty(padding)], dim)
    parts = [torch.empty_like(part) for _ in range(count)] if rank() == owner else None
    distributed.gather(part, parts, dst=owner, group=tensor.device_mesh.get_group())
    return torch.cat(parts, dim).narrow(dim, 0, length) if parts else None


def _sharded_dim(tensor: Any) -> int | None:
    """The dimension along which a tensor is divided over all processes in order; ``None`` for everything else."""
    from torch.distributed.tensor import Shard as Divided

    if tensor.device_mesh.mesh.tolist() != list(range(num_processes())):
        return None
    (placement,) = tensor.placements
    return int(placement.dim) if type(placement) is Divided else None


def _local(tensor: Any) -> Tensor:
    """This process' part, where processes talk: offloaded parameters are on the host."""
    local: Tensor = tensor.to_local().detach()
    return local if local.device.type == tensor.device_mesh.device_type else local.to(tensor.device_mesh.device_type)


def local_part(tensor: Tensor) -> Tensor:
    """Return what this process holds of a parameter.

    Args:
        tensor: Sharded or not.

    Returns:
        Its part of a ``DTensor``; any other tensor itself.
    """
    return tensor.to_local().detach() if _is_dtensor(tensor) else tensor  # type: ignore[attr-defined]


def has_divided_rows(tensor: Tensor) -> bool:
    """Tell whether a weight is divided along its first dimension, so that Gram matrices of its parts add up.

    Args:
        tensor: A registered parameter.

    Returns:
        ``True`` for a matrix of FSDP2's, or one that tensor parallelism divides by outputs.
    """
    return tensor.dim() == 2 and _is_dtensor(tensor) and _sharded_dim(tensor) == 0


def summed_gram(tensor: Any, owner: int, precision: str) -> Tensor | None:
    """Add up the Gram matrices of all processes' rows; the weight itself is gathered nowhere.

    Args:
        tensor: A ``DTensor`` for which :func:`has_divided_rows`, not wider than tall.
        owner: Process that gets the sum.
        precision: Of the products and of the sum.

    Returns:
        Shape ``(cols, cols)`` on the owner, ``None`` elsewhere.
    """
    gram = gram_of(_local(tensor), precision)
    distributed.reduce(gram, dst=owner, group=tensor.device_mesh.get_group())
    return gram if rank() == owner else None


def owners(costs: Sequence[float], count: int) -> list[int]:
    """Divide jobs over processes: the longest first, each to the process with the least work so far.

    Args:
        costs: Of each job.
        count: Number of processes.

    Returns:
        The process of each job; the same on every process.
    """
    load = [0.0] * count
    chosen = [0] * len(costs)
    for number in sorted(range(len(costs)), key=lambda n: -costs[n]):
        chosen[number] = min(range(count), key=load.__getitem__)
        load[chosen[number]] += costs[number]
    return chosen


def exchanged(items: Sequence[Item]) -> list[Item]:
    """Put together what all processes have, in the order of processes.

    Args:
        items: Of this process, small.

    Returns:
        The same list on every process.
    """
    if not is_distributed():
        return list(items)
    parts: list[Any] = [None] * num_processes()
    distributed.all_gather_object(parts, list(items))
    return [item for part in parts for item in part]
