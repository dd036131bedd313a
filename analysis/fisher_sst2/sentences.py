"""The whole sentences of SST-2, in disjoint sets.

The rows of ``train.tsv`` are phrases: most are parts of other rows, so that sets of rows which have no row in common still
share their text. Only rows that are no part of a longer row are taken.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import numpy as np

PER_HALF = 2000

Row = tuple[str, int]  # sentence, label


@dataclass(frozen=True)
class Split:
    """Sentences of one seed.

    Attributes:
        halves: Two sets for the Fisher.
        head: All others, to train the head on.
    """

    halves: tuple[list[Row], list[Row]]
    head: list[Row]


def read(path: Path) -> list[Row]:
    """Read a file of GLUE, in which a quotation mark is a character."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        next(rows)
        return [(sentence.strip(), int(label)) for sentence, label in rows]


def write(path: Path, rows: list[Row]) -> None:
    """Write a file as GLUE does."""
    lines = [f"{sentence}\t{label}\n" for sentence, label in rows]
    path.write_text("".join(["sentence\tlabel\n", *lines]), encoding="utf-8")


def whole_sentences(rows: list[Row]) -> list[Row]:
    """Leave out repetitions, and what is a run of words of a longer row."""
    unique = sorted({(tuple(sentence.split()), label) for sentence, label in rows}, key=lambda row: (-len(row[0]), row))
    parts: set[tuple[str, ...]] = set()
    whole = []
    for words, label in unique:
        if words in parts:
            continue
        whole.append((" ".join(words), label))
        ends = range(1, len(words) + 1)
        parts.update(words[start:end] for end in ends for start in range(end))
    return whole


def split(whole: list[Row], seed: int) -> Split:
    """Draw the three sets."""
    drawn = [whole[i] for i in np.random.default_rng(seed).permutation(len(whole))]
    return Split((drawn[:PER_HALF], drawn[PER_HALF : 2 * PER_HALF]), drawn[2 * PER_HALF :])
