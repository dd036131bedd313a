"""What an option of a recipe must be, and parts that are checked when they are made: all faults at once, each by its place.

The metadata of a field are those of :mod:`spectra.policies.policy_options`: ``meaning``, ``source``, ``rule``. That module
lies in a package that imports NumPy, and a recipe is read without it.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple, Self, TypeVar

from spectra.errors import InputError, did_you_mean

Key = tuple[str, ...]  # ("training", "learning_rate"): where something stands in a recipe

_Part = TypeVar("_Part", bound="Part")


class Fault(NamedTuple):
    """What is wrong with an option.

    Attributes:
        key: Where it stands.
        sentence: What is wrong, and what to do.
        is_unknown: There is no option of this name here.
    """

    key: Key
    sentence: str
    is_unknown: bool = False

    def below(self, *above: str) -> Fault:
        """Return the same fault, seen from further up."""
        return self._replace(key=(*above, *self.key))


class PartError(InputError):
    """Options that cannot be.

    Args:
        faults: All of them.
    """

    def __init__(self, faults: Sequence[Fault]) -> None:
        super().__init__(" ".join(f"{'.'.join(fault.key)}: {fault.sentence}" for fault in faults))
        self.faults = tuple(faults)


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


def option(meaning: str, source: str, rule: Rule, default: Any = dataclasses.MISSING) -> Any:
    """Make a dataclass field that carries its documentation.

    Args:
        meaning: One line for help texts.
        source: Where the default comes from; empty without one.
        rule: What a value must be.
        default: What it is unless given. Without one the option has to be given.

    Returns:
        The field.
    """
    return field(default=default, metadata={"meaning": meaning, "source": source, "rule": rule})


@dataclass(frozen=True, kw_only=True)
class Part:
    """Base of the parts of a recipe: values are checked when it is made."""

    def __post_init__(self) -> None:
        values, faults = checked(type(self), vars(self))
        for name, value in values.items():
            object.__setattr__(self, name, value)
        faults = faults or [Fault(tuple(name.split(".")), sentence) for name, sentence in self.contradictions()]
        if faults:
            raise PartError(faults)

    def contradictions(self) -> Iterable[tuple[str, str]]:
        """Yield options that others exclude, each with a sentence; an option of an option by both names, with a dot."""
        return ()

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values, as they stand in YAML."""
        return {f.name: plain(getattr(self, f.name)) for f in options_of(type(self))}

    def sources(self) -> dict[Key, str]:
        """Return where values come from, of options that have their default."""
        return sources_of(type(self), vars(self))

    @classmethod
    def of(cls, content: Mapping[str, Any]) -> Self:
        """Make a part of options by name.

        Args:
            content: The options; those that are missing have their defaults.

        Returns:
            The part.

        Raises:
            PartError: Unknown or missing options, values that cannot be, or that exclude each other.
        """
        values, faults = checked(cls, content)
        known = [f.name for f in options_of(cls)]
        faults += [unknown(str(name), known) for name in content if name not in known]
        if all(f.name in values for f in options_of(cls) if _is_required(f)):
            try:
                part = cls(**values)
            except PartError as error:  # one option excludes another
                faults += error.faults
        if faults:
            raise PartError(faults)
        return part


def options_of(kind: type[Part]) -> list[dataclasses.Field[Any]]:
    """Return the fields of a part that are options."""
    return [f for f in dataclasses.fields(kind) if "rule" in f.metadata]


