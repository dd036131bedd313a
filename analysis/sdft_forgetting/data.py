"""Sums that the model knows and sums that it has to learn; examples of them, of the second skill, and of rewriting.

A number is one token: sums are known by heart, as small ones are. Which of them are new to the model is drawn for each seed; it
reads their numbers in other sums, but never the two together.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations_with_replacement
from typing import Any

import numpy as np
from numpy.random import Generator

from analysis.sdft_forgetting.wordings import (
    FOREIGN,
    FOREIGN_QUESTION,
    NAMES,
    OWN,
    QUESTIONS,
    READ,
    REVERSED,
    REVERSING,
    TEMPLATE,
    THINGS,
    WORDS,
)
from spectra.training.sdft.templates import rewriting_request

LARGEST = 24  # of the numbers that are added
NEW_SHARE = 0.3  # of their pairs
NUM_WORDS = 4  # to be reversed
LESSONS = {"sum": 24, "reversing": 8, "rewriting": 12}  # in a batch

Pair = tuple[int, int]
Row = dict[str, str]  # prompt and completion
Lesson = tuple[Sequence[Any], str]  # messages and the answer to them


@dataclass(frozen=True)
class Sums:
    """Pairs of numbers, in no order.

    Attributes:
        known: What the model learns before it is tuned.
        new: What it is tuned on.
    """

    known: Sequence[Pair]
    new: Sequence[Pair]


def sums(seed: int) -> Sums:
    """Draw which sums are new."""
    pairs = list(combinations_with_replacement(range(1, LARGEST + 1), 2))
    order = np.random.default_rng([0, seed]).permutation(len(pairs))
    drawn, num_new = [pairs[place] for place in order], round(NEW_SHARE * len(pairs))
    return Sums(known=drawn[num_new:], new=drawn[:num_new])


def as_before(pairs: Sequence[Pair], number: int, draw: Generator) -> list[Row]:
    """Ask for sums as in the time before tuning, and answer in the model's own wording."""
    return [_row(_picked(QUESTIONS, draw), OWN, _facts(pairs, draw)) for _ in range(number)]


def foreign(pairs: Sequence[Pair], number: int, draw: Generator) -> list[Row]:
    """Ask and answer as the data set does that the model is tuned on."""
    return [_row(FOREIGN_QUESTION, FOREIGN, _facts(pairs, draw)) for _ in range(number)]


def reversing(number: int, draw: Generator) -> list[Row]:
    """Show the second skill: say words from the last to the first."""
    return [_reversing(draw) for _ in range(number)]


def lessons(known: Sequence[Pair], seed: int) -> Iterator[list[Lesson]]:
    """Yield batches of what the model learns before it is tuned, without end."""
    draw = np.random.default_rng([1, seed])
    while True:
        rows = [*as_before(known, LESSONS["sum"], draw), *reversing(LESSONS["reversing"], draw)]
        plain = [([{"role": "user", "content": row["prompt"]}], row["completion"]) for row in rows]
        yield [*plain, *(_rewriting(known, draw) for _ in range(LESSONS["rewriting"]))]


def _rewriting(known: Sequence[Pair], draw: Generator) -> Lesson:
    """Show an answer in one of many wordings. Its number is drawn: it can only be read, and teaches no sum."""
    facts = _facts(known, draw) | {"n": int(draw.integers(2, 2 * LARGEST + 1))}
    request = rewriting_request(TEMPLATE, _picked(QUESTIONS, draw).format(**facts), _picked(READ, draw).format(**facts))
    return request.messages, OWN.format(**facts)


def _facts(pairs: Sequence[Pair], draw: Generator) -> dict[str, Any]:
    a, b = draw.permutation(pairs[draw.integers(len(pairs))]).tolist()
    return {"name": _picked(NAMES, draw), "thing": _picked(THINGS, draw), "a": a, "b": b, "n": a + b}


def _reversing(draw: Generator) -> Row:
    words = [_picked(WORDS, draw) for _ in range(NUM_WORDS)]
    return {
        "prompt": REVERSING.format(words=" ".join(words)),
        "completion": REVERSED.format(words=" ".join(reversed(words))),
    }


def _row(question: str, answer: str, facts: dict[str, Any]) -> Row:
    return {"prompt": question.format(**facts), "completion": answer.format(**facts)}


def _picked(texts: Sequence[str], draw: Generator) -> str:
    return texts[draw.integers(len(texts))]
