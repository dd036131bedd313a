r"""Whether a written number is all of a quantity, or a part of one.

======================================= ==================================================
a part                                  all of it
======================================= ==================================================
``5 feet 3 inches``, ``5'3"``, ``2h30`` ``5 feet``, ``5kg``, ``18th``, ``18 m^2``
``2 or 3``, ``5 apples and 3 pears``    ``5 apples and she is happy``, ``18 for 3 bags``
``2x``, ``2 n``, ``2 + x``, ``2\pi``    ``5 g``, ``5 a day``, ``90^\circ``
``3:30``, ``10-15``, ``2^3``, ``4 * 5`` ``COVID-19``
``5k``, ``5 M``, ``2 thirds``, ``3 pm`` ``5 thousand``: read as 5000
``negative 5``, ``±5``, ``half of 8``   ``-5``
======================================= ==================================================

In doubt it is a part (our choice): to read less than what is written would let wrong answers agree.
"""

from __future__ import annotations

import re

CURRENCY = "$£¥₠-⃀"
SCALES = {
    "dozen": 12,
    "hundred": 10**2,
    "thousand": 10**3,
    "lakh": 10**5,
    "million": 10**6,
    "crore": 10**7,
    "billion": 10**9,
    "trillion": 10**12,
}
SCALE = rf"(?i:(?:{'|'.join(SCALES)})s?(?![\w-]))"  # not in "3 hundred-dollar bills"

_REACH = 200  # characters in which another number is looked for
_CLOSING = r"(?:[*_`$}\])]|\\[)\]])*+"  # what Markdown and LaTeX set a number off with
_OPENING = rf"(?:[*_`]|\\[(\[]|\\boxed[ ]?\{{)*+(?:[{CURRENCY}][ ]?)?[-−]?\.?"
_ABBREVIATION = (
    r"(?i:[cdkm]m|in|ft|yds?|mi|secs?|mins?|hrs?|wks?|mos?|yrs?|kgs?|mg|lbs?|oz|[cdm]l|gal|qts?|pts?|tbsps?|tsps?|deg"
    r"|mph|[kmgt]b|[kmg]?hz|kwh?)"
)
_UNIT = (
    r"(?i:inch(?:es)?|foot|feet|pence|(?:yard|mile|second|minute|hour|day|week|month|year|pound|ounce|ton|gallon|quart|pint"
    r"|cup|dollar|cent|euro|rupee|degree|(?:table|tea)spoon|(?:kilo|centi|milli)?(?:met(?:er|re)|gram|lit(?:er|re)))s?)"
)
_OPERATOR = r"[ ]?[-−–+*×·÷x/^<>][ ]?"
_WORD = r"[A-Za-z][A-Za-z'’-]*+"
_RELATION = r"(?:for|in|of|after|before|with|from|because|since|as|when|if|at|on|using|until|not)"
_ORDINAL = r"(?:third|(?:four|fif|six|seven|eigh|nin|ten|hundred|thousand|million)th)s?"
_SPELLED = (
    r"(?:one|two|three|four|five|six|seven|eight|nine|ten|eleven|twelve|(?:thir|four|fif|six|seven|eigh|nine)teen"
    rf"|(?:twen|thir|for|fif|six|seven|eigh|nine)ty|(?:an?[ ])?(?:half|quarter)|an?[ ]{_ORDINAL})"
)

