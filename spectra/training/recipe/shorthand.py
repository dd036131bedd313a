"""Short forms of a recipe, spelled out: ``method: dcs`` is ``method: {name: dcs}``, ``tempbalance`` is of ``diagnostics``."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from spectra.training.recipe.options import Fault, Key

# What a word in place of options says.
_WORD_IS: Mapping[Key, str] = {
    ("model",): "name",
    ("method",): "name",
    ("adapter",): "name",
    ("diagnostics", "tempbalance"): "policy",
    ("diagnostics", "alphadecay"): "policy",
    ("diagnostics", "guided_dropout"): "plan",
}
_DIAGNOSTICS = "diagnostics"
_SWITCHED = ("tempbalance", "alphadecay", "guided_dropout")  # true: with its defaults; false and none: without

# Where options may stand, too.
_MOVED: Mapping[Key, Key] = {
    **{(name,): (_DIAGNOSTICS, name) for name in _SWITCHED},
    ("training", "seed"): ("seed",),
}


def full_key(key: Key) -> Key:
    """Return where an option stands in a recipe that is spelled out.

    Args:
        key: Where it was given.

    Returns:
        Its place.
    """
    moved = next((size for size in range(1, len(key) + 1) if key[:size] in _MOVED), None)
    return key if moved is None else (*_MOVED[key[:moved]], *key[moved:])


def spelled_out(content: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Spell out a recipe.

    Args:
        content: As it was written.

    Returns:
        The same without short forms; parts that are empty are left out. And options that are given in both places.
    """
    full = {name: dict(value) if isinstance(value, Mapping) else value for name, value in content.items() if value is not None}
    faults = [fault for short, key in _MOVED.items() for fault in _move(full, short, key)]
    for key, option in _WORD_IS.items():
        group = _group(full, key)
        if group is not None and key[-1] in group:
            group[key[-1]] = _options(group[key[-1]], option, key[-1] in _SWITCHED)
    return full, faults


def _move(full: dict[str, Any], short: Key, key: Key) -> list[Fault]:
    start = _group(full, short)
    if start is None or short[-1] not in start:
        return []
    if len(key) > 1:
        full.setdefault(key[0], {})
    value, end = start.pop(short[-1]), _group(full, key)
    if end is None:
        return []  # what stands there instead of options is said to be none
    if key[-1] in end:
        return [Fault(key, f"given twice, here and as {'.'.join(short)}. Leave one out.")]
    end[key[-1]] = value
    return []


def _group(full: dict[str, Any], key: Key) -> dict[str, Any] | None:
    """Return the options among which one stands, if they are any."""
    group = full if len(key) == 1 else full.get(key[0])
    return group if isinstance(group, dict) else None


def _options(value: Any, option: str, is_switched: bool) -> Any:
    if is_switched and isinstance(value, bool | str) and value in (True, False, "none"):
        return {} if value is True else None
    return {option: value} if isinstance(value, str) else value
