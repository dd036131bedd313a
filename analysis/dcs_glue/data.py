"""Training sets of which some labels are wrong, and examples as token ids; the tasks are those of ``tempbalance_low_data``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from analysis.dcs_glue.protocol import Cell
from analysis.tempbalance_low_data.data import Example, drawn, read

MAX_LENGTH = 64
FLIPPED_SHARE = 0.1


def training_set(cell: Cell, data: Path) -> tuple[list[Example], list[int]]:
    """Draw the examples of a cell; return them, and which have a wrong label: as many of each class."""
    examples = drawn(read(data, cell.task).pool, cell.size, cell.seed)
    if cell.condition == "clean":
        return examples, []
    number = round(FLIPPED_SHARE * cell.size / 2)
    order = np.random.default_rng([1, cell.size, cell.seed]).permutation(cell.size).tolist()
    wrong = sorted(i for label in (0, 1) for i in [j for j in order if examples[j][1] == label][:number])
    return [(texts, 1 - label if i in wrong else label) for i, (texts, label) in enumerate(examples)], wrong


def judged_on(cell: Cell, data: Path) -> list[Example]:
    """Return the examples that models of a cell are judged on."""
    task = read(data, cell.task)
    return (task.test if cell.split == "test" else task.dev)[: cell.num_judged]


def encoded(tokenizer: Any, examples: Sequence[Example]) -> list[dict[str, Any]]:
    """Tokenise, without padding."""
    return [{**tokenizer(*texts, truncation=True, max_length=MAX_LENGTH), "labels": label} for texts, label in examples]
