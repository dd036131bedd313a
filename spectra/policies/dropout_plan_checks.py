"""What the file of a dropout plan must hold: a typo in a file edited by hand must not pass for a default."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping
from typing import Any, TypeGuard

from spectra.policies.drop_controls import CONTROLS
from spectra.policies.drop_prob import DropRule, is_rate
from spectra.policies.plan_checks import place, suggestion
from spectra.policies.plan_file import Key
from spectra.results.fisher import Aggregate
from spectra.results.words import counted

_Lines = Mapping[Key, int]
# What a value in the file must be, and how to say it.
_Check = tuple[Callable[[object], bool], str]
_RATE: _Check = (is_rate, "a number in [0, 1)")
_TEXT: _Check = (lambda value: isinstance(value, str), "text")
_BY_SITE: dict[str, _Check] = {
    "rates": _RATE,
    "scores": (lambda value: _is_number(value) and 0.0 <= value < math.inf, "a finite number of at least 0"),
    "roles": _TEXT,
    "kinds": _TEXT,
}
_SINGLE: dict[str, _Check] = {
    "rule": (lambda value: value in list(DropRule), f"one of {', '.join(DropRule)}"),
    "p_upper": _RATE,
    "p_lower": _RATE,
    "mean_p": (lambda value: value is None or is_rate(value), f"{_RATE[1]}, or null"),
    "p_cap": _RATE,
    "control": (lambda value: value in CONTROLS, f"one of {', '.join(CONTROLS)}"),
    "seed": (lambda value: _is_number(value) and isinstance(value, int) and value >= 0, "a whole number of at least 0"),
    "aggregate": (lambda value: value in list(Aggregate), f"one of {', '.join(Aggregate)}"),
    "model": _TEXT,
    "fisher": _TEXT,
    "version": _TEXT,
}


def plan_faults(content: Mapping[str, Any], lines: Mapping[Key, int] | None = None) -> list[str]:
    """Find what is wrong with the content of a plan's file.

    Args:
        content: As JSON gives it, without the schema version.
        lines: Where its keys stand in the file.

    Returns:
        A clause for each fault, with its line where that is known; empty for the content of a plan.
    """
    return list(_faults(content, lines or {}))


def _faults(content: Mapping[str, Any], lines: _Lines) -> Iterator[str]:
    if content.get("rates") == {}:
        yield "'rates' holds no site"
        return  # all that is kept by site would be called too much
    known = {**_BY_SITE, **_SINGLE}
    yield from (f"unknown key '{key}'{place(lines, key)}{suggestion(key, known)}" for key in content if key not in known)
    yield from (f"'{key}' is missing" for key in known if key not in content)
    for key, (is_right, expected) in _SINGLE.items():
        if key in content and not is_right(content[key]):
            yield f"'{key}'{place(lines, key)}: expected {expected}, got {content[key]!r}"
    for key, (is_right, expected) in _BY_SITE.items():
        values, rates = content.get(key), content.get("rates")
        if isinstance(values, dict):
            yield from (
                f"'{key}' of '{name}'{place(lines, key, name)}: expected {expected}, got {value!r}"
                for name, value in values.items()
                if not is_right(value)
            )
            yield from _site_faults(key, values, rates if isinstance(rates, dict) else values, lines)
        elif key in content:
            yield f"'{key}'{place(lines, key)}: expected {expected} by name of the site, got {values!r}"


def _site_faults(key: str, values: Mapping[str, Any], rates: Mapping[str, Any], lines: _Lines) -> Iterator[str]:
    if key == "scores" and not values:  # a published plan has none
        return
    for name in values:
        if name not in rates:
            yield f"'{key}' has the site '{name}'{place(lines, key, name)}, which 'rates' has not{suggestion(name, rates)}"
    without = [name for name in rates if name not in values]
    if without:
        yield f"'{key}' lacks {counted(len(without), 'site')} that 'rates' has, such as '{without[0]}'"


def _is_number(value: object) -> TypeGuard[int | float]:
    return isinstance(value, int | float) and not isinstance(value, bool)  # JSON's true is no 1
