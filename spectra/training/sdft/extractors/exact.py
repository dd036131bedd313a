"""The whole text, up to white space around it: for answers that have one spelling, such as labels."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectra.training.sdft.extractors.extractor import Extractor


def exact_text(text: str, row: Mapping[str, Any]) -> str | None:
    """Return a response without the white space around it.

    Args:
        text: The response.
        row: Not looked at.

    Returns:
        The text; ``None`` if there is none.
    """
    return text.strip() or None


EXACT = Extractor("exact", 1, exact_text)
