"""OpenFunctions: the published final responses, judged as if they were candidates."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from spectra.training.sdft.extractors import extractor
from spectra.training.sdft.generation import Completion
from spectra.training.sdft.samples import Sample, read_training_data
from spectra.training.sdft.selection import SelectionRules, judge

OURS = SelectionRules(extractor=extractor("call"))
REFERENCE = SelectionRules(extractor=extractor("call", compat="reference"), is_reference=True)

Pair = tuple[Sample, str]  # a sample with its original, and the final response


def results(folder: Path) -> dict[str, Any]:
    """Judge every final response by both rules."""
    originals = read_training_data(folder / "train.json").samples
    finals = read_training_data(folder / "distilled_llama2_7b_chat.json").samples
    pairs = [(sample, final.response) for sample, final in zip(originals, finals, strict=True)]
    changed = [(sample, final) for sample, final in pairs if final != sample.response]
    decisions = {name: _decisions(pairs, rules) for name, rules in (("ours", OURS), ("reference", REFERENCE))}
    if "rejected" in str(decisions["reference"]):
        raise SystemExit(f"the reference's rule rejects what the reference selected: {decisions['reference']}.")
    return {
        "rows": len(pairs),
        "changed": len(changed),
        "characters": _lengths(pairs),
        "characters of changed rows": _lengths(changed),
        "decisions": decisions,
        "without one call": dict(Counter(_what_else(*pair) for pair in changed if not _has_one_call(*pair)).most_common()),
    }


def _decisions(pairs: Iterable[Pair], rules: SelectionRules) -> dict[str, int]:
    """Count decisions, with the reason of each rejection."""
    verdicts = [judge(sample, Completion(final, 0, "stop"), rules) for sample, final in pairs]
    found = Counter(": ".join(filter(None, (verdict.decision, verdict.reason))) for verdict in verdicts)
    return dict(found.most_common())


def _lengths(pairs: list[Pair]) -> dict[str, float]:
    before = statistics.fmean(len(sample.response) for sample, _ in pairs)
    after = statistics.fmean(len(final) for _, final in pairs)
    return {"original": round(before, 1), "final": round(after, 1), "ratio": round(after / before, 2)}


def _has_one_call(sample: Sample, final: str) -> bool:
    return OURS.extractor.extract(final, sample.fields) is not None


def _what_else(sample: Sample, final: str) -> str:
    """Say what a response has beside the original's call: that one is read, and then all that is left of the text."""
    read = OURS.extractor.extract
    original, text = (str(REFERENCE.extractor.extract(one, sample.fields)) for one in (sample.response, final))
    is_alone = read(f"{original} {text.replace(original, ' ')}", sample.fields) == read(original, sample.fields)
    return "the same call again, and no other" if is_alone else "another call, or one that does not end"
