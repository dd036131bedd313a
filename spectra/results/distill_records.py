"""What rewriting did to each sample: the record, its words, and how a run's records are read.

Source: Yang et al. (2024), arXiv 2402.13669, section 3: a candidate that passes the selection takes the place of the original
response, and the original stays otherwise. *Accepted* is kept apart from *identical*, as both stay apart from *rejected*: in
the data sets that were published with the reference code (sail-sg/sdft) nobody can tell the last two any more.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, ResultsError
from spectra.results.typed_records import checked_fields, records_beside

if TYPE_CHECKING:
    import os

DECISIONS: Mapping[str, str] = {
    "accepted": "the candidate takes the original's place",
    "identical": "the candidate is the original, word for word",
    "rejected": "the original stays",
}

REASONS: Mapping[str, str] = {
    "empty": "nothing was written",
    "truncated": "stopped at the length limit",
    "leak": "mentions that an answer was supplied",
    "repetition": "says the same thing over and over",
    "copy_of_prompt": "repeats the prompt",
    "mismatch": "another answer than that of the original",
    "nothing_extracted": "no answer was found in the candidate",
    "no_reference": "no answer was found in the original",
    "prompt_too_long": "the prompt left no room for an answer",
    "low_rouge_l": "words too far from those of the original",
    "failed_tests": "the program does not pass the tests",
}


@dataclass(frozen=True, kw_only=True)
class DistillRecord:
    """One sample: what it was, what the model wrote, what was decided.

    Attributes:
        row_id: Of the sample.
        decision: A key of ``DECISIONS``.
        reason: A key of ``REASONS`` for a rejected candidate, ``None`` otherwise.
        prompt: What the response answers.
        original: The response it came with.
        candidate: What the model wrote; ``None`` if it was not asked.
        response: What was selected: the original, unless the candidate is accepted.
        extracted_original: What the original was compared by; ``None`` if nothing was found in it.
        extracted_candidate: Likewise, of the candidate.
        n_tokens: Of the candidate.
        finish_reason: Why the candidate ended.
        template: Id of the rewriting template.
        seconds: What writing the candidate took: its share of the batch.
        attempt: Which candidate won or was the last, from 1; 0 if none was made.
        row: Place in the input, from 0.
        turn: Of a conversation; -1 for the only one.

    Raises:
        InputError: An unknown decision or reason, a reason without a rejection or the reverse, or a response that is not the
            original although no candidate was accepted.
    """

    row_id: str
    decision: str
    reason: str | None
    prompt: str
    original: str
    candidate: str | None
    response: str
    extracted_original: str | None
    extracted_candidate: str | None
    n_tokens: int
    finish_reason: str
    template: str
    seconds: float
    attempt: int
    row: int
    turn: int

    def __post_init__(self) -> None:
        faults = _faults(self)
        if faults:
            raise InputError(f"the record of sample '{self.row_id}' cannot be: {'; '.join(faults)}.")

    @property
    def length_ratio(self) -> float:
        """Characters of the response over those of the original; NaN if that has none."""
        return len(self.response) / len(self.original) if self.original else math.nan

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, as plain values."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> DistillRecord:
        """Make a record of what JSON gives back.

        Args:
            content: Its fields by name.

        Returns:
            The record.

        Raises:
            ResultsError: A field that is missing, unknown or of another type, or values that cannot be; all of the first kind
                are named.
        """
        fields = checked_fields(cls, content, "a rewriting run")
        try:
            return cls(**fields)
        except InputError as error:
            raise ResultsError(str(error)) from error


def load_records(path: str | os.PathLike[str]) -> tuple[DistillRecord, ...]:
    """Read what a run decided, sample by sample.

    Args:
        path: What the run wrote, such as ``OUT.jsonl``, or the records beside it, ``OUT.records.jsonl``.

    Returns:
        A record for each sample, in the order of the data.

    Raises:
        ResultsError: There are no records, or a line is none.
    """
    return records_beside(path, DistillRecord.from_dict, what="records", command="spectra distill")


def _faults(record: DistillRecord) -> list[str]:
    faults = []
    if record.decision not in DECISIONS:
        faults.append(f"unknown decision {record.decision!r}, known: {', '.join(DECISIONS)}")
    elif (record.decision == "rejected") != (record.reason is not None):
        faults.append(f"decision '{record.decision}' with reason {record.reason!r}: rejected candidates have one, others none")
    if record.reason is not None and record.reason not in REASONS:
        faults.append(f"unknown reason {record.reason!r}, known: {', '.join(REASONS)}")
    if record.decision != "accepted" and record.response != record.original:
        faults.append("its response is not the original, although no candidate was accepted")
    return faults
