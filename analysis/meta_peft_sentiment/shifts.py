"""What retraining moved in a base: medians over its matrices for the table, and all of one cell for the figure."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.meta_peft_sentiment.protocol import DOMAINS
from spectra.diagnose.base_shift import base_shift
from spectra.report.figures.base_shift import base_shift as figure_of
from spectra.results.base_shift import BaseShift

NUM_TASKS, RANK = len(DOMAINS) - 1, 4
MEASURES = ("relative change", "stable rank", "effective rank", "top 4", "top 16", "top 20")
_DIGITS = 5


def shift_of(before: Any, after: Any) -> BaseShift:
    """Compare two bases, but for the head, which is made anew."""
    return base_shift(before, after, num_tasks=NUM_TASKS, rank=RANK, exclude="classifier*")


def summary(shift: BaseShift) -> dict[str, float]:
    """Return the numbers of the table: of the whole base, and medians over matrices."""
    ranks = [shift.median("stable_rank"), shift.median("effective_rank")]
    numbers = [shift.relative_change, *ranks, *(shift.energy(count) for count in shift.top)]
    return {name: round(number, _DIGITS) for name, number in zip(MEASURES, numbers, strict=True)}


def kept(shift: BaseShift) -> dict[str, Any]:
    """Return the shift as JSON can hold it, with no more digits than a figure shows."""
    content: dict[str, Any] = json.loads(
        json.dumps(shift.to_dict()), parse_float=lambda text: float(f"{float(text):.{_DIGITS}g}")
    )
    return content


def draw_spectra(spectra: Mapping[str, Mapping[str, Any]], path: Path) -> None:
    """Draw the spectra of one cell and write them as PNG."""
    shifts = {name: BaseShift.from_dict(content) for name, content in spectra.items()}
    figure_of(shifts, wide=True).savefig(path, dpi=200, metadata={"Software": None})
