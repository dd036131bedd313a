"""Pruning of a model in memory."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spectra.errors import InputError
from spectra.sources.adapter_module import has_adapters
from spectra.sources.names import unwrapped_names
from spectra.sources.open import open_source
from spectra.training.pruning.outcome import PruneReport
from spectra.training.pruning.tasks import PruneTask, checked_method, pruning_tasks

if TYPE_CHECKING:
    from spectra.policies.plan import Plan


@torch.no_grad()
def prune_module(
    model: nn.Module,
    sparsities: Plan | Mapping[str, float],
    *,
    method: str = "magnitude",
    input_norms: Mapping[str, Tensor] | None = None,
) -> PruneReport:
    """Set the smallest weights of a live model's layers to zero, in place.

    Nothing holds them there: training moves them on. Keep ``copy.deepcopy(model.state_dict())`` to go back.

    Of a plan, layers are found by their names, and that is all that is compared: neither its fingerprint nor the sizes of its
    layers. So a plan of other weights under the same names is applied without a word, and for other sizes its global sparsity
    does not hold. Of a checkpoint :func:`~spectra.training.pruning.checkpoint.prune_checkpoint` compares the fingerprint, and
    adds a note where it differs.

    Args:
        model: On any device, compiled or wrapped in ``DistributedDataParallel`` too. A tied weight is pruned once.
        sparsities: A plan, or a sparsity by layer name.
        method: ``"magnitude"`` or ``"wanda"``.
        input_norms: For Wanda, by layer, from :func:`spectra.training.pruning.inputs.input_norms`.

    Returns:
        What was done, layer by layer.

    Raises:
        InputError: A layer that is not there or cannot be pruned, an unknown method, or one without what it needs. Nothing has
            been changed then.
    """
    checked = checked_method(method, input_norms)
    if has_adapters(model):
        raise InputError("the model has adapters, which a base pruned below them no longer fits. Merge them first.")
    source = open_source(model)
    tasks = pruning_tasks(source, sparsities, checked, input_norms)
    weights = _weights(model, tasks)
    masks = [task.keep_mask(weight) for task, weight in zip(tasks, weights, strict=True)]  # all, before anything is changed
    for weight, keep_mask in zip(weights, masks, strict=True):
        weight.masked_fill_(~keep_mask, 0.0)
    zeros = [weight.numel() - int(weight.count_nonzero()) for weight in weights]
    layers = tuple(task.outcome(count) for task, count in zip(tasks, zeros, strict=True))
    return PruneReport(source.name, checked.value, layers)


def _weights(model: nn.Module, tasks: list[PruneTask]) -> list[Tensor]:
    """Return the parameters of the tasks' layers."""
    old, parameters = zip(*model.named_parameters(remove_duplicate=False), strict=True)
    by_name = dict(zip(unwrapped_names(old), parameters, strict=True))
    for task in tasks:
        parameter = by_name.get(task.layer.tensor.name)
        if parameter is None:
            raise InputError(f"layer '{task.layer.name}' is computed from other parameters. Remove its parametrization first.")
        if hasattr(parameter, "device_mesh"):
            raise InputError(f"layer '{task.layer.name}' is sharded over processes. Prune the checkpoint, then load it.")
    return [by_name[task.layer.tensor.name] for task in tasks]
