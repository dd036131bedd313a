"""What the decoder of a sequence-to-sequence model is given when the model itself is not given the labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor, nn

from spectra.errors import InputError
from spectra.fisher.likelihoods import NO_TARGET
from spectra.fisher.tasks import without_peft


def with_decoder_inputs(model: nn.Module, inputs: Any, labels: Tensor) -> dict[str, Any]:
    """Add the labels shifted to the right as ``"decoder_input_ids"``, as transformers would.

    Args:
        model: With an encoder and a decoder, with or without PEFT adapters.
        inputs: A mapping of the model's arguments, without labels.
        labels: Shape ``(B, T)``; -100 where there is no target.

    Returns:
        A new mapping; the inputs as they are if the decoder's are among them.

    Raises:
        InputError: The inputs are not named; or neither the model nor its configuration says how the decoder starts.
    """
    if not isinstance(inputs, Mapping):
        # Some models make up decoder inputs of their own from the encoder's, and give an answer to another question.
        raise InputError("the inputs of a seq2seq batch are not named: pass a mapping of the model's arguments.")
    if "decoder_input_ids" in inputs or "decoder_inputs_embeds" in inputs:
        return dict(inputs)
    base = without_peft(model)
    shift = getattr(base, "prepare_decoder_input_ids_from_labels", None)
    if callable(shift):
        return {**inputs, "decoder_input_ids": shift(labels)}
    config = getattr(base, "config", None)
    start, pad = getattr(config, "decoder_start_token_id", None), getattr(config, "pad_token_id", None)
    if start is None or pad is None:
        raise InputError(
            "the batch has no 'decoder_input_ids', and the model does not say how to make them from the labels: pass them, or "
            "set decoder_start_token_id and pad_token_id of its configuration."
        )
    shifted = nn.functional.pad(labels[:, :-1], (1, 0), value=start)
    return {**inputs, "decoder_input_ids": shifted.masked_fill(shifted == NO_TARGET, pad)}
