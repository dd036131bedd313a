"""The tasks as files that recipes read: a pool to draw training examples from, dev to choose rates on, test to judge once."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.low_data_finetuning.protocol import DEV, TEST
from spectra.training.data_files import read_records

TASKS = ("SST-2", "RTE", "books", "kitchen")
TEXTS = {"SST-2": ("sentence",), "RTE": ("sentence1", "sentence2"), "books": ("sentence",), "kitchen": ("sentence",)}
LABEL = "label"
POOL = "pool"

# SST-2 has 67,349 rows; what a run reads and does not draw is wasted. Enough for 1,024 examples of any seed.
_MOST_IN_POOL = 2048
_SPLIT_SEED = 0  # of all that is the same for all cells

Rows = list[dict[str, Any]]


def write_tasks(data: Path, work: Path, tasks: Sequence[str], num_judged: int) -> None:
    """Write the files of tasks.

    Args:
        data: Folder of ``glue/`` and ``sentiment_domains/``.
        work: Where ``TASK/pool.tsv``, ``TASK/dev.tsv`` and ``TASK/test.tsv`` go.
        tasks: Of ``TASKS``.
        num_judged: Most rows of dev and test.
    """
    for task in tasks:
        pool, dev, test = _splits(data, task, num_judged)
        for split, rows in {POOL: pool, DEV: dev, TEST: test}.items():
            _write(file_of(work, task, split), rows, TEXTS[task])


def file_of(work: Path, task: str, split: str) -> Path:
    """Return the file of a task's split."""
    return work / task / f"{split}.tsv"


def _splits(data: Path, task: str, num_judged: int) -> tuple[Rows, Rows, Rows]:
    """Read pool, dev and test. GLUE's test files have no labels: its dev files are tested on, dev is from elsewhere."""
    if task == "SST-2":
        rows = _shuffled(_read(data / "glue" / "SST-2" / "train.tsv"))
        test = _read(data / "glue" / "SST-2" / "dev.tsv")
        pool, dev = rows[num_judged : num_judged + _MOST_IN_POOL], rows[:num_judged]
    elif task == "RTE":
        pool, test = (_read(data / "glue" / "RTE" / f"{split}.tsv") for split in ("train", "dev"))
        dev = _without_header(data / "glue" / "RTE" / "val.tsv")
    else:
        pool, dev, test = (_read(data / "sentiment_domains" / task / f"{split}.tsv") for split in ("train", "dev", "test"))
    return pool[:_MOST_IN_POOL], _shuffled(dev)[:num_judged], _shuffled(test)[:num_judged]


def _read(path: Path) -> Rows:
    return [dict(record) for record in read_records(path)]


def _without_header(path: Path) -> Rows:
    with path.open(encoding="utf-8", newline="") as file:
        names = ("index", *TEXTS["RTE"], LABEL)
        return list(csv.DictReader(file, names, delimiter="\t", quoting=csv.QUOTE_NONE))


def _shuffled(rows: Rows) -> Rows:
    return [rows[place] for place in np.random.default_rng(_SPLIT_SEED).permutation(len(rows))]


def _write(path: Path, rows: Rows, texts: Sequence[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", encoding="utf-8", newline="") as file:
        lines = csv.writer(file, delimiter="\t", lineterminator="\n")
        lines.writerow([*texts, LABEL])
        # The tokenizer takes line breaks for spaces, too.
        lines.writerows([*(" ".join(row[text].split()) for text in texts), row[LABEL]] for row in rows)
