r"""The letter, A to E, of a multiple-choice answer.

The last explicit marker counts: ``the answer is (B)``, ``answer: B``, ``the correct option is B``, ``\boxed{B}``. Without one,
it is the letter that is set apart: ``(B)``, ``**B**``, ``B)`` or ``B.`` in front of a line, ``B`` alone on it. If different
letters are, as where all options are discussed, there is no telling which one is meant. The word "A" is no choice.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spectra.training.sdft.extractors.extractor import Extractor

_STATED = re.compile(
    r"""
    (?: \b(?i:answer|option|choice)\b[*_]*+
        (?: \s++(?i:is)\b(?:[ ]*:)?[ ]*+(?!a[ ]\w) | \s*+:[*_]*+\s*+(?![Aa][ ]\w) )  # the article is none
        (?: (?i:option|choice)[ ] )?
      | \\boxed\s*\{(?:\\(?:text|mathrm)\s*\{)?
    )
    [*_(\["'`$]*+ (?P<letter>[A-Ea-e]) (?![\w'’+-]) [*_)\]"'`$]*+
    (?P<more> (?:\s*[,/&]|\s+(?:and|or))\s*\(?[A-E]\b )?
    """,
    re.VERBOSE,
)
_SET_APART = re.compile(
    r"""
    (?<!\w)\((?P<round>[A-Ea-e])\)
    | \*\*\(?(?P<bold>[A-E])(?:[).:]|\*\*)
    | ^[ \t>*_-]*+(?P<first>[A-E])(?:\)|\.(?!\w)|[*_ \t]*$)
    | ^[ \t>*_-]*+(?P<small>[a-e])(?:\)|[.*_ \t]*$)
    """,
    re.VERBOSE | re.MULTILINE,
)


def chosen_letter(text: str, row: Mapping[str, Any]) -> str | None:
    """Find the letter that a response chooses.

    Args:
        text: The response.
        row: Not looked at.

    Returns:
        ``"A"`` to ``"E"``; ``None`` if none is chosen, or more than one.

    Example:
        >>> chosen_letter("(A) is too small and (C) too large, so the answer is (B).", {})
        'B'
    """
    stated = [*_STATED.finditer(text)]
    if stated:
        return None if stated[-1]["more"] else stated[-1]["letter"].upper()
    letters = {match[match.lastgroup or 0].upper() for match in _SET_APART.finditer(text)}
    return letters.pop() if len(letters) == 1 else None


CHOICE = Extractor("choice", 1, chosen_letter)
