"""Texts as the batches a model takes, tokenised when they are asked for.

Every batch holds texts of about the same length, so that little of it is padding: examples are ordered by their number of
characters, longest first (what does not fit into memory shows at once), and by their place in the file among equals.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, overload

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from spectra.errors import InputError
from spectra.fisher.outputs import NO_TARGET
from spectra.training.text_data import Examples
from spectra.training.text_encoding import Encoded, encoder

DEFAULT_LENGTH = 128  # our choice: most sentences and reviews whole, in little memory

# What a task reads beside the texts: must have, may have.
_COLUMNS: dict[str, tuple[set[str], set[str]]] = {
    "causal-lm": (set(), {"target"}),
    "masked-lm": (set(), {"pair"}),
    "seq2seq": ({"target"}, set()),
    "sequence-classification": ({"label"}, {"pair"}),
    "token-classification": ({"label"}, set()),
    "regression": ({"label"}, {"pair"}),
}

Batch = dict[str, Tensor]


@dataclass(frozen=True)
class TextBatches(Sequence[Batch]):
    """Batches of texts; iterating again gives the same.

    Attributes:
        indices: The examples of every batch, by their place among all.
        collate: Makes a batch of examples.
        length: Most tokens of a text.
    """

    indices: tuple[tuple[int, ...], ...]
    collate: Callable[[Sequence[int]], Batch]
    length: int

    @property
    def num_samples(self) -> int:
        """Examples in all batches."""
        return sum(map(len, self.indices))

    def of_first(self, number: int) -> TextBatches:
        """Return the batches of the first examples of all, as they were arranged.

        Args:
            number: How many examples.

        Returns:
            Batches, some of which are smaller.
        """
        kept = (tuple(index for index in batch if index < number) for batch in self.indices)
        return TextBatches(tuple(batch for batch in kept if batch), self.collate, self.length)

    def __len__(self) -> int:
        return len(self.indices)

    @overload
    def __getitem__(self, index: int) -> Batch: ...

    @overload
    def __getitem__(self, index: slice) -> TextBatches: ...

    def __getitem__(self, index: int | slice) -> Batch | TextBatches:
        if isinstance(index, slice):
            return TextBatches(self.indices[index], self.collate, self.length)
        return self.collate(self.indices[index])


def make_batches(
    tokenizer: Any,
    examples: Examples,
    task: str,
    config: Any,
    *,
    batch_size: int = 16,
    max_length: int | None = None,
    mask_share: float = 0.15,
    seed: int = 0,
) -> TextBatches:
    """Arrange examples in batches with the labels of a task; :mod:`spectra.training.text_encoding` says which those are.

    Args:
        tokenizer: Of the model.
        examples: The texts, with what the task needs.
        task: One of :data:`spectra.training.pretrained.TEXT_TASKS`.
        config: Of the model: its classes and its number of positions.
        batch_size: Examples per batch.
        max_length: Tokens a text is cut to, and a target. Default: 128, or what the model takes if that is less.
        mask_share: Share of the tokens a masked language model has to predict. Default: 15 %, as BERT was trained.
        seed: Of the masks.

    Returns:
        The batches, padded on the right.

    Raises:
        InputError: An argument out of range, columns that do not fit the task, or labels that do not fit the model.
    """
    given = {"pair": examples.pairs, "target": examples.targets, "label": examples.labels}
    check_columns(task, {name for name, column in given.items() if column})
    if batch_size < 1:
        raise InputError(f"batch_size: expected at least 1, got {batch_size}.")
    if not 0 < mask_share <= 1:
        raise InputError(f"mask_share: expected a share above 0 and up to 1, got {mask_share:g}.")
    length = _length(max_length, tokenizer, config, num_special=tokenizer.num_special_tokens_to_add(bool(examples.pairs)))
    encode = encoder(tokenizer, examples, task, config, length=length, mask_share=mask_share, seed=seed)
    order = sorted(range(len(examples)), key=lambda index: (-_num_characters(examples, index), index))
    batches = tuple(tuple(order[start : start + batch_size]) for start in range(0, len(order), batch_size))
    return TextBatches(batches, lambda indices: _padded(encode(indices), padding_id(tokenizer)), length)


def check_columns(task: str, columns: set[str]) -> None:
    """Refuse columns that a task does not read, and those it misses.

    Args:
        task: What the model predicts.
        columns: Of ``pair``, ``label`` and ``target``.

    Raises:
        InputError: One is missing or of no use.
    """
    needed, allowed = _COLUMNS[task]
    missing, useless = sorted(needed - columns), sorted(columns - needed - allowed)
    if missing:
        raise InputError(f"task '{task}' needs a {missing[0]} per text. Say which column holds it: --{missing[0]}-column NAME.")
    if useless:
        raise InputError(
            f"task '{task}' reads no {useless[0]}. Leave --{useless[0]}-column out, or choose another task (--task)."
        )


def padding_id(tokenizer: Any) -> int:
    """Return the token that fills a batch up.

    Args:
        tokenizer: Of the model.

    Returns:
        Its padding token, else its last token, else 0: it is masked out, so that any does.
    """
    candidates = (tokenizer.pad_token_id, tokenizer.eos_token_id, 0)
    return int(next(token for token in candidates if token is not None))


def _length(max_length: int | None, tokenizer: Any, config: Any, num_special: int) -> int:
    positions = getattr(config.get_text_config(), "max_position_embeddings", None)  # a T5 has none: it takes any length
    most = min(positions, tokenizer.model_max_length) if positions else None
    if max_length is None:
        return DEFAULT_LENGTH if most is None else min(DEFAULT_LENGTH, most)
    if max_length <= num_special or (most is not None and max_length > most):
        own = f" {num_special} of them are the tokenizer's own." if num_special else ""
        raise InputError(
            f"max_length: expected {num_special + 1} to {most or 'any number of'} tokens, as the model takes, got "
            f"{max_length}.{own}"
        )
    return max_length


def _num_characters(examples: Examples, index: int) -> int:
    """Estimate how long an example is without tokenising it."""
    parts = [column[index] for column in (examples.texts, examples.pairs, examples.targets) if column]
    return sum(len(part) if isinstance(part, str) else sum(map(len, part)) for part in parts)


def _padded(encoded: Encoded, padding: int) -> Batch:
    """Fill rows up on the right. A text without any token becomes one of padding, which nothing is asked of."""
    filler = {"input_ids": padding}
    lengths = torch.tensor([max(len(row), 1) for row in encoded.inputs["input_ids"]])
    batch = {name: _rectangle(rows, filler.get(name, 0)) for name, rows in encoded.inputs.items()}
    batch["attention_mask"] = (torch.arange(int(lengths.max())) < lengths[:, None]).long()
    is_rows = isinstance(encoded.labels[0], Sequence)
    batch["labels"] = _rectangle(encoded.labels, NO_TARGET) if is_rows else torch.tensor(encoded.labels)
    return batch


def _rectangle(rows: Sequence[Any], filler: int) -> Tensor:
    return pad_sequence([torch.tensor(row or [filler]) for row in rows], batch_first=True, padding_value=filler)
