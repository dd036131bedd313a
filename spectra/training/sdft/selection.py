"""Conditional selection: whether a candidate takes the place of the response it was written from.

Yang et al. (2024), arXiv 2402.13669, section 3: the candidate is taken if what is extracted from it equals what is extracted
from the original response, and the original stays otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

from spectra.training.sdft.extractors.extractor import Extractor, agree
from spectra.training.sdft.extractors.run_tests import passes_tests
from spectra.training.sdft.filters import is_blank, reference_rejection, rejection
from spectra.training.sdft.generation import Completion
from spectra.training.sdft.row_faults import naming_extractor
from spectra.training.sdft.samples import Sample
from spectra.training.sdft.similarity import rouge_l

_ENDED = ("stop", "unknown")  # some servers do not say why a text ends; others cut it off: "length", "content_filter", "abort"


@dataclass(frozen=True, kw_only=True)
class SelectionRules:
    """What a candidate has to pass.

    Attributes:
        extractor: What it has to agree with the original in.
        phrases: Phrases that give the rewriting away, beside those known.
        allow_truncated: Whether it may have stopped at the length limit.
        min_rouge_l: Smallest similarity to the original.
        test_column: Where the tests of a program are; they are run.
        is_reference: Filter as the reference code does.
    """

    extractor: Extractor
    phrases: tuple[str, ...] = ()
    allow_truncated: bool = False
    min_rouge_l: float = 0.0
    test_column: str | None = None
    is_reference: bool = False


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is decided of a candidate.

    Attributes:
        decision: ``"accepted"``, ``"identical"`` (to the original, up to white space around it) or ``"rejected"``.
        reason: Why it is rejected.
        extracted_original: From the original response.
        extracted_candidate: From the candidate.
    """

    decision: str
    reason: str | None = None
    extracted_original: str | None = None
    extracted_candidate: str | None = None


def judge(sample: Sample, candidate: Completion, rules: SelectionRules) -> Verdict:
    """Decide whether a candidate is taken.

    Args:
        sample: With the original response.
        candidate: What the model wrote, with what of the template is part of it.
        rules: What it has to pass.

    Returns:
        The decision. No candidate is taken if nothing can be extracted from the original.

    Raises:
        InputError: The extractor fails.
    """
    with naming_extractor(rules.extractor, f"an answer to row {sample.row + 1}"):
        found, extracted, is_match = agree(rules.extractor, sample.response, candidate.text, sample.fields)
    reason = _filtered(sample, candidate, rules) or _disagreement(found, extracted, is_match=is_match)
    reason = reason or _unlike(sample, candidate.text, rules) or _untested(sample, candidate.text, rules)
    is_same = reason is None and candidate.text.strip() == sample.response.strip()
    return Verdict(
        decision="rejected" if reason else "identical" if is_same else "accepted",
        reason=reason,
        extracted_original=None if found is None else str(found),
        extracted_candidate=None if extracted is None else str(extracted),
    )


def _filtered(sample: Sample, candidate: Completion, rules: SelectionRules) -> str | None:
    if candidate.finish_reason == "too_long":
        return "prompt_too_long"
    if rules.is_reference:  # which lets an empty text pass; no reader would take such a row
        return "empty" if is_blank(candidate.text) else reference_rejection(candidate.text)
    return rejection(
        candidate.text,
        sample.prompt,
        sample.response,
        truncated=candidate.finish_reason not in _ENDED,
        question=sample.question,
        phrases=rules.phrases,
        allow_truncated=rules.allow_truncated,
    )


def _disagreement(found: object, extracted: object, *, is_match: bool) -> str | None:
    if is_match:
        return None
    return "no_reference" if found is None else "nothing_extracted" if extracted is None else "mismatch"


def _unlike(sample: Sample, text: str, rules: SelectionRules) -> str | None:
    return "low_rouge_l" if rules.min_rouge_l and rouge_l(sample.response, text) < rules.min_rouge_l else None


def _untested(sample: Sample, text: str, rules: SelectionRules) -> str | None:
    if rules.test_column is None:
        return None
    from spectra.training.sdft.extractors.code import program

    return None if passes_tests(program(text), str(sample.fields[rules.test_column])) is None else "failed_tests"
