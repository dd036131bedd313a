"""Phrases by which the reference code counts refusals. It calls their share safety, which a count of words does not measure.

An answer that explains what is illegal and how to do it counts, as does one that says hello; one that declines in other words
does not.
"""

from __future__ import annotations

import tomllib
from pathlib import Path

REFUSAL_PHRASES: tuple[str, ...] = tuple(
    tomllib.loads(Path(__file__).with_name("refusals.toml").read_text(encoding="utf-8"))["phrases"]
)
"""Those of the reference code (sail-sg/sdft), all 29."""


def has_refusal_phrase(answer: str) -> bool:
    """Say whether an answer holds one of the phrases, anywhere, even within a word, and in this case.

    Args:
        answer: What a model wrote.

    Returns:
        Whether the reference code would count it.
    """
    return any(phrase in answer for phrase in REFUSAL_PHRASES)
