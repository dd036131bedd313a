"""Rows as what a causal language model is trained on: the tokens of prompt and response, of which the response's count."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from spectra.errors import InputError, SpectraWarning
from spectra.fisher.outputs import NO_TARGET
from spectra.training.sdft.distiller import Distillation
from spectra.training.sdft.samples import Sample, TrainingData, read_training_data
from spectra.training.sdft.training_text import encoded_sample
from spectra.training.text_batches import padding_id

Example = dict[str, Tensor]


class ResponseExamples(Dataset[Example]):
    """Examples: items with ``input_ids`` and ``labels``, both of shape ``(tokens,)``.

    Args:
        rows: The tokens of each example, and how many of them are the prompt's.

    Attributes:
        num_cut: Examples that lost their ends.
        num_left_out: Samples that are none of the examples, as nothing of their responses was left.
    """

    def __init__(self, rows: Sequence[tuple[list[int], int]], *, num_cut: int = 0, num_left_out: int = 0) -> None:
        self._tokens = [torch.tensor(tokens) for tokens, _ in rows]  # lists of numbers take five times the memory
        self._prompts = [num_prompt for _, num_prompt in rows]
        self.num_cut = num_cut
        self.num_left_out = num_left_out

    def __len__(self) -> int:
        return len(self._tokens)

    def __getitem__(self, index: int) -> Example:
        tokens = self._tokens[index]
        labels = tokens.clone()
        labels[: self._prompts[index]] = NO_TARGET
        return {"input_ids": tokens, "labels": labels}


def response_examples(tokenizer: Any, data: Any, *, max_length: int, name: str = "data") -> ResponseExamples:
    """Turn rows into examples.

    Args:
        tokenizer: Of the model; with a chat template, conversations are rendered by it.
        data: A file or rows, as :func:`~spectra.training.sdft.samples.read_training_data` takes them, whose last turns are
            trained on; what a distiller returned, with the turns and columns it had; or what ``read_training_data`` returned.
        max_length: Most tokens of an example.
        name: What warnings call the data.

    Returns:
        The examples, in the order of the rows. A longer one is cut off at its end; where the prompt alone fills it, it is left
        out. One warning says how many.

    Raises:
        InputError: Data without a response or of an unknown form, or none of it fits.
    """
    if not isinstance(data, TrainingData):
        data = read_training_data(data.rows, **data.read_as) if isinstance(data, Distillation) else read_training_data(data)
    whole = [_encoded(tokenizer, sample, name) for sample in data.samples]
    fitting = [(tokens[:max_length], num_prompt) for tokens, num_prompt in whole if num_prompt < min(len(tokens), max_length)]
    num_cut = sum(num_prompt < max_length < len(tokens) for tokens, num_prompt in whole)
    num_left_out = len(whole) - len(fitting)
    if not fitting:
        raise InputError(
            f"{name}: each prompt fills {max_length} tokens, and none leaves room for its response. Raise max_length."
        )
    if num_cut or num_left_out:
        lost = _lost(num_cut, num_left_out, max_length)
        warnings.warn(
            f"{name}: of {len(whole):,} examples, {lost}. Raise max_length to use them whole.", SpectraWarning, stacklevel=2
        )
    return ResponseExamples(fitting, num_cut=num_cut, num_left_out=num_left_out)


def _encoded(tokenizer: Any, sample: Sample, name: str) -> tuple[list[int], int]:
    try:
        return encoded_sample(tokenizer, sample, sample.response)
    except InputError as error:
        raise InputError(f"{name}: {error}") from error


def _lost(num_cut: int, num_left_out: int, max_length: int) -> str:
    parts = []
    if num_cut:
        parts.append(f"{num_cut:,} {'loses' if num_cut == 1 else 'lose'} what comes after {max_length} tokens")
    if num_left_out:
        said = "is left out, as its prompt leaves" if num_left_out == 1 else "are left out, as their prompts leave"
        parts.append(f"{num_left_out:,} {said} no room for a response")
    return ", and ".join(parts)


def padded(examples: Sequence[Mapping[str, Tensor]], *, padding: int) -> Example:
    """Make a batch of examples.

    Args:
        examples: Items of :class:`ResponseExamples`.
        padding: The token that fills up.

    Returns:
        ``input_ids``, ``labels`` and ``attention_mask``, of shape ``(examples, most tokens)``, filled up on the right.
    """
    fillers = {"input_ids": padding, "labels": NO_TARGET}
    batch = {
        name: pad_sequence([one[name] for one in examples], batch_first=True, padding_value=filler)
        for name, filler in fillers.items()
    }
    lengths = torch.tensor([len(one["input_ids"]) for one in examples])
    return {**batch, "attention_mask": (torch.arange(batch["input_ids"].shape[1]) < lengths[:, None]).long()}


def response_batches(tokenizer: Any, data: Any, *, batch_size: int = 16, max_length: int, name: str = "data") -> list[Example]:
    """Turn rows into batches in their order, such as a probe on which two models are compared.

    Args:
        tokenizer: Of the model.
        data: As of :func:`response_examples`.
        batch_size: Examples in a batch.
        max_length: Most tokens of an example.
        name: What warnings call the data.

    Returns:
        Batches, padded on the right; prompts have no labels.

    Raises:
        InputError: As of :func:`response_examples`.
    """
    examples = response_examples(tokenizer, data, max_length=max_length, name=name)
    items = [examples[place] for place in range(len(examples))]
    parts = (items[start : start + batch_size] for start in range(0, len(items), batch_size))
    return [padded(part, padding=padding_id(tokenizer)) for part in parts]
