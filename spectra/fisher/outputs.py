"""The outputs of a model for a batch, as the likelihood whose gradients make the Fisher.

The model is called without labels, so that it computes no loss of its own; what is missing is made here as transformers would.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from spectra.errors import InputError
from spectra.fisher.decoder_inputs import with_decoder_inputs
from spectra.fisher.likelihoods import NO_TARGET, Categorical, Custom, Gaussian, categorical, custom, gaussian
from spectra.fisher.sample_weights import refuse_weights
from spectra.fisher.tasks import TASKS, task_of, without_peft

__all__ = [
    "NO_TARGET", "TASKS", "task_of",
    "Categorical", "Custom", "Gaussian", "outputs_of",
]  # fmt: skip


def outputs_of(
    model: nn.Module, batch: Any, task: str, loss: Callable[[nn.Module, Any], Tensor] | None = None
) -> Categorical | Gaussian | Custom:
    """Run the model on a batch, as it is: its mode, device and gradients are the caller's.

    A batch is a mapping of tensors with ``"labels"``, or a pair ``(inputs, targets)`` whose inputs are a tensor, or a tuple or
    mapping of arguments. In a pair for ``classification`` float targets mean a regression: pass class indices, not
    probabilities.

    * ``causal-lm``: without ``"labels"`` these are the ``"input_ids"``, -100 where ``"attention_mask"`` is 0. In any case a
      next token is no target where the mask hides the position that predicts it (transformers counts it): so padding on the
      left changes nothing.
    * ``seq2seq``: ``"decoder_input_ids"`` are the labels shifted, unless they are given.

    Args:
        model: Returns logits, or something that has ``.logits``.
        batch: As above.
        task: One of ``TASKS``.
        loss: Takes the place of all this: ``loss(model, batch)`` returns a negative log-likelihood per sample, ``(B,)``.

    Returns:
        The likelihood, with the samples in the order of the batch.

    Raises:
        InputError: An unknown task; a batch of another form or without targets; logits that are missing, not finite, or do not
            fit the labels; labels that are no classes. The message names the sample. Also ``"sample_weight"``, which is no
            input: what knows it has taken it out.
    """
    refuse_weights(batch)
    if loss is not None:
        return custom(loss(model, batch), _num_samples(batch))
    inputs, targets = _inputs_and_targets(batch, task_of(model, task))
    if task == "regression" or (task == "classification" and targets.is_floating_point() and not isinstance(batch, Mapping)):
        return gaussian(_logits(model, inputs), targets)
    labels = _classes(targets, task)
    if task == "causal-lm":
        labels = _next_tokens(inputs, labels)
    elif task == "seq2seq":
        inputs = with_decoder_inputs(model, inputs, labels)
    return categorical(_logits(model, inputs), labels)


_WHAT_TO_PASS = {
    "causal-lm": "pass 'labels' or 'input_ids' in it.",
    "masked-lm": "mask some tokens and pass 'labels', -100 at the others: see transformers' DataCollatorForLanguageModeling.",
    "seq2seq": "pass the output tokens as 'labels', -100 where they are padding.",
}


def _inputs_and_targets(batch: Any, task: str) -> tuple[Any, Tensor]:
    if isinstance(batch, Mapping):
        inputs: Any = {name: value for name, value in batch.items() if name != "labels"}
        targets = batch.get("labels")
    elif isinstance(batch, tuple | list) and len(batch) == 2:
        inputs, targets = batch
    else:
        got = f"{type(batch).__name__} of {len(batch)}" if isinstance(batch, tuple | list) else type(batch).__name__
        raise InputError(
            f"a batch is a {got}: pass a mapping of the model's arguments with 'labels', or a pair (inputs, targets)."
        )
    if targets is None and task == "causal-lm" and isinstance(inputs, Mapping):
        targets = _input_tokens(inputs)
    if targets is None:
        what_to_pass = _WHAT_TO_PASS.get(task, "pass 'labels' in it, or a pair (inputs, targets).")
        raise InputError(f"the batch has no target for the task {task!r}: {what_to_pass}")
    if not isinstance(targets, Tensor):
        raise InputError(f"the targets of a batch are a {type(targets).__name__}: pass a tensor.")
    return inputs, targets


def _classes(targets: Tensor, task: str) -> Tensor:
    if targets.is_floating_point() or targets.is_complex() or targets.dtype == torch.bool:
        raise InputError(f"the labels are {targets.dtype}: pass classes as integers, or task='regression' for numbers.")
    if task in ("causal-lm", "masked-lm", "seq2seq", "token-classification") and targets.dim() != 2:
        raise InputError(f"the labels have shape {tuple(targets.shape)}: the task {task!r} needs (samples, tokens).")
    return targets.long()


def _token_mask(inputs: Any) -> Tensor | None:
    """Find the (B, T) mask of a batch; a ready-made four-dimensional one says nothing about single tokens."""
    mask = inputs.get("attention_mask") if isinstance(inputs, Mapping) else None
    return mask if isinstance(mask, Tensor) and mask.dim() == 2 else None


def _input_tokens(inputs: Mapping[str, Any]) -> Tensor | None:
    tokens, mask = inputs.get("input_ids"), _token_mask(inputs)
    return tokens if tokens is None or mask is None else tokens.masked_fill(mask == 0, NO_TARGET)


def _next_tokens(inputs: Any, labels: Tensor) -> Tensor:
    """Shift the labels and leave the logits whole: a slice of those would have to be copied."""
    targets = nn.functional.pad(labels[:, 1:], (0, 1), value=NO_TARGET)
    mask = _token_mask(inputs)
    return targets if mask is None or mask.shape != targets.shape else targets.masked_fill(mask == 0, NO_TARGET)


def _logits(model: nn.Module, inputs: Any) -> Tensor:
    base = without_peft(model)
    # A cache of keys and values is for generation; here it would be built and thrown away.
    has_cache = hasattr(base, "config") and "use_cache" in inspect.signature(base.forward).parameters
    settings = {"use_cache": False} if has_cache else {}
    if isinstance(inputs, Mapping):
        output = model(**{**settings, **inputs})
    elif isinstance(inputs, tuple | list):
        output = model(*inputs, **settings)
    else:
        output = model(inputs, **settings)
    logits = getattr(output, "logits", output)
    if not isinstance(logits, Tensor):
        raise InputError(
            f"the model returned a {type(output).__name__} without logits. "
            "Pass loss=, a function of model and batch that returns one negative log-likelihood per sample."
        )
    return logits


def _num_samples(batch: Any) -> int | None:
    """Take the length of the first tensor; ``None`` if there is none to see."""
    if isinstance(batch, Tensor):
        return len(batch) if batch.dim() else None
    parts = batch.values() if isinstance(batch, Mapping) else batch if isinstance(batch, tuple | list) else ()
    return next((size for size in map(_num_samples, parts) if size is not None), None)
