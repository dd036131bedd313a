"""Options of policies: each is defined once, with its meaning, its source and what it must be."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Self

from spectra.errors import InputError, did_you_mean


@dataclass(frozen=True)
class Rule:
    """What the value of an option must be.

    Attributes:
        expected: The same in words.
        read: Returns the value in its own type; raises ``ValueError`` or ``TypeError`` for what is none.
        known: Words to suggest from.
    """

    expected: str
    read: Callable[[Any], Any]
    known: tuple[str, ...] = ()


def option(default: Any, meaning: str, source: str, rule: Rule) -> Any:
    """Make a dataclass field that carries its documentation.

    Args:
        default: What it is unless given.
        meaning: One line for help texts.
        source: Where option and default come from.
        rule: What a value must be.

    Returns:
        The field.
    """
    return field(default=default, metadata={"meaning": meaning, "source": source, "rule": rule})


@dataclass(frozen=True, kw_only=True)
class PolicyOptions:
    """Base of the options of a policy: values are checked when it is made, and saved as plain ones."""

    def __post_init__(self) -> None:
        faults = []
        for f in dataclasses.fields(self):
            rule, value = f.metadata["rule"], getattr(self, f.name)
            try:
                object.__setattr__(self, f.name, rule.read(value))
            except (ValueError, TypeError):
                faults.append(f"{f.name}: expected {rule.expected}, got {value!r}.{did_you_mean(str(value), rule.known)}")
        faults = faults or list(self.contradictions())
        if faults:
            raise InputError(" ".join(faults))

    def contradictions(self) -> Iterable[str]:
        """Yield a sentence for each pair of options that exclude each other."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values that YAML and JSON can hold; a function by its name."""
        return {f.name: _plain(getattr(self, f.name)) for f in dataclasses.fields(self)}

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Rebuild options from ``to_dict()``, or from a file.

        Args:
            content: Options by name; those that are missing have their defaults.

        Returns:
            The options.

        Raises:
            InputError: An unknown option, or a value that cannot be; all are named.
        """
        known = [f.name for f in dataclasses.fields(cls)]
        unknown = [f"unknown option {str(name)!r}.{did_you_mean(str(name), known)}" for name in content if name not in known]
        if unknown:
            raise InputError(f"{' '.join(unknown)} Known: {', '.join(known)}.")
        return cls(**content)


def one_of(choices: type[StrEnum]) -> Rule:
    """Return the rule for a member of an enumeration, or its word."""
    words = tuple(choice.value for choice in choices)
    return Rule(f"one of {', '.join(words)}", choices, words)


def number(expected: str, is_right: Callable[[float], bool]) -> Rule:
    """Return the rule for a number.

    Args:
        expected: Which numbers, in words.
        is_right: Accepts a finite number.

    Returns:
        The rule; text that looks like a number is none.
    """

    def read(value: Any) -> float:
        if not is_number(value) or not is_right(value):
            raise ValueError
        return float(value)

    return Rule(expected, read)


def is_number(value: object) -> bool:
    """Say whether a value is a finite number: neither ``True`` nor text."""
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value:
        raise ValueError
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _words(value: Any) -> tuple[str, ...]:
    return tuple(_text(word) for word in ([value] if isinstance(value, str) else value))


def _options(value: Any) -> dict[str, Any]:
    return {_text(name): setting for name, setting in dict(value).items()}


def _limits(value: Any) -> tuple[float, float] | None:
    if value is None:
        return None
    low, high = value
    if not (is_number(low) and is_number(high) and low < high):
        raise ValueError
    return float(low), float(high)


TEXT = Rule("a word", _text)
SWITCH = Rule("true or false", _switch)
WORDS = Rule("a word, or a list of words", _words)
OPTIONS = Rule("options by name", _options)
LIMITS = Rule("none, or two numbers of which the first is smaller", _limits)


def _plain(value: Any) -> Any:
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, tuple | list):
        return [_plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {name: _plain(entry) for name, entry in value.items()}
    return getattr(value, "__qualname__", type(value).__qualname__) if callable(value) else value
