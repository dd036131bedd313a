"""The JSON value of a response: order of keys, white space, and ``1`` or ``1.0`` do not matter."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from spectra.training.sdft.extractors.extractor import Extractor
from spectra.training.sdft.extractors.fenced_blocks import fenced_blocks


def json_value(text: str, row: Mapping[str, Any]) -> str | None:
    """Find the JSON value that a response consists of, or has in its only fenced block.

    Args:
        text: The response.
        row: Not looked at.

    Returns:
        The value as JSON in one spelling, so that values agree if their texts do. ``None`` if there is no value or more than
        one, if a key stands twice in an object, or if it holds what JSON or Unicode do not have, such as NaN.

    Example:
        >>> json_value('{"b": 1.0, "a": [true, null]}', {})
        '{"a":[true,null],"b":1}'
    """
    value = _one_spelling(text)
    if value is None and len(blocks := fenced_blocks(text)) == 1:
        value = _one_spelling(blocks[0].content)
    return value


def _one_spelling(text: str) -> str | None:
    try:
        value = json.loads(text, parse_float=_number, object_pairs_hook=_without_repeats)
        spelled = json.dumps(value, sort_keys=True, ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        spelled.encode()  # half a surrogate pair could be written to no file
    except (ValueError, RecursionError):  # a model that repeats itself opens more brackets than can be read
        return None
    return spelled


def _number(written: str) -> int | float:
    number = float(written)
    return int(number) if number.is_integer() else number


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    if len(dict(pairs)) < len(pairs):
        raise ValueError("a key stands twice")  # readers differ in which one counts
    return dict(pairs)


JSON = Extractor("json", 1, json_value)
