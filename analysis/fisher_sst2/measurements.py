"""Fishers of growing sets of sentences: a set is measured in parts, and the parts are merged."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterable
from functools import reduce
from pathlib import Path

import spectra
from analysis.fisher_sst2.classifier import batches, loaded
from analysis.fisher_sst2.sentences import PER_HALF, Row

SIZES = (125, 250, 500, 1000, PER_HALF)


def measured(folder: Path, rows: list[Row], kind: str, first_seed: int) -> tuple[dict[int, spectra.Fisher], float]:
    """Measure the first sentences and ever more of them.

    Args:
        folder: Of the classifier.
        rows: As many as the largest size.
        kind: Of Fisher.
        first_seed: Of the draws of the first part; each part has its own.

    Returns:
        Fishers by number of sentences, without their arrays, and the seconds of this process.
    """
    started = time.process_time()
    model, tokenizer = loaded(folder)
    found: dict[int, spectra.Fisher] = {}
    for number, (start, end) in enumerate(zip((0, *SIZES), SIZES, strict=False)):
        part = spectra.fisher(model, list(batches(tokenizer, rows[start:end])), kind=kind, seed=first_seed + number)
        found[end] = merged([*list(found.values())[-1:], without_values(part)])
    return found, time.process_time() - started


def without_values(fisher: spectra.Fisher) -> spectra.Fisher:
    """Keep the scores, relative ones too, and let go of a number per weight."""
    return dataclasses.replace(fisher, values={})


def merged(parts: Iterable[spectra.Fisher]) -> spectra.Fisher:
    """Merge several Fishers."""
    return reduce(spectra.merge_fishers, parts)