# What stands between two numbers that are one quantity or a choice, such as 3:30, 10-15, 5 feet 3 inches, 2 or 3.
_JOINT = re.compile(
    rf"""
    (?: [)%}}]*(?: [.:(] | {_OPERATOR}\(? )
      | {_CLOSING}(?: ['′’"″°]+ | [ -]?(?: (?!in[ ]){_ABBREVIATION}\.? | (?:{_UNIT}|{SCALE}|[dghlmsL])(?![A-Za-z]) ){_CLOSING} )
        (?: ,?[ ]?and[ ] | ,?[ ]? )
      | {_CLOSING}(?:[ ]{_WORD}){{0,2}},?[ ](?:and|or|to)[ ]\(?
      | \}}[$]?,?[ ]?(?=[$]?\\boxed)
    ){_OPENING}
    """,
    re.VERBOSE,
)
# What stands between two numbers of a list, such as "2, 3" and "5 apples, 3 pears", but neither "18 for the 3 bags" nor
# "**18**, 1 less".
_LIST = re.compile(
    rf"""
    (?!.*[ ]{_RELATION}(?:[ ](?!(?:and|or)\b){_WORD}){{0,3}}[ ]{_OPENING}\Z)
    (?: [$)\]}}\\]*[ ]?[;,][ ]?\(?
      | \*+,[ ]\*+
      | {_CLOSING}(?:[ -]{_WORD})*{_CLOSING}(?:(?<=\w)[;,])?[ ]
    ){_OPENING}
    """,
    re.VERBOSE,
)
_BEFORE = re.compile(
    rf"""
    (?: √[ ]? | \\sqrt[ ]?\{{? | \^\{{? | \}}\{{ | ±[ ]? | \\pm[ ]?
      | (?: [)%}}] | (?<![A-Za-z])[b-zB-HJ-Z] ){_OPERATOR} | [)}}][.:(]  # x - 3, but not COVID-19
      | [A-Za-z](?: [ ]?[+×÷^][ ]? | [ ]\*[ ] )  # apples * 3, but not is *3*
      | \b(?i:minus|negative|plus|times|twice|double|triple|divided[ ]by|multiplied[ ]by)[ ]
      | (?: \b(?i:{_SPELLED}) | [0-9]{_CLOSING}%? )[ ]of[ ]
    ){_OPENING}\Z
    """,
    re.VERBOSE,
)
_AFTER = re.compile(
    rf"""
    \( | [ ]?(?: [²³¹⁰-⁹π√±≤≥] | \^(?!\{{?\\circ) | _\{{?[0-9] | \\(?!circ|degree|boxed|approx|end)[A-Za-z] )
    | (?!\^){_OPERATOR}(?: [(\\] | [b-zB-HJ-Z](?![\w'’>]) )  # 2 + x
    | (?!(?:st|nd|rd|th|[gL]|{_ABBREVIATION}|{_UNIT})(?![A-Za-z]))[A-Za-zͰ-Ͽ]  # 2x, 5k
    | {_CLOSING}[ ](?:times[ ])?(?![aAIghlsmLCF]\b)[A-Za-zͰ-Ͽ](?!\w|['’&]|\.\w)  # 2 x, 5 M, but not 5 a day, 5 U.S. cents
    | {_CLOSING}[ ](?: (?i:squared|cubed|factorial|plus|minus|mil|mln|bn|[ap]\.?m)\b | out[ ]of[ ][0-9] | {SCALE} )
    | {_CLOSING}[ -](?i:half|halves|{_ORDINAL})(?![\w-])
    | {_CLOSING}(?:[ -]{_WORD})*?,?[ ](?:and|or|to)[ ](?i:{_SPELLED})\b  # 5 hours and a half
    | [ ]in[ ][0-9]++(?![ ]?[a-z])  # 1 in 5, but not 18 in 3 steps
    """,
    re.VERBOSE,
)
_GAP_BEFORE = re.compile(r"[0-9]([^0-9\n]*)\Z")
_GAP_AFTER = re.compile(r"([^0-9\n]*)[0-9]")


def is_part(text: str, start: int, end: int) -> bool:
    """Tell whether a number is but a part of something: of a sum, a time, a range, a power, or of a list that goes on.

    Args:
        text: In which it stands.
        start: Where its digits begin, behind signs.
        end: Behind it, with the percent sign or the word for its scale.

    Returns:
        As said. The number behind which a list ends is no part of it, unless a word joins it to the one before.
    """
    before = text[max(0, start - _REACH) : start]
    gap_before, gap_after = _GAP_BEFORE.search(before), _GAP_AFTER.match(text, end, end + _REACH)
    return bool(
        (gap_before and _JOINT.fullmatch(gap_before[1]))
        or (gap_after and (_JOINT.fullmatch(gap_after[1]) or _LIST.fullmatch(gap_after[1])))
        or _BEFORE.search(before)
        or _AFTER.match(text, end)
    )
