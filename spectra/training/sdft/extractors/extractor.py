"""What an extractor is: how the answer of a response is found, and when two answers agree."""

from __future__ import annotations

import operator
from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Extractor:
    """How the answer of a response is found, and when the answers of two responses agree.

    Source: Yang et al. (2024), arXiv 2402.13669, section 3: the extraction in front of the conditional selection. Equality
    beside that of Python is our choice.

    Attributes:
        name: As it is recorded with a run.
        version: Grows whenever ``extract`` or ``matches`` may answer otherwise: a run is not resumed with another one.
        extract: From a response and its row (column to value) to the answer, or ``None`` if there is none.
        matches: From the answers of the original and of the candidate, in this order, to whether they agree. Default equality.
    """

    name: str
    version: int
    extract: Callable[[str, Mapping[str, Any]], Hashable | None]
    matches: Callable[[Any, Any], bool] = operator.eq


def agree(
    extractor: Extractor, original: str, candidate: str, row: Mapping[str, Any]
) -> tuple[Hashable | None, Hashable | None, bool]:
    """Compare the answers of two responses to one prompt.

    Args:
        extractor: How.
        original: The response of the data set.
        candidate: The one that a model wrote.
        row: Their row, column to value.

    Returns:
        The answer of the original, that of the candidate, and whether they agree: never if one of them is ``None``.

    Example:
        >>> last_word = Extractor("last-word", 1, lambda text, row: text.split()[-1] if text else None)
        >>> agree(last_word, "It is red", "They are red", {})
        ('red', 'red', True)
        >>> agree(last_word, "", "", {})
        (None, None, False)
    """
    expected, found = extractor.extract(original, row), extractor.extract(candidate, row)
    return expected, found, expected is not None and found is not None and bool(extractor.matches(expected, found))
