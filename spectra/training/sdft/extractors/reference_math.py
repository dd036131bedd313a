"""The answer of a worked problem by the rule of the reference code, for runs that are compared with it.

The last number, compared as an integer, with these quirks of the reference code (sail-sg/sdft):

1. Commas and white space join digits, however many: ``3 4`` is 34 and ``2,3`` is 23, while ``2, 3`` ends with 3.
2. Digits on consecutive lines are joined too, and what comes out is then no number.
3. A number with a fraction other than zero is none.
4. Percent signs, units, fractions and powers are not looked at: ``1/2`` ends with 2.

One is left out: there, two responses agree if no integer is found in either, such as two without a number, or one that ends
with 2.5 and one with 3.7. Here they never agree, so that such rows keep their response.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spectra.training.sdft.extractors.extractor import Extractor

_JOINED = re.compile(r"(?P<whole>-?\d+(?:(?:,|\s)\d+)*)(?:\.(?P<places>\d+))?")


def reference_math_answer(text: str, row: Mapping[str, Any]) -> int | None:
    r"""Find the integer that a response ends with.

    Args:
        text: The response.
        row: Not looked at.

    Returns:
        The integer; ``None`` if the last number is none.

    Example:
        >>> [reference_math_answer(text, {}) for text in ("He gives 3 4 times.", "3\n4", "2.50", "2.00")]
        [34, None, None, 2]
    """
    numbers = [*_JOINED.finditer(text)]
    if not numbers or (numbers[-1]["places"] or "").strip("0"):
        return None
    try:
        return int(numbers[-1]["whole"].replace(",", "").replace(" ", ""))
    except ValueError:  # a line break inside, or thousands of digits
        return None


REFERENCE_MATH = Extractor("reference-math", 1, reference_math_answer)