def checked(kind: type[Part], content: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Read the options of a part, each for itself.

    Args:
        kind: The part.
        content: Options by name; others are not looked at.

    Returns:
        Values by name, and what is wrong with the others.
    """
    values: dict[str, Any] = {}
    faults: list[Fault] = []
    for f in options_of(kind):
        if f.name in content:
            try:
                values[f.name] = f.metadata["rule"].read(content[f.name])
            except PartError as error:
                faults += [fault.below(f.name) for fault in error.faults]
            except (ValueError, TypeError):
                faults.append(Fault((f.name,), unexpected(f.metadata["rule"], content[f.name])))
        elif _is_required(f):
            faults.append(Fault((f.name,), f"missing: {f.metadata['meaning']}."))
    return values, faults


def unexpected(rule: Rule, value: object) -> str:
    """Return the sentence on a value that a rule refuses."""
    return f"expected {rule.expected}, got {value!r}.{did_you_mean(str(value), rule.known)}"


def unknown(name: str, known: Sequence[str]) -> Fault:
    """Return the fault that there is no such option.

    Args:
        name: What was written.
        known: The options there are.

    Returns:
        The fault, with a suggestion.
    """
    return Fault((name,), f"unknown option.{did_you_mean(name, known)} Known: {', '.join(known)}.", is_unknown=True)


def sources_of(kind: type, values: Mapping[str, Any]) -> dict[Key, str]:
    """Return where values come from, of options that have their default.

    Args:
        kind: Any dataclass whose fields may say a ``source``.
        values: Of its options, by name.

    Returns:
        Sources by place; parts inside are entered.
    """
    found: dict[Key, str] = {}
    for f in dataclasses.fields(kind):
        value = values.get(f.name)
        if isinstance(value, Part):
            found |= {(f.name, *key): source for key, source in value.sources().items()}
        elif f.metadata.get("source") and f.name in values and plain(value) == plain(f.default):
            found[(f.name,)] = f.metadata["source"]
    return found


def plain(value: Any) -> Any:
    """Return a value as YAML has it: lists for tuples, words for members of enumerations, options for parts."""
    if isinstance(value, Part):
        return value.to_dict()
    if isinstance(value, tuple | list):
        return [plain(entry) for entry in value]
    if isinstance(value, Mapping):
        return {str(name): plain(entry) for name, entry in value.items()}
    return str(value) if isinstance(value, str) else value


def number(expected: str, is_right: Callable[[float], bool]) -> Rule:
    """Return the rule for a finite number that a function accepts, in words ``expected``; text is none."""

    def read(value: Any) -> float:
        if not _is_number(value) or not is_right(value):
            raise ValueError
        return float(value)

    return Rule(expected, read)


def count(least: int, most: float = math.inf) -> Rule:
    """Return the rule for a whole number from ``least`` to ``most``."""

    def read(value: Any) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= most:
            raise ValueError
        return value

    return Rule(f"a whole number of at least {least}" if most == math.inf else f"a whole number from {least} to {most}", read)


def one_of(words: Sequence[str]) -> Rule:
    """Return the rule for one of some words."""

    def read(value: Any) -> str:
        if not isinstance(value, str) or value not in words:
            raise ValueError
        return str(value)

    return Rule(f"one of {', '.join(words)}", read, tuple(words))


def or_none(rule: Rule) -> Rule:
    """Return the rule for what another accepts, or none."""
    return Rule(f"{rule.expected}, or null", lambda value: None if value is None else rule.read(value), rule.known)


def part(kind: type[_Part]) -> Rule:
    """Return the rule for a part, or its options by name."""

    def read(value: Any) -> _Part:
        if isinstance(value, kind):
            return value
        if not isinstance(value, Mapping):
            raise TypeError
        return kind.of(value)

    return Rule("options by name", read)


def _is_required(f: dataclasses.Field[Any]) -> bool:
    return f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _text(value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ValueError
    return value


def _switch(value: Any) -> bool:
    if not isinstance(value, bool):
        raise TypeError
    return value


def _words(value: Any) -> tuple[str, ...]:
    if not isinstance(value, str | tuple | list):
        raise TypeError
    return tuple(_text(word) for word in ([value] if isinstance(value, str) else value))


def _options(value: Any) -> dict[str, Any]:
    if not isinstance(value, Mapping):
        raise TypeError
    return {_text(name): setting for name, setting in value.items()}


TEXT = Rule("a word", _text)
SWITCH = Rule("true or false", _switch)
WORDS = Rule("a word, or a list of words", _words)
OPTIONS = Rule("options by name", _options)
POSITIVE = number("a number above 0", lambda value: value > 0.0)
AT_LEAST_0 = number("a number of at least 0", lambda value: value >= 0.0)
SHARE = number("a share in [0, 1)", lambda value: 0.0 <= value < 1.0)
TEXT_OR_NONE = or_none(TEXT)
COUNT_OR_NONE = or_none(count(1))
SEED = count(0, 2**32 - 1)  # NumPy's limit
