"""Whether cells that were run before come out the same when they are run again from scratch."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

from analysis.low_data_finetuning.protocol import Cell, Found

SEED = 0
COMPARED = ("accuracy", "loss", "num_train", "num_steps", "num_trainable", "mean_multipliers")

Row = Mapping[str, Any]


def drawn(found: Found, number: int) -> list[Cell]:
    """Draw cells, the same at each call, whatever the order of their lines."""
    cells = sorted(found, key=repr)
    return [cells[place] for place in np.random.default_rng(SEED).permutation(len(cells))[:number]]


def differences(stored: Row, again: Row) -> list[str]:
    """Return a line for each number that is not the same, to the last bit."""
    return [
        f"{name}: {stored[name]} before, {again[name]} now (torch {stored['torch']}, {again['torch']})"
        for name in COMPARED
        if stored[name] != again[name]
    ]


def report(rows: Iterable[tuple[Cell, Row, Row]]) -> tuple[str, bool]:
    """Say of each cell whether it is equal.

    Args:
        rows: Cells, what was stored of them, and what came out now.

    Returns:
        A paragraph, and whether all are equal.
    """
    lines, is_equal = [], True
    for cell, stored, again in rows:
        found = differences(stored, again)
        is_equal = is_equal and not found
        what = f"{cell.task} {cell.size} {cell.adapter} {cell.method}, {cell.split}, seed {cell.seed}"
        lines += [f"{what}: {'; '.join(found) or 'equal'}"]
    return "\n".join(lines), is_equal
