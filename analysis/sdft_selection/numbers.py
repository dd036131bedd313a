"""GSM8K: the numbers that two rules find in worked answers, with and without the closing sentence."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path
from typing import Any

from spectra.training.sdft.extractors import agree, extractor
from spectra.training.sdft.samples import Sample, read_training_data

OURS, REFERENCE = extractor("math"), extractor("math", compat="reference")
CLOSING = "\nThe answer is "
NUM_EXAMPLES = 3


def results(folder: Path) -> dict[str, Any]:
    """Measure both splits."""
    return {split: _measured(read_training_data(folder / f"{split}.json").samples) for split in ("train", "test")}


def _measured(samples: tuple[Sample, ...]) -> dict[str, Any]:
    cut = [(sample, sample.response.rpartition(CLOSING)[0]) for sample in samples]
    agreeing = {"both": 0, "ours only": 0, "reference only": 0, "neither": 0}
    examples: dict[str, list[dict[str, str]]] = {"ours only": [], "reference only": []}
    for sample, text in cut:
        ours, theirs = agree(OURS, sample.response, text, {}), agree(REFERENCE, sample.response, text, {})
        word = _word(ours[2], theirs[2])
        agreeing[word] += 1
        if len(examples.get(word, range(NUM_EXAMPLES))) < NUM_EXAMPLES:
            line = text.rpartition("\n")[2]
            examples[word].append({"line": line, "answer": str(ours[0]), "ours": str(ours[1]), "reference": str(theirs[1])})
    return {
        "answers": len(samples),
        "with a number": sum(OURS.extract(sample.response, {}) is not None for sample in samples),
        "with the closing number": sum(_agrees_with_closing(sample) for sample in samples),
        "agreeing with themselves": sum(agree(OURS, sample.response, sample.response, {})[2] for sample in samples),
        "in which the rules differ": sum(_differ(sample.response) for sample in samples),
        "without the closing sentence": agreeing,
        "examples": examples,
    }


def _word(ours: bool, theirs: bool) -> str:
    return {(True, True): "both", (True, False): "ours only", (False, True): "reference only"}.get((ours, theirs), "neither")


def _agrees_with_closing(sample: Sample) -> bool:
    closing = Fraction(sample.response.rpartition(CLOSING)[2].rstrip(".").replace(",", ""))
    return getattr(OURS.extract(sample.response, {}), "value", None) == closing


def _differ(text: str) -> bool:
    return getattr(OURS.extract(text, {}), "value", None) != REFERENCE.extract(text, {})
