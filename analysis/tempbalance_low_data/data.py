"""Two tasks with two classes: sentiment of reviews of books, and textual entailment (RTE)."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np

# 500 of the 741 reviews are tested: the time is better spent on more seeds.
NUM_TEST = 500

Example = tuple[tuple[str, ...], int]  # one text or two, label


@dataclass(frozen=True)
class Task:
    """The examples of a task.

    Attributes:
        pool: From which each seed draws those to train on.
        dev: To choose settings by.
        test: Looked at once, by the final runs.
    """

    pool: list[Example]
    dev: list[Example]
    test: list[Example]


@cache
def read(data: Path, name: str) -> Task:
    """Read a task by its name."""
    if name == "books":
        folder = data / "sentiment_domains" / "books"
        pool, dev, test = (_reviews(folder / f"{split}.tsv") for split in ("train", "dev", "test"))
        return Task(pool, dev, test[:NUM_TEST])
    if name == "RTE":
        # Split off the training file by the source, and without a header; the test is the official dev set.
        pool, dev, test = (_pairs(data / "glue" / "RTE" / f"{split}.tsv") for split in ("train", "val", "dev"))
        return Task(pool, dev, test)
    raise ValueError(f"unknown task '{name}'")


def drawn(pool: list[Example], size: int, seed: int) -> list[Example]:
    """Draw a training set with as many examples of each class."""
    order = np.random.default_rng([size, seed]).permutation(len(pool))
    return [pool[i] for label in (0, 1) for i in [j for j in order if pool[j][1] == label][: size // 2]]


def _reviews(path: Path) -> list[Example]:
    with path.open(encoding="utf-8", newline="") as file:
        return [((row["sentence"],), int(row["label"])) for row in csv.DictReader(file, delimiter="\t")]


def _pairs(path: Path) -> list[Example]:
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE))
    return [((first, second), int(label == "entailment")) for index, first, second, label in rows if index != "index"]
