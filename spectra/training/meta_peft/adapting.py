"""Phase two: a new task, for which a small adapter and a head are trained over a base that stays as it is.

Block et al. (2025), arXiv 2410.22264, section 2: the base is frozen, and adapter and head are new. The same call takes a base
that was retrained in any way and one that was not, so that they can be compared.
"""

from __future__ import annotations

import copy
import os
import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig, Trainer, TrainingArguments

from spectra.errors import InputError, SpectraWarning, did_you_mean
from spectra.training.batch_means import divide_by_batches
from spectra.training.libraries import imported
from spectra.training.meta_peft.adapter_configs import fitted, head_names, last_layer_config
from spectra.training.meta_peft.adapter_making import (
    check_heads,
    check_ranks,
    largest_ranks,
    refusals,
    refuse_adapted,
    with_adapters,
)
from spectra.training.meta_peft.base_weights import fresh_head, from_folder, with_labels
from spectra.training.meta_peft.retraining_info import INFO, Retrained, RetrainingInfo, read_info

_HEADS = ("fresh", "keep", "none")

# The name that peft gives an adapter by default, so that it is saved where it is looked for.
_ADAPTER = "default"


def adaptation_trainer(
    base: Retrained | nn.Module | str | os.PathLike[str],
    dataset: Any,
    peft_config: Any,
    args: TrainingArguments,
    *,
    eval_dataset: Any = None,
    loss_fn: Callable[[nn.Module, Any], Tensor] | None = None,
    head: str | None = None,
    head_modules: Sequence[str] | None = None,
    num_labels: int | None = None,
    data_collator: Any = None,
    processing_class: Any = None,
    compute_metrics: Any = None,
    callbacks: Sequence[Any] = (),
) -> Trainer:
    """Make a trainer that adapts a copy of a base to a new task.

    Args:
        base: A base that was retrained, any model, or a folder with either. It is not changed.
        dataset: Of the new task.
        peft_config: Of peft, any method; ``None``: only the head is trained. It is not changed.
        args: Of the training; ``seed`` is also that of the adapter's and the head's first values.
        eval_dataset: Of the new task.
        loss_fn: Of a model and a batch: their mean loss. Default: what the model returns itself.
        head: ``"fresh"``: drawn anew, and trained whole. ``"keep"``: trained whole from where it is. ``"none"``: not trained.
            Default: ``"fresh"`` if the model has a head.
        head_modules: Names of the modules of the head. Default: those of retraining, or ``score`` or ``classifier``.
        num_labels: Of a fresh head, for a model of transformers. Default: as many as the base has.
        data_collator: As for ``Trainer``.
        processing_class: As for ``Trainer``.
        compute_metrics: As for ``Trainer``; not with ``loss_fn``, which gives no predictions.
        callbacks: As for ``Trainer``.

    Returns:
        The trainer. Its model is a ``PeftModel``, which counts what is trained: ``get_nb_trainable_parameters()``.

    Raises:
        InputError: Arguments of another kind, options that cannot be together, or a configuration that does not fit the model.
    """
    _check_arguments(dataset, peft_config, args, loss_fn, num_labels)
    if loss_fn is not None and compute_metrics is not None:
        raise InputError("compute_metrics with loss_fn: a loss gives no predictions to measure. Leave one of them out.")
    model, info = _copied(base)
    if loss_fn is None and not isinstance(getattr(model, "config", None), PretrainedConfig):
        raise InputError(f"loss_fn: a {type(model).__name__} does not know its loss. Give a function of model and batch.")
    refuse_adapted(model)
    heads = _heads(model, info, head, head_modules)
    if num_labels is not None:
        if not heads or head == "keep":
            raise InputError(f"num_labels {num_labels}: only a fresh head can have another size. Choose head='fresh'.")
        with_labels(model, heads, num_labels)
    if heads and head != "keep":
        fresh_head(model, heads, args.seed)
    adapted = _adapted(model, peft_config, heads, args.seed)
    if peft_config is not None:
        _warn_of_small_rank(largest_ranks(adapted).get(_ADAPTER, getattr(peft_config, "r", None)), info)
    return _Adaptation(
        adapted,
        args,
        loss_fn=loss_fn,
        train_dataset=dataset,
        eval_dataset=eval_dataset,
        data_collator=data_collator,
        processing_class=processing_class,
        compute_metrics=compute_metrics,
        callbacks=[*callbacks],
    )


def adapt(
    base: Retrained | nn.Module | str | os.PathLike[str],
    dataset: Any,
    peft_config: Any,
    args: TrainingArguments,
    **options: Any,
) -> Any:
    """Adapt a copy of a base to a new task.

    .. code-block:: python

        for base in (retrained, pretrained):
            print(score(adapt(base, rows, LoraConfig(r=8, target_modules=["query", "value"]), args)))

    Args:
        base: As for :func:`adaptation_trainer`.
        dataset: Of the new task.
        peft_config: Of peft; ``None``: only the head is trained.
        args: Of the training.
        **options: Others of :func:`adaptation_trainer`.

    Returns:
        A ``PeftModel``, in evaluation mode.
    """
    trainer = adaptation_trainer(base, dataset, peft_config, args, **options)
    trainer.train()
    adapted: Any = trainer.model
    return adapted.eval()


