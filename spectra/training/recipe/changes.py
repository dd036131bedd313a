"""Changes to a recipe from a command line: ``training.learning_rate=1e-4``."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spectra.errors import InputError
from spectra.training.recipe.options import Fault, Key
from spectra.training.recipe.shorthand import full_key, spelled_out
from spectra.training.recipe.yaml_lines import Document, load_yaml

_PLACE = "--set"
# With one of them the other is no more.
_EPOCHS, _STEPS = ("training", "num_train_epochs"), ("training", "max_steps")
_INSTEAD: Mapping[Key, Key] = {_EPOCHS: _STEPS, _STEPS: _EPOCHS}
# With another name these have other options.
_NAMED = (("method", "name"), ("adapter", "name"))


def changed(document: Document, changes: Sequence[str]) -> Document:
    """Make changes to a recipe.

    Steps take the place of epochs, and epochs that of steps. Where the method or the adapter gets another name, options that
    the file has for the first one go, and those of other changes stay: ``method.name=plain`` makes ``plain`` of
    ``{name: dcs, lam: 0.3}``.

    Args:
        document: The recipe; short forms are spelled out on the way.
        changes: ``name=value`` each, the name with its parts, the value in YAML. Later ones win.

    Returns:
        The recipe with them; a change says ``--set`` where others say their line.
    """
    content, faults = spelled_out(document.content)
    lines = {full_key(key): line for key, line in document.lines.items()}
    faults += document.faults
    for change in changes:
        try:
            key, value = _parsed(change)
            _drop_what_goes_with(content, lines, key, value)
            _put(content, key, value)
        except InputError as error:
            faults.append(Fault((), str(error)))
            continue
        lines = {other: line for other, line in lines.items() if other[: len(key)] != key} | {key: _PLACE}
        content, _ = spelled_out(content)
    return Document(content, lines, faults)


def _parsed(change: str) -> tuple[Key, Any]:
    name, equals, text = change.partition("=")
    key = tuple(name.strip().split("."))
    if not equals or not all(key):
        raise InputError(f"{_PLACE} {change!r}: expected name=value, such as training.learning_rate=1e-4.")
    document = load_yaml(text, f"{_PLACE} {change!r}")
    if document.faults:
        raise InputError(f"{_PLACE} {change!r}: {document.faults[0].sentence}")
    return full_key(key), document.content


def _drop_what_goes_with(content: dict[str, Any], lines: Mapping[Key, str], key: Key, value: Any) -> None:
    """Remove what a change makes void."""
    group = content.get(key[0])
    if not isinstance(group, dict):
        return
    if key in _INSTEAD and value is not None:
        group.pop(_INSTEAD[key][-1], None)
    if key in _NAMED and value != group.get("name"):
        content[key[0]] = {name: inner for name, inner in group.items() if lines.get((key[0], name)) == _PLACE}


def _put(content: dict[str, Any], key: Key, value: Any) -> None:
    for size, name in enumerate(key[:-1], start=1):
        inner = content.get(name)
        if inner is not None and not isinstance(inner, dict):
            raise InputError(f"{_PLACE} {'.'.join(key)}: {'.'.join(key[:size])} is {inner!r} and has no options of its own.")
        # A copy: parts of a recipe that share an anchor are apart from here on.
        content[name] = dict(inner or {})
        content = content[name]
    content[key[-1]] = value
