"""Rows of any form as the conversations that trainers take."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from spectra.training.data_files import Record
from spectra.training.sdft.row_formats import Message, exchanges
from spectra.training.sdft.samples import find_samples


def as_messages(
    rows: Iterable[Record], *, prompt_column: str | None = None, response_column: str | None = None
) -> list[dict[str, Any]]:
    """Turn rows of any form into conversations, which TRL's ``SFTTrainer`` renders by the chat template.

    The roles of ShareGPT's conversations become ``user`` and ``assistant``, which TRL by itself leaves as they are.

    Args:
        rows: As :func:`~spectra.training.sdft.samples.read_training_data` takes them.
        prompt_column: What is asked, in rows of no known form.
        response_column: What is answered.

    Returns:
        Rows with ``messages`` in place of the columns that were read, and all other columns.

    Raises:
        InputError: As in :func:`~spectra.training.sdft.samples.read_training_data`.
    """
    found = _chats(rows, prompt_column, response_column)
    return [{**others, "messages": [*context, answer]} for context, answer, others in found]


def as_prompt_completion(
    rows: Iterable[Record], *, prompt_column: str | None = None, response_column: str | None = None
) -> list[dict[str, Any]]:
    """Turn rows of any form into prompts and completions, of which TRL's ``SFTTrainer`` trains on the completions only.

    Rows of instructions, and of columns that the user names, are loaded this way:
    ``datasets.Dataset.from_list(as_prompt_completion(rows))``. They become messages, not texts, since TRL glues texts together
    with nothing in between.

    Args:
        rows: As :func:`~spectra.training.sdft.samples.read_training_data` takes them.
        prompt_column: What is asked, in rows of no known form.
        response_column: What is answered.

    Returns:
        Rows with lists of messages in ``prompt`` and ``completion`` (the last turn) in place of the columns that were read, and
        all other columns.

    Raises:
        InputError: As in :func:`~spectra.training.sdft.samples.read_training_data`.
    """
    found = _chats(rows, prompt_column, response_column)
    return [{**others, "prompt": list(context), "completion": [answer]} for context, answer, others in found]


def _chats(
    rows: Iterable[Record], prompt_column: str | None, response_column: str | None
) -> Iterator[tuple[tuple[Message, ...], Message, dict[str, Any]]]:
    data = find_samples(rows, prompt_column=prompt_column, response_column=response_column)
    for row in data.rows:
        last = exchanges(row, data.layout, every=False)[0]
        yield last.context, last.answer, {name: value for name, value in row.items() if name not in data.layout.columns}