class _Adaptation(Trainer):
    """transformers' trainer, which can ask a function of model and batch for the loss, and leaves the base as it is."""

    def __init__(
        self, model: nn.Module, args: TrainingArguments, *, loss_fn: Callable[[nn.Module, Any], Tensor] | None, **options: Any
    ) -> None:
        self.loss_fn = loss_fn
        if loss_fn is not None:
            args = copy.copy(args)
            args.remove_unused_columns = False  # the function may use what the model does not
        super().__init__(model, args, **options)
        if loss_fn is not None:
            self.model_accepts_loss_kwargs = False  # a mean of each batch, so that the trainer divides by their number
        else:
            divide_by_batches(self)
        self._fixed = _with_statistics_of_the_base(model)

    def compute_loss(self, model: nn.Module, inputs: Any, return_outputs: bool = False, num_items_in_batch: Any = None) -> Any:
        """Return the loss of a batch."""
        for module in self._fixed:  # here, because the trainer puts all into training mode before every batch
            module.eval()
        if self.loss_fn is None:
            return super().compute_loss(model, inputs, return_outputs, num_items_in_batch)
        loss = self.loss_fn(model, inputs)
        return (loss, None) if return_outputs else loss

    def prediction_step(self, model: nn.Module, inputs: Any, *arguments: Any, **options: Any) -> Any:
        """Evaluate a batch; with a loss of the user's, by that alone."""
        if self.loss_fn is None:
            return super().prediction_step(model, inputs, *arguments, **options)
        with torch.no_grad(), self.compute_loss_context_manager():
            return self.loss_fn(model, self._prepare_inputs(inputs)).detach(), None, None


def _with_statistics_of_the_base(model: nn.Module) -> list[nn.Module]:
    """Find the layers, such as batch norm, whose running statistics would move, and are in no file of an adapter."""
    heads = [one for one in model.modules() if isinstance(one, imported("peft.utils").ModulesToSaveWrapper)]
    trained = {id(part) for head in heads for part in head.modules_to_save.modules()}
    return [
        module
        for module in model.modules()
        if id(module) not in trained and any(name == "running_mean" for name, _ in module.named_buffers(recurse=False))
    ]


def _check_arguments(dataset: Any, peft_config: Any, args: Any, loss_fn: Any, num_labels: Any) -> None:
    def kind(one: Any) -> str:
        return type(one).__name__

    is_config = peft_config is None or isinstance(peft_config, imported("peft").PeftConfig)
    is_path = isinstance(dataset, str | os.PathLike)
    are_rows = not isinstance(dataset, Mapping) and (hasattr(dataset, "__getitem__") or hasattr(dataset, "__iter__"))
    are_labels = num_labels is None or (isinstance(num_labels, int) and num_labels >= 1)
    faults = [
        (not isinstance(args, TrainingArguments), f"args: expected TrainingArguments, got {kind(args)}."),
        (not is_config, f"peft_config: expected one of peft, such as LoraConfig(r=8), or None, got {kind(peft_config)}."),
        (is_path, f"dataset: '{dataset}' is a path. Read the rows first."),
        (
            not is_path and not are_rows,
            f"dataset: expected the rows of a task, got {kind(dataset)}. Give those of one, as in tasks[name].",
        ),
        (are_rows and hasattr(dataset, "__len__") and not len(dataset), "dataset: there are no rows. Give some."),
        (not are_labels, f"num_labels: expected a whole number of at least 1, got {num_labels!r}."),
        (
            loss_fn is not None and not callable(loss_fn),
            f"loss_fn: expected a function of model and batch, got {kind(loss_fn)}.",
        ),
    ]
    found = [fault for is_there, fault in faults if is_there]
    if found:
        raise InputError(" ".join(found))


def _copied(base: Any) -> tuple[nn.Module, RetrainingInfo | None]:
    if isinstance(base, (str, os.PathLike)):
        folder = Path(base)
        return from_folder(folder), read_info(folder) if (folder / INFO).is_file() else None
    info = getattr(base, "info", None)
    model, info = (base.model, info) if isinstance(info, RetrainingInfo) else (base, None)
    if not isinstance(model, nn.Module):
        raise InputError(
            f"base: a {type(base).__name__} cannot be adapted. Give a retrained base, a model, or a folder with one."
        )
    return copy.deepcopy(model), info


def _heads(
    model: nn.Module, info: RetrainingInfo | None, head: str | None, head_modules: Sequence[str] | None
) -> tuple[str, ...]:
    """Return the modules of the head that is to be trained whole."""
    if head is not None and head not in _HEADS:
        raise InputError(f"unknown head '{head}'.{did_you_mean(head, _HEADS)} Known: {', '.join(_HEADS)}.")
    if head_modules is None and info is not None:
        head_modules = info.head_modules or None
        head = head or ("none" if info.head == "none" else None)
    if head == "none":
        return ()
    return head_names(model, "shared" if head is None else "per_task", head_modules)


def _warn_of_small_rank(rank: int | None, info: RetrainingInfo | None) -> None:
    before = None if info is None else info.largest_rank
    if rank and before and rank < before:
        warnings.warn(
            f"rank {rank} on a base that was retrained with rank {before}: what retraining left out of the base may need "
            f"that rank on top of the task's. Take {before} or more, or retrain with a smaller one.",
            SpectraWarning,
            stacklevel=3,
        )


def _adapted(model: nn.Module, peft_config: Any, heads: Sequence[str], seed: int) -> Any:
    if peft_config is None and not heads:
        raise InputError("nothing to train: without peft_config only the head is, and there is none. Name it in head_modules.")
    config = last_layer_config(heads) if peft_config is None else fitted(peft_config, "per_task" if heads else "none", heads)
    model.requires_grad_(False)
    with refusals(model):
        adapted, _ = with_adapters(model, {_ADAPTER: config}, seed=seed)
    check_ranks(adapted)
    check_heads(adapted, heads)
    return adapted
