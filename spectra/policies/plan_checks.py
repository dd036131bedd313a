"""What a plan must hold: a slip of the pen in a file edited by hand must not pass for a default."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, TypeGuard

from spectra.errors import did_you_mean
from spectra.policies.plan_file import Key
from spectra.results.words import counted

#: What each policy makes.
TARGETS = {
    "tempbalance": "learning_rate",
    "alphadecay": "weight_decay",
    "alphapruning": "sparsity",
    "adapter-rank": "adapter_rank",
}

_Lines = Mapping[Key, int]
# What a value must be, and how to say it.
_Check = tuple[Callable[[Any], bool], str]
_TEXT: _Check = (lambda value: isinstance(value, str), "text")
_TEXTS: _Check = (lambda value: isinstance(value, list) and all(isinstance(item, str) for item in value), "a list of texts")
_FINITE: _Check = (lambda value: _is_finite(value), "a finite number")
_VALUES: dict[str, _Check] = {
    "learning_rate": (lambda value: _is_finite(value) and value > 0.0, "a finite number above 0"),
    "weight_decay": (lambda value: _is_finite(value) and value >= 0.0, "a finite number of at least 0"),
    "sparsity": (lambda value: _is_finite(value) and 0.0 <= value < 1.0, "a number in [0, 1)"),
    "adapter_rank": (lambda value: _is_finite(value) and value == int(value) >= 0, "a whole number of at least 0"),
}
_SINGLE: dict[str, _Check] = {
    "policy": (lambda value: isinstance(value, str) and value in TARGETS, f"one of {', '.join(TARGETS)}"),
    "target": (lambda value: isinstance(value, str) and value in _VALUES, f"one of {', '.join(_VALUES)}"),
    "model": _TEXT,
    "fingerprint": _TEXT,
    "version": _TEXT,
    "notes": _TEXTS,
    "settings": (lambda value: isinstance(value, dict), "settings by name"),
}
_WORDS: dict[str, Iterable[str]] = {"policy": TARGETS, "target": _VALUES}
_BY_UNIT: dict[str, _Check] = {
    "values": _FINITE,  # more than that by target
    "scores": _FINITE,
    "members": (lambda value: bool(value) and _TEXTS[0](value), "the names of its layers"),
    "left_out": _TEXT,
}


def plan_faults(content: Mapping[str, Any], lines: Mapping[Key, int] | None = None) -> list[str]:
    """Find what is wrong with the content of a plan.

    Args:
        content: Plain values, as ``plan.to_dict()`` and as read from a file.
        lines: Where its keys stand in the file.

    Returns:
        A clause for each fault, with its line where that is known; empty for a plan.
    """
    return list(_faults(content, lines or {}))


def _faults(content: Mapping[str, Any], lines: _Lines) -> Iterator[str]:
    known = {**_SINGLE, **_BY_UNIT}
    for key in content:
        if key not in known and key != "schema_version":
            yield f"unknown key '{key}'{place(lines, key)}{suggestion(key, known)}"
    yield from (f"'{key}' is missing" for key in known if key not in content)
    for key, (is_right, expected) in _SINGLE.items():
        if key in content and not is_right(content[key]):
            near = suggestion(str(content[key]), _WORDS.get(key, ()))
            yield f"'{key}'{place(lines, key)}: expected {expected}, got {content[key]!r}{near}"
    target, wanted = str(content.get("target")), TARGETS.get(str(content.get("policy")))
    if wanted and target in _VALUES and target != wanted:
        yield f"'target'{place(lines, 'target')}: the policy '{content['policy']}' makes '{wanted}', got '{target}'"
    for key, check in _BY_UNIT.items():
        if key in content:
            yield from _unit_faults(key, content[key], _VALUES.get(target, check) if key == "values" else check, lines)
    yield from _membership_faults(content, lines)


def _unit_faults(key: str, values: Any, check: _Check, lines: _Lines) -> Iterator[str]:
    """Check each value of a mapping by unit, or by layer."""
    is_right, expected = check
    if not isinstance(values, dict):
        yield f"'{key}'{place(lines, key)}: expected {expected} by name, got {values!r}"
        return
    for name, value in values.items():
        if not is_right(value):
            yield f"'{key}' of '{name}'{place(lines, key, name)}: expected {expected}, got {value!r}"


def _membership_faults(content: Mapping[str, Any], lines: _Lines) -> Iterator[str]:
    """Compare the units of values, scores and members, and find layers that are in two of them."""
    values, scores, members = (_mapping(content.get(key)) for key in ("values", "scores", "members"))
    if values == {}:
        yield "'values' holds no unit"
        return  # all that is kept by unit would be called too much
    if members is None:
        return
    for key, units in (("values", values), ("scores", scores)):
        for unit in units or ():
            if unit not in members:
                near = suggestion(unit, members)
                yield f"'{key}' has the unit '{unit}'{place(lines, key, unit)}, which 'members' has not{near}"
    without = [unit for unit in members if values is not None and unit not in values]
    if without:
        yield f"'values' lacks {counted(len(without), 'unit')} that 'members' has, such as '{without[0]}'"
    first: dict[str, str] = {}
    for unit, layers in members.items():
        for layer in layers if _TEXTS[0](layers) else ():
            if layer in first:
                yield f"'members' has the layer '{layer}' in '{first[layer]}' and in '{unit}'{place(lines, 'members', unit)}"
            first.setdefault(layer, unit)


def _mapping(value: object) -> dict[Any, Any] | None:
    return value if isinstance(value, dict) else None


def _is_finite(value: object) -> TypeGuard[int | float]:
    if not isinstance(value, int | float) or isinstance(value, bool):  # YAML's yes is no 1
        return False
    return abs(value) <= sys.float_info.max  # a whole number may be larger


def place(lines: Mapping[Key, int], *key: str) -> str:
    """Say in which line something stands.

    Args:
        lines: Line by key; empty for JSON.
        *key: What it is about.

    Returns:
        Words in brackets, with a blank before them, or nothing.
    """
    line = lines.get(key)
    return "" if line is None else f" (line {line})"


def suggestion(word: str, known: Iterable[str]) -> str:
    """Say which word may have been meant.

    Args:
        word: As it was written.
        known: Words to choose from.

    Returns:
        Words in brackets, with a blank before them, or nothing.
    """
    return f" ({found.strip()})" if (found := did_you_mean(word, known)) else ""
