r"""The answer of a worked problem: the number behind an explicit marker, otherwise the last number.

Markers are ``#### N``, ``the answer is N``, ``answer: N`` and ``\boxed{N}``; the last one that has a number counts. Where an
equation stands behind a marker, its right-hand side counts. An answer of more than one number is none, as are a number
and an equation that come to different values: a wrong answer that passes is trained on, a right one that does not costs little.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Mapping
from typing import Any

from spectra.training.sdft.extractors.extractor import Extractor
from spectra.training.sdft.extractors.written_numbers import NUMBER, Number, is_whole, plain_numbers, read_number

_MARKER = re.compile(
    r"(?<!\#)\#{4}(?=(?:[^\w\n]|[0-9])*$)"  # with words behind it, it is a heading
    r"|\banswer\b[*_]*(?:\s+is\b|\s*:)"
    r"|(?P<box>\\boxed\s*\{)",
    re.IGNORECASE | re.MULTILINE,
)
_SENTENCE = re.compile(r"(?:(?!\.\s)[^\n]){0,200}")
_BOX = re.compile(r"(?:[^{}\n]++|\{(?:[^{}\n]++|\{[^{}\n]*\})*+\})*+")
_UNIT = re.compile(r"(?:[ .$*%°_/-]|\^\{?\\circ\}?|\\circ|\\degree|(?<=[a-z])(?:\^\{?[23]\}?|[²³])|[A-Za-z]|\\?[)\]}])*+")
_UP_TO_NUMBER = re.compile(rf"[ \t*_:,$`~≈(\[{{\\]*?(?={NUMBER.pattern})", re.VERBOSE)
_UP_TO_EQUALS = re.compile(r".*(?<![<>!])=")  # the last one
_NAME = re.compile(r"(?<![0-9A-Za-z])(?<![0-9+*×/-] )[A-Za-z]+ ?=")
_MULTIPLE = re.compile(r"[0-9] ?[A-Za-z] ?=")


def math_answer(text: str, row: Mapping[str, Any]) -> Number | None:
    r"""Find the number that a response comes to.

    Args:
        text: The response.
        row: Not looked at.

    Returns:
        The number; ``None`` if there is none, if a box holds none, or if it is one of several or part of something else.

    Example:
        >>> print(math_answer("She has 16 - 3 = 13 eggs and sells them at $2: $26.", {}))
        $26
        >>> print(math_answer(r"So $x = \boxed{\frac{3}{4}}$, after 5 steps.", {}))
        3/4
        >>> print(math_answer("The answer is 5 feet 3 inches.", {}))
        None
    """
    text = plain_numbers(text)
    for marker in reversed([*_MARKER.finditer(text)]):
        start, end = marker.end(), _end(marker)
        stated = _stated(text, start, end)
        if marker["box"] and not (stated and _UNIT.fullmatch(text, stated[-1].end(), end)):
            return None
        if stated:
            return None if _is_unsolved(text[start:end]) else _common_value(stated)
    last = deque(NUMBER.finditer(text), maxlen=1)
    return read_number(last[0]) if last else None


def _end(marker: re.Match[str]) -> int:
    """Find where the box ends, or the sentence."""
    statement = (_BOX if marker["box"] else _SENTENCE).match(marker.string, marker.end())
    return statement.end() if statement else marker.end()


def _stated(text: str, start: int, end: int) -> list[re.Match[str]]:
    """Find the number with which a statement begins, and that behind its last equals sign; of a sum only the latter."""
    at_once = _next_number(text, start)
    equation = _UP_TO_EQUALS.match(text, start, end)
    result = _next_number(text, equation.end()) if equation else None
    if result and at_once and not is_whole(at_once):
        return [result]
    return [number for number in (at_once, result) if number]


def _next_number(text: str, start: int) -> re.Match[str] | None:
    filler = _UP_TO_NUMBER.match(text, start)
    return NUMBER.match(text, filler.end()) if filler else None


def _is_unsolved(statement: str) -> bool:
    """Tell whether several names have values, or a multiple of one: ``x = 5 or y = 3``, ``2x = 6``."""
    return len(_NAME.findall(statement)) > 1 or _MULTIPLE.search(statement) is not None


def _common_value(stated: list[re.Match[str]]) -> Number | None:
    first, last = read_number(stated[0]), read_number(stated[-1])
    return last if first and last and first.agrees_with(last) else None


MATH = Extractor("math", 3, math_answer, Number.agrees_with)
