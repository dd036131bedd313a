"""What a model answered to the prompts of a test set, beside the references: the record, and how records are read."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from spectra.results.typed_records import checked_fields, records_beside

TOO_LONG = "too_long"

_ENDED = ("stop", "unknown", TOO_LONG)  # some servers do not say why a text ends; others cut it off by words of their own


@dataclass(frozen=True, kw_only=True)
class AnswerRecord:
    """One answer beside its reference.

    Attributes:
        row_id: Of the prompt with its reference.
        row: Place in the data, from 0.
        turn: Of a conversation; -1 for the only one.
        prompt: What is asked, as one text.
        reference: The response of the data.
        answer: What the model wrote.
        n_tokens: Of the answer.
        finish_reason: Why it ended; ``"too_long"``: the prompt left no room, and nothing was written.
        extracted_reference: What the reference is compared by; ``None`` if nothing was found in it.
        extracted_answer: Likewise, of the answer.
        is_correct: Whether both agree; ``None`` where that cannot be said: nothing was found in the reference, or the task
            compares nothing.
        rouge_l: Similarity to the reference, from 0 to 1.
        bleu: Likewise.
        has_refusal_phrase: Whether a phrase stands in it by which refusals are counted.
        nll_reference: Negative log-likelihood of the reference under the prompt, in nats; ``None`` where it was not measured.
        tokens_reference: Tokens of the reference that were measured; 0 if none.
    """

    row_id: str
    row: int
    turn: int
    prompt: str
    reference: str
    answer: str
    n_tokens: int
    finish_reason: str
    extracted_reference: str | None
    extracted_answer: str | None
    is_correct: bool | None
    rouge_l: float
    bleu: float
    has_refusal_phrase: bool
    nll_reference: float | None
    tokens_reference: int

    @property
    def is_truncated(self) -> bool:
        """Whether the answer was cut off."""
        return self.finish_reason not in _ENDED

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> AnswerRecord:
        """Make a record of what JSON gives back.

        Args:
            content: Its fields by name.

        Returns:
            The record.

        Raises:
            ResultsError: A field that is missing, unknown or of another type; all are named.
        """
        return cls(**checked_fields(cls, content, "an answer"))


def load_answers(path: str | os.PathLike[str]) -> tuple[AnswerRecord, ...]:
    """Read what a model answered.

    Args:
        path: What an evaluation wrote, such as ``OUT.json``, or the records beside it, ``OUT.records.jsonl``.

    Returns:
        A record for each prompt, in the order of the data.

    Raises:
        ResultsError: There are no records, or a line is none.
    """
    return records_beside(path, AnswerRecord.from_dict, what="answers", command="spectra distill evaluate")
