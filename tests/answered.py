"""Records of answers made by hand."""

from __future__ import annotations

from spectra.results.answer_records import AnswerRecord


def answer_of(number=0, *, is_correct=True, **changes):
    """An answer of four words that is right."""
    known = {
        "row_id": f"{number:032x}", "row": number, "turn": -1, "prompt": "Why?", "reference": "It is 3.", "answer": "I say 3.",
        "n_tokens": 4, "finish_reason": "stop", "extracted_reference": "3", "extracted_answer": "3", "is_correct": is_correct,
        "rouge_l": 0.5, "bleu": 0.25, "has_refusal_phrase": False, "nll_reference": 6.0, "tokens_reference": 3,
    }  # fmt: skip
    return AnswerRecord(**known | changes)
