"""The data of a run as a ``Trainer`` takes them: items by place, and what makes batches of them.

Texts with what belongs to them (classes, numbers, answers) are tokenised as ``spectra fisher`` does it; prompts and responses,
for causal language models, as :mod:`spectra.training.sdft` does it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from torch.utils.data import Dataset

from spectra.errors import SpectraWarning
from spectra.fisher.outputs import NO_TARGET
from spectra.results.words import counted
from spectra.training.recipe.assembly.examples import RunExamples
from spectra.training.sdft.distiller import Distillation
from spectra.training.sdft.response_examples import response_examples
from spectra.training.sdft.samples import TrainingData
from spectra.training.text_batches import TextBatches, make_batches, padding_id
from spectra.training.text_data import Examples, drawn_places

Item = dict[str, Tensor]
Collate = Callable[[Sequence[Mapping[str, Tensor]]], Item]


class TokenisedTexts(Dataset[Item]):
    """Texts, tokenised: items are what the model is given, without padding.

    Args:
        batches: Of the texts.

    Attributes:
        num_full: Texts that fill the most tokens that a text may have, and perhaps lost their ends.
    """

    def __init__(self, batches: TextBatches) -> None:
        places = range(batches.num_samples)
        self._items = [{name: rows[0] for name, rows in batches.collate([place]).items()} for place in places]
        self.num_full = sum(len(item["input_ids"]) >= batches.length for item in self._items)

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: int) -> Item:
        return self._items[index]


@dataclass(frozen=True)
class RunData:
    """The data of a run.

    Attributes:
        train: Items by place; of several tasks, these by task.
        eval: The same, or ``None``.
        test: The same, or ``None``.
        collate: Makes a batch of items.
        notes: What became of them.
    """

    train: Any
    eval: Any
    test: Any
    collate: Collate
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Tokenisation:
    """How texts become tokens.

    Attributes:
        tokenizer: Of the model.
        config: Of the model.
        task: What it predicts.
        max_length: Tokens a text is cut to.
        seed: Of what masked language models have to predict: the same in each epoch, so that a run can be resumed exactly.
    """

    tokenizer: Any
    config: Any
    task: str
    max_length: int
    seed: int

    def texts(self, examples: Examples) -> TokenisedTexts:
        """Tokenise texts.

        Args:
            examples: With what the task needs.

        Returns:
            The texts, in their order.

        Raises:
            InputError: Columns or labels that do not fit the task or the model.
        """
        return TokenisedTexts(
            make_batches(
                self.tokenizer, examples, self.task, self.config, batch_size=1, max_length=self.max_length, seed=self.seed
            )
        )

    def collator(self) -> Collate:
        """Return what makes a batch of items."""
        return partial(padded, padding=padding_id(self.tokenizer))


def text_data(how: Tokenisation, examples: RunExamples) -> RunData:
    """Tokenise the texts of a run.

    Args:
        how: How.
        examples: By use.

    Returns:
        The data.

    Raises:
        InputError: Columns or labels that do not fit the task or the model.
    """
    made = {
        use: how.texts(source) if isinstance(source, Examples) else {task: how.texts(one) for task, one in source.items()}
        for use, source in examples.of.items()
    }
    notes = [note for use, data in made.items() if (note := _cut(use, data, how.max_length))]
    if how.task == "masked-lm":
        notes.append("Which tokens are hidden was drawn once for each text, and is the same in each epoch.")
    return RunData(made["train"], made.get("eval"), made.get("test"), how.collator(), tuple(notes))


def response_data(how: Tokenisation, rows: Mapping[str, TrainingData | Distillation]) -> RunData:
    """Tokenise prompts and responses, of which only responses are predicted.

    Args:
        how: How.
        rows: By use.

    Returns:
        The data.

    Raises:
        InputError: Rows without a response, or none that fits.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectraWarning)  # the notes say it
        made = {
            use: response_examples(how.tokenizer, one, max_length=how.max_length, name=f"data.{use}")
            for use, one in rows.items()
        }
    notes = [
        f"Of the {use} examples {data.num_cut:,} were cut to {how.max_length} tokens, and {data.num_left_out:,} were left "
        "out, as their prompts leave no room. See data.max_length."
        for use, data in made.items()
        if data.num_cut or data.num_left_out
    ]
    return RunData(made["train"], made.get("eval"), made.get("test"), how.collator(), tuple(notes))


def padded(items: Sequence[Mapping[str, Tensor]], *, padding: int) -> Item:
    """Make a batch of items.

    Args:
        items: Of a data set of a run.
        padding: The token that fills up.

    Returns:
        The items, one upon the other, filled up on the right.
    """
    whole = [{"attention_mask": torch.ones_like(item["input_ids"]), **item} for item in items]
    fillers = {"input_ids": padding, "labels": NO_TARGET}
    return {name: _stacked([item[name] for item in whole], fillers.get(name, 0)) for name in whole[0]}


def batches_of(data: Any, collate: Collate, *, batch_size: int, samples: int | None, seed: int) -> Iterator[Item]:
    """Arrange items in batches, longest first, so that little of them is padding.

    Args:
        data: Items by place; of several tasks, these by task.
        collate: Makes a batch of items.
        batch_size: Items at a time.
        samples: Most items, drawn at random; ``None``: all.
        seed: Of the drawing.

    Yields:
        The batches.
    """
    items = [one[place] for one in _parts(data) for place in range(len(one))]
    chosen = [items[place] for place in drawn_places(len(items), samples, seed)]
    chosen.sort(key=lambda item: -len(item["input_ids"]))
    for start in range(0, len(chosen), batch_size):
        yield collate(chosen[start : start + batch_size])


def _parts(data: Any) -> list[Any]:
    return list(data.values()) if isinstance(data, Mapping) else [data]


def _cut(use: str, data: Any, length: int) -> str | None:
    number = sum(one.num_full for one in _parts(data))
    total = sum(map(len, _parts(data)))
    if not number:
        return None
    return f"{counted(number, 'text')} of {total:,} ({use}) have {length} tokens or more, and were cut to {length}."


def _stacked(rows: Sequence[Tensor], filler: int) -> Tensor:
    if rows[0].ndim == 0:
        return torch.stack(list(rows))
    return pad_sequence(list(rows), batch_first=True, padding_value=filler)
