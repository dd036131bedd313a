"""Free text: any answer agrees with any other, so that the filters alone select."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectra.training.sdft.extractors.extractor import Extractor

ANY_TEXT = "text"


def any_text(text: str, row: Mapping[str, Any]) -> str | None:
    """Say that there is an answer.

    Args:
        text: The response.
        row: Not looked at.

    Returns:
        The same for all texts; ``None`` for an empty one.
    """
    return ANY_TEXT if text.strip() else None


def reference_text(text: str, row: Mapping[str, Any]) -> str:
    """Say that there is an answer, as the reference code (sail-sg/sdft) does: even if there is none.

    Args:
        text: The response.
        row: Not looked at.

    Returns:
        The same for all texts.
    """
    return ANY_TEXT


TEXT = Extractor("text", 1, any_text)
REFERENCE_TEXT = Extractor("reference-text", 1, reference_text)
