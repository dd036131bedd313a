"""What disqualifies a candidate before its answer is looked at: nothing written, cut off, a leak, a loop, a copy of the prompt.

The reference code (sail-sg/sdft) knows leaks only, as a list of phrases; ours are in ``leaks.toml``.
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import tomllib
import unicodedata
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

_LISTS = tomllib.loads(Path(__file__).with_name("leaks.toml").read_text(encoding="utf-8"))

LEAK_PHRASES: tuple[str, ...] = tuple(_LISTS["phrases"])
"""What gives a rewriting away, whatever the template."""

_OPENINGS: tuple[str, ...] = tuple(_LISTS["openings"])

LEAKS_DIGEST = hashlib.sha256(json.dumps(_LISTS, sort_keys=True).encode()).hexdigest()[:16]
"""Tells the lists of one release from those of another: what passes one may not pass the other."""

# By Unicode: blanks, controls, what only formats, and marks that have nothing to stand on.
_UNSEEN = frozenset({"Cc", "Cf", "Me", "Mn", "Zl", "Zp", "Zs"})
_FILLERS = "\u115f\u1160\u2800\u3164\uffa0"  # blanks all the same, though of Hangul's letters and Braille's symbols

# Our choices: as few words as these are an answer and not a loop, and a prompt as short as this may well begin its answer.
_LEAST_LOOP, _LEAST_COPY = 40, 8


def rejection(
    candidate: str,
    prompt: str,
    original: str,
    *,
    truncated: bool,
    question: str = "",
    phrases: Sequence[str] = (),
    allow_truncated: bool = False,
) -> str | None:
    """Say why a candidate cannot be used, whatever its answer is.

    A leak or a copy that is in the original as well is no fault: then it belongs to the task.

    Args:
        candidate: What the model wrote.
        prompt: What it answers.
        original: The response that it was asked to rewrite.
        truncated: Whether it was cut off.
        question: The last turn of the user alone, where the prompt is more than that.
        phrases: Phrases that give the rewriting away, beside :data:`LEAK_PHRASES`.
        allow_truncated: Whether being cut off is no fault.

    Returns:
        The first of ``"empty"``, nothing that can be seen; ``"truncated"``; ``"leak"``, a phrase in any case at whole words;
        ``"repetition"``, four words in a row that make up more than half of at least 40, which finds loops of up to seven words
        in languages that write blanks; ``"copy_of_prompt"``, the prompt or the question itself, or all of one (at least 8
        words) at the beginning. ``None``: no fault.
    """
    if is_blank(candidate):
        return "empty"
    if truncated and not allow_truncated:
        return "truncated"
    if _leaks(candidate, original, phrases):
        return "leak"
    if _is_loop(candidate):
        return "repetition"
    if any(_copies(candidate, text) and not _copies(original, text) for text in (prompt, question)):
        return "copy_of_prompt"
    return None


def is_blank(text: str) -> bool:
    """Say whether a text shows nothing: blanks, zero-width characters, controls.

    Args:
        text: Any.

    Returns:
        Whether none of its characters can be seen.
    """
    return all(one in _FILLERS or unicodedata.category(one) in _UNSEEN for one in text)


def reference_rejection(candidate: str) -> str | None:
    """Say what the reference code (sail-sg/sdft) would reject a candidate for, on whose lists everything else passes.

    Args:
        candidate: What the model wrote.

    Returns:
        ``"leak"`` or ``None``. Nothing written, or only half of it, is no fault there.
    """
    text = candidate.strip()
    is_leak = any(phrase in text.lower() for phrase in _LISTS["reference_phrases"])
    return "leak" if is_leak or text.startswith(_LISTS["reference_opening"]) else None


def _leaks(candidate: str, original: str, phrases: Sequence[str]) -> bool:
    patterns = [_pattern(phrase) for phrase in (*LEAK_PHRASES, *phrases)] + [_pattern(words, start=True) for words in _OPENINGS]
    return any(pattern.search(candidate) and not pattern.search(original) for pattern in patterns)


@functools.cache
def _pattern(phrase: str, *, start: bool = False) -> re.Pattern[str]:
    """Compile a phrase; a boundary is looked for only where it ends in a letter or digit."""
    words = r"\s+".join(re.escape(word).replace("'", "['’]") for word in phrase.split())
    before = r"\A\s*" if start else r"(?<!\w)" if re.match(r"\w", words) else ""
    after = r"(?!\w)" if re.search(r"\w\Z", words) else ""
    return re.compile(before + words + after, re.IGNORECASE)


def _is_loop(text: str) -> bool:
    words = text.casefold().split()
    covered: Counter[tuple[str, ...]] = Counter()
    ends: dict[tuple[str, ...], int] = {}
    for start in range(len(words) - 3):
        gram = tuple(words[start : start + 4])
        covered[gram] += min(4, start + 4 - ends.get(gram, 0))  # its occurrences may overlap: a word counts once
        ends[gram] = start + 4
    return len(words) >= _LEAST_LOOP and 2 * max(covered.values()) > len(words)


def _copies(text: str, prompt: str) -> bool:
    words, asked = text.split(), prompt.split()
    return words == asked or (len(asked) >= _LEAST_COPY and words[: len(asked)] == asked)
