"""Rows of the domains: for retraining, of the held-out domain for adapting, and those that models are judged on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.meta_peft_sentiment.protocol import DOMAINS, SIZES, Cell
from spectra.training.meta_peft import classification_tasks, read_tasks

MAX_LENGTH = 40
_FOLDER = "sentiment_domains"
_JUDGED_SEED = 0  # the same rows for all

Rows = list[dict[str, Any]]


def retraining_rows(cell: Cell, data: Path, tokenizer: Any) -> dict[str, Rows]:
    """Draw the rows of the domains that are not held out, as many of each class."""
    return _encoded(data, [domain for domain in DOMAINS if domain != cell.held_out], cell.num_rows, cell.seed, tokenizer)


def adapting_rows(cell: Cell, data: Path, tokenizer: Any) -> dict[int, Rows]:
    """Draw samples of the held-out domain; those of a smaller number are among those of a larger."""
    rows = _encoded(data, [cell.held_out], max(SIZES), cell.seed, tokenizer)[cell.held_out]
    return {size: rows[:size] for size in SIZES}


def judged_rows(cell: Cell, data: Path, tokenizer: Any) -> Rows:
    """Return the rows that models are judged on, short texts first."""
    rows = _encoded(data, [cell.held_out], cell.num_judged, _JUDGED_SEED, tokenizer, cell.split)[cell.held_out]
    return sorted(rows, key=lambda row: len(row["input_ids"]))


def balanced(records: Sequence[Mapping[str, Any]], size: int, seed: int) -> list[Mapping[str, Any]]:
    """Draw records, one of each class in turn, so that the first of an even number are balanced as well."""
    order = np.random.default_rng(seed).permutation(len(records)).tolist()
    classes = [[records[i] for i in order if records[i]["label"] == label] for label in ("0", "1")]
    return [record for pair in zip(*classes, strict=False) for record in pair][:size]


def _encoded(data: Path, domains: Sequence[str], size: int, seed: int, tokenizer: Any, split: str = "train") -> dict[str, Rows]:
    records = read_tasks(data / _FOLDER, tasks=domains, split=split)
    drawn = {domain: balanced(of_domain, size, seed) for domain, of_domain in records.items()}
    return classification_tasks(drawn, tokenizer, max_length=MAX_LENGTH)
