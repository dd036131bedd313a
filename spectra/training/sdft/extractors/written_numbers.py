r"""Numbers as people and models write them, read exactly.

| written | read as | |
|---|---|---|
| ``1,234.50``, ``1{,}234.5`` | 2469/2 | three digits behind a comma, a thin or no-break space; no other white space joins |
| ``2,3`` | 2, then 3 | a comma is never a decimal point |
| ``-$5``, ``$-5``, ``5 %`` | -5, -5, 5 | currency and percent signs are put aside, as the mark of the number |
| ``3/4``, ``\frac{3}{4}``, ``¾``, ``2 1/2`` | 3/4, 3/4, 3/4, 5/2 | |
| ``1.5e3``, ``1.5 × 10^3`` | 1500 | |
| ``1.5 million``, ``3 dozen`` | 1500000, 36 | ``5k`` and ``5 M`` are not read |
| ``CO2``, ``x_1`` | nothing | digits that belong to a name |
| ``3:30``, ``2^3``, ``2x``, ``5 feet 3 inches`` | nothing | the value of a part says nothing about the whole |
| ``118 000`` | nothing | one number in some countries, two in others |
| ``x = - 5``, ``-(5)``, ``–5`` | nothing | a sign, or a dash |
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from fractions import Fraction
from math import prod

from spectra.training.sdft.extractors.compound_numbers import CURRENCY, SCALE, SCALES, is_part

# Beyond either no answer is meant: a model repeats itself, and exact arithmetic would take minutes.
MAX_CHARACTERS = 100
MAX_EXPONENT = 300
EXACT_PLACES = 6  # our choice: what more places say is rounded

_UNSIGNED = r"(?:(?:[0-9]{1,3}(?:[,\u00a0\u2009\u202f][0-9]{3})++(?![0-9])|[0-9]++)(?:\.[0-9]++)?|(?<!\.)\.[0-9]++)"
NUMBER = re.compile(
    rf"""
    (?P<prefix>(?:(?<![0-9A-Za-z)\]}}%])[-+−])?(?:[{CURRENCY}][ ]?[-−]?)?)
    (?<![0-9A-Za-z])(?<![0-9A-Za-z]_)(?<![0-9]\.)
    (?:
      (?P<unclear>[0-9]{{1,3}}(?:[ ][0-9]{{3}})++(?![0-9]))
    | (?:(?P<whole>[0-9]++)[ ])?(?P<numerator>{_UNSIGNED})[ ]?/[ ]?(?P<denominator>{_UNSIGNED})
    | (?P<decimal>{_UNSIGNED})(?:[eE](?P<exponent>[-+]?[0-9]++)|[ ]?[×*x][ ]?10\^(?P<power>[-−]?[0-9]++|\{{[-−]?[0-9]++\}}))?
    )
    (?P<scale>(?:[ -]?{SCALE})*)
    (?P<percent>[ ]?%)?
    """,
    re.VERBOSE,
)
_REACH = 200  # characters in which a dash is looked for
_DASH_BEFORE = re.compile(r"(?P<line>(?:\A|\n)[ \t]*)?(?<![\w)\]}%])[-−–—](?P<blank>[ ]?)[ *_`$(\[{\\]*\Z")
_FRACTION = re.compile(r"([0-9])?\\[dt]?frac(?:\{([0-9.,]+)\}|([0-9]))(?:\{([0-9.,]+)\}|([0-9]))")
_LATEX_TEXT = re.compile(r"\\(?:text(?:bf|it|rm)?|mathrm|mathbf|mbox|hbox)\s*\{([^{}]*)\}")
_LATEX_BLANKS = re.compile(r"(?:\\(?:[,;: ]|q?quad\b)|(?<=\S)~|[ ])+")
_LATEX = {r"{,}": ",", r"\!": "", r"\$": "$", r"\%": "%", r"\times": "×", r"\cdot": "×", r"\div": "÷"}
_LATEX_WORD = re.compile("|".join(map(re.escape, _LATEX)))
_LATEX_GROUP = re.compile(r"(?<=[0-9])\\,(?=[0-9]{3}(?![0-9]))")
_VULGAR = re.compile("[¼-¾⅐-⅞]")


@dataclass(frozen=True)
class Number:
    """A number that was written down.

    Attributes:
        value: Exact, without its mark: 50 for ``50%``.
        mark: Currency sign or ``"%"``; empty if there was none.
        slack: How far the number that was meant may be away: one unit of the last place where more than six places are
            written (but no more than a millionth of the value), else 0.
    """

    value: Fraction
    mark: str = ""
    slack: Fraction = Fraction(0)

    def __str__(self) -> str:
        return f"{self.value}%" if self.mark == "%" else f"{self.mark}{self.value}"

    def agrees_with(self, other: Number) -> bool:
        """Compare two numbers.

        Args:
            other: The other one.

        Returns:
            Whether their values are equal (up to the slack) and their marks do not contradict each other: 5 agrees with $5 and
            with 5%; these two do not agree.
        """
        if self.mark and other.mark and self.mark != other.mark:
            return False
        return abs(self.value - other.value) <= max(self.slack, other.slack)


def plain_numbers(text: str) -> str:
    r"""Write LaTeX's and Unicode's ways to set a number as plain ones.

    Args:
        text: Any.

    Returns:
        The text with, for example, ``1/2`` for ``\frac{1}{2}`` and for ``½``, and ``1,000`` for ``1{,}000``.
    """
    text = _VULGAR.sub(lambda match: " " + unicodedata.normalize("NFKC", match[0]).replace("⁄", "/"), text)
    text = _LATEX_WORD.sub(lambda match: _LATEX[match[0]], _LATEX_GROUP.sub("", text))
    text = _LATEX_BLANKS.sub(" ", _LATEX_TEXT.sub(r" \1", text))
    return _FRACTION.sub(_plain_fraction, text)


def is_whole(match: re.Match[str]) -> bool:
    """Tell whether a number is all of a quantity.

    Args:
        match: Of ``NUMBER``.

    Returns:
        As said; not if it is digits in groups between blanks, which may be one number or several, or if a dash stands apart
        from it, which may be its sign.
    """
    return not (match["unclear"] or _has_sign_apart(match) or is_part(match.string, match.end("prefix"), match.end()))


def read_number(match: re.Match[str]) -> Number | None:
    """Read a number.

    Args:
        match: Of ``NUMBER``.

    Returns:
        It; ``None`` if it is part of something else, is divided by zero, or is too long to be an answer.
    """
    if not is_whole(match) or len(match[0]) > MAX_CHARACTERS:
        return None
    exponent = int((match["exponent"] or match["power"] or "0").strip("{}").replace("−", "-"))
    if abs(exponent) > MAX_EXPONENT:
        return None
    value = _quotient(match) if match["denominator"] else _exact(match["decimal"]) * Fraction(10) ** exponent
    if value is None:
        return None
    factor = _scale(match["scale"]) * (-1 if re.search("[-−]", match["prefix"]) else 1)
    return Number(value * factor, _mark(match), _slack(match["decimal"] or "", exponent, value) * abs(factor))


def _has_sign_apart(match: re.Match[str]) -> bool:
    """Look for a dash before a number that may be its sign, as in "x = - 5" and "-(5)", but is none of a list: "- 5 apples"."""
    dash = _DASH_BEFORE.search(match.string, max(0, match.start() - _REACH), match.start())
    return dash is not None and not (dash["line"] is not None and dash["blank"])


def _quotient(match: re.Match[str]) -> Fraction | None:
    numerator, denominator = _exact(match["numerator"]), _exact(match["denominator"])
    if denominator == 0:
        return None
    is_mixed = match["whole"] and numerator < denominator
    return numerator / denominator + (int(match["whole"]) if is_mixed else 0)


def _scale(written: str) -> int:
    return prod(SCALES[word.removesuffix("s")] for word in re.findall("[a-z]+", written.lower()))


def _exact(written: str) -> Fraction:
    return Fraction(re.sub("[,\u00a0\u2009\u202f]", "", written))


def _slack(written: str, exponent: int, value: Fraction) -> Fraction:
    places = len(written.partition(".")[2])
    return min(Fraction(10) ** (exponent - places), value / 10**EXACT_PLACES) if places > EXACT_PLACES else Fraction(0)


def _mark(match: re.Match[str]) -> str:
    if match["percent"]:
        return "%"
    if match.string.startswith("$", match.end()):  # $5$ is LaTeX, not money
        return ""
    return match["prefix"].strip("-+− ")


def _plain_fraction(match: re.Match[str]) -> str:
    before, *parts = match.groups()
    numerator, denominator = (part for part in parts if part)
    return f"{before + ' ' if before else ''}{numerator}/{denominator}"
