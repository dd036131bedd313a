r"""The answer of a worked problem: the number behind an explicit marker, otherwise the last number.

Markers are ``#### N``, ``the answer is N``, ``answer: N`` and ``\boxed{N}``; the last one that has a number counts. Where an
equation stands behind a marker, its right-hand side counts.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

from spectra.training.sdft.extractors.extractor import Extractor
from spectra.training.sdft.extractors.written_numbers import NUMBER, Number, is_part, plain_numbers, read_number

_MARKER = re.compile(
    r"(?<!\#)\#{4}(?=(?:[^\w\n]|[0-9])*$)"  # with words behind it, it is a heading
    r"|\banswer\b[*_]*(?:\s+is\b|\s*:)"
    r"|(?P<box>\\boxed\s*\{)",
    re.IGNORECASE | re.MULTILINE,
)
_UP_TO_NUMBER = re.compile(rf"[ \t*_:,$`~≈(\[{{\\]*?(?={NUMBER.pattern})", re.VERBOSE)
_UP_TO_EQUALS = re.compile(r"(?:(?!\.\s)[^\n]){0,200}=")  # the last one of a sentence


def math_answer(text: str, row: Mapping[str, Any]) -> Number | None:
    r"""Find the number that a response comes to.

    Args:
        text: The response.
        row: Not looked at.

    Returns:
        The number; ``None`` if there is none, if a box holds none, or if it is only part of something else.

    Example:
        >>> print(math_answer("She has 16 - 3 = 13 eggs and sells them at $2: $26.", {}))
        $26
        >>> print(math_answer(r"So $x = \boxed{\frac{3}{4}}$, after 5 steps.", {}))
        3/4
    """
    text = plain_numbers(text)
    for marker in reversed([*_MARKER.finditer(text)]):
        stated = _stated(text, marker.end())
        if stated or marker["box"]:
            return read_number(stated) if stated else None
    last = deque(NUMBER.finditer(text), maxlen=1)
    return read_number(last[0]) if last else None


def _stated(text: str, start: int) -> re.Match[str] | None:
    at_once = _next_number(text, start)
    if at_once and not is_part(at_once):
        return at_once
    equation = _UP_TO_EQUALS.match(text, start)
    return (_next_number(text, equation.end()) if equation else None) or at_once


def _next_number(text: str, start: int) -> re.Match[str] | None:
    filler = _UP_TO_NUMBER.match(text, start)
    return NUMBER.match(text, filler.end()) if filler else None


MATH = Extractor("math", 1, math_answer, Number.agrees_with)
