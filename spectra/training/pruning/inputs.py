"""How large the inputs of each layer are on real data: what Wanda weighs weights by."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from spectra.errors import InputError, did_you_mean
from spectra.fisher.as_found import as_found
from spectra.fisher.batches import check_batches, mapped
from spectra.fisher.outputs import NO_TARGET
from spectra.sources.names import unwrapped_names

# Of an encoder-decoder: tensors as long as the target, not as the input.
_OF_THE_TARGET = ("labels", "decoder_input_ids", "decoder_attention_mask")


def input_norms(
    model: nn.Module,
    batches: Iterable[Any],
    layers: Collection[str],
    *,
    progress: Callable[[int], None] | None = None,
) -> dict[str, Tensor]:
    r"""Measure :math:`\|X_j\|_2` of each input of each layer over all tokens, in one pass through the model as it is.

    The code of the Wanda paper prunes block by block and measures each block behind pruned ones; here all are measured in the
    dense model. It takes means over tokens instead of sums, which orders the weights of an output the same.

    Args:
        model: Live; it runs in evaluation mode and is as before afterwards.
        batches: Mappings of tensors as the model takes them, or pairs ``(inputs, targets)``. A padded batch (zeros in its
            ``attention_mask``) is run text by text with the padding cut off, so that no layer sees it.
        layers: Names of linear layers, as in a report; the prefix of the model inside a transformers head may be missing or
            too much.
        progress: Called with the number of batches that are done.

    Returns:
        Shape ``(inputs,)``, float64 on the CPU, for each of these names.

    Raises:
        InputError: No such layer, one that is not linear or was never called, or no batch.
    """
    check_batches(batches)
    squares: dict[str, Tensor] = {}
    device = next(model.parameters()).device
    with as_found(model), torch.no_grad(), ExitStack() as hooks:
        for name, module in _linear_modules(model, layers).items():
            hooks.callback(module.register_forward_pre_hook(partial(_add, squares, name)).remove)
        for number, batch in enumerate(batches):
            for part in _without_padding(mapped(batch, lambda tensor: tensor.to(device)), model):
                _run(model, part)
            if progress:
                progress(number + 1)
    idle = [name for name in layers if name not in squares]
    if idle:
        raise InputError(
            f"layer '{idle[0]}' was not called on these batches, so that Wanda knows nothing of its inputs. Give batches that "
            "reach it, leave it out, or use method 'magnitude'."
        )
    return {name: squares[name].sqrt() for name in layers}


def _linear_modules(model: nn.Module, layers: Collection[str]) -> dict[str, nn.Module]:
    old, modules = zip(*model.named_modules(), strict=True)
    by_name = dict(zip(unwrapped_names(old), modules, strict=True))
    # A checkpoint of a bare model lacks the prefix that the same model has inside a head, and the other way round.
    prefix = f"{getattr(model, 'base_model_prefix', '')}."
    found = {}
    for name in layers:
        module = next((by_name[n] for n in (name, prefix + name, name.removeprefix(prefix)) if n in by_name), None)
        if module is None:
            raise InputError(f"{type(model).__name__} has no layer '{name}'.{did_you_mean(name, by_name)}")
        if not (isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"):  # GPT-2's, transposed
            raise InputError(f"layer '{name}' is a {type(module).__name__}, and Wanda is for linear layers. Leave it out.")
        found[name] = module
    return found


def _add(squares: dict[str, Tensor], name: str, _: nn.Module, arguments: tuple[Tensor, ...]) -> None:
    (inputs, *_rest) = arguments
    rows = inputs.detach().reshape(-1, inputs.shape[-1]).float()
    total = rows.square().sum(0).double().cpu()
    squares[name] = squares[name] + total if name in squares else total


def _run(model: nn.Module, batch: Any) -> None:
    if isinstance(batch, Mapping):
        model(**batch)
    else:
        model(batch[0])


def _without_padding(batch: Any, model: nn.Module) -> Iterator[Any]:
    mask = batch.get("attention_mask") if isinstance(batch, Mapping) else None
    if mask is None or mask.ndim != 2 or bool(mask.all()):
        yield batch
        return
    is_encoder_decoder = bool(getattr(getattr(model, "config", None), "is_encoder_decoder", False))
    for row, kept in enumerate(mask.bool()):
        if kept.any():
            yield {name: _cut(name, batch, row, kept, is_encoder_decoder=is_encoder_decoder) for name in batch}


def _cut(name: str, batch: Mapping[str, Any], row: int, kept: Tensor, *, is_encoder_decoder: bool) -> Any:
    """Take one text out of a batch, without the padding."""
    value = batch[name]
    if not isinstance(value, Tensor) or value.ndim == 0:
        return value
    one = value[row : row + 1]
    if is_encoder_decoder and name in _OF_THE_TARGET:
        return one[:, batch["labels"][row] != NO_TARGET] if "labels" in batch else one
    return one[:, kept] if one.shape[1:2] == kept.shape else one
