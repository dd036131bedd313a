"""Reading recipes: strict, and all faults at once, each with its place and line.

Paths are relative to the working directory, as on a command line, and as in transformers' scripts, axolotl, LLaMA-Factory and
torchtune: a recipe that was copied to its run folder still says the same. ``${RECIPE_DIR}`` is the folder of the recipe.
"""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import InputError
from spectra.training.recipe.changes import changed
from spectra.training.recipe.options import Fault, Key, PartError
from spectra.training.recipe.other_words import belongs
from spectra.training.recipe.parts import PARTS, Recipe, where
from spectra.training.recipe.shorthand import spelled_out
from spectra.training.recipe.variables import RECIPE_DIR, expanded
from spectra.training.recipe.yaml_lines import Document, load_yaml

_BEGIN = "Begin with 'model: demo', 'data: ...' and 'output: ...'"


@dataclass(frozen=True)
class Draft:
    """A recipe that may have faults.

    Attributes:
        recipe: The recipe, with defaults in place of options that are faulty, so that the others can be checked further;
            ``None`` where it cannot be told what it is about.
        faults: A sentence for each, with its place.
    """

    recipe: Recipe | None
    faults: tuple[str, ...]


def read_recipe(path: str | os.PathLike[str], changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe's file.

    Args:
        path: YAML.
        changes: ``name=value`` each, such as ``"training.learning_rate=1e-4"``; values are YAML.

    Returns:
        The recipe.

    Raises:
        InputError: No such file, no YAML, or options that are unknown, missing or cannot be: all are named.
    """
    return _finished(draft_recipe(path, changes), f"'{os.fspath(path)}'")


def parse_recipe(text: str, changes: Sequence[str] = ()) -> Recipe:
    """Read a recipe from its text.

    Args:
        text: YAML.
        changes: As of :func:`read_recipe`.

    Returns:
        The recipe.

    Raises:
        InputError: As :func:`read_recipe`.

    Example:
        >>> recipe = parse_recipe("{model: demo, data: {train: texts.txt}, output: runs/a}", ["method=dcs"])
        >>> recipe.method.name, recipe.training.num_train_epochs
        ('dcs', 3.0)
    """
    return _finished(_draft(load_yaml(text, "the recipe"), changes, os.environ, "the recipe"), "the recipe")


def recipe_of(content: Mapping[str, Any]) -> Recipe:
    """Make a recipe of options by name, as they stand in YAML; short forms are understood, variables are not replaced.

    Args:
        content: The options.

    Returns:
        The recipe.

    Raises:
        InputError: As :func:`read_recipe`.
    """
    full, twice = spelled_out(content)
    return _finished(_made(Document(full, {}, twice)), "the recipe")


def draft_recipe(path: str | os.PathLike[str], changes: Sequence[str] = ()) -> Draft:
    """Read a recipe's file as far as it goes, for those who check further before they complain.

    Args:
        path: YAML.
        changes: As of :func:`read_recipe`.

    Returns:
        What could be read, and what is wrong with the rest.

    Raises:
        InputError: No such file, or no YAML.
    """
    file = Path(path)
    what = f"'{os.fspath(path)}'"
    try:
        text = file.read_text(encoding="utf-8-sig")
    except FileNotFoundError as error:
        raise InputError(f"no recipe {what}. Check the path.") from error
    except UnicodeDecodeError as error:
        raise InputError(f"{what} is not in UTF-8 (byte {error.start}). Convert it, for example with iconv.") from error
    except (OSError, ValueError) as error:  # ValueError: a name that no file can have
        raise InputError(f"cannot read {what}: {getattr(error, 'strerror', None) or error}. Check the path.") from error
    return _draft(load_yaml(text, what), changes, {**os.environ, RECIPE_DIR: str(file.parent)}, what)


def _draft(document: Document, changes: Sequence[str], variables: Mapping[str, str], what: str) -> Draft:
    if not isinstance(document.content, dict):
        raise InputError(f"{what} holds no options. {_BEGIN}.")
    document = changed(document, changes)
    content, unset = expanded(document.content, variables)
    return _made(Document(content, document.lines, [*document.faults, *unset]))


def _made(document: Document) -> Draft:
    """Make the recipe, at second try without the options that are faulty."""
    faults = document.faults
    try:
        recipe: Recipe | None = Recipe.of(document.content)
    except PartError as error:
        recipe = _without(document.content, error.faults)
        faults = [*faults, *error.faults]
    if recipe is not None:
        recipe = dataclasses.replace(recipe, places=document.lines)
    return Draft(recipe, tuple(_in_words(fault, document.lines) for fault in faults))


def _without(content: Mapping[str, Any], faults: Iterable[Fault]) -> Recipe | None:
    keys = {fault.key for fault in faults}
    if any(len(key) == 1 and key[0] in PARTS for key in keys):
        return None
    try:
        return Recipe.of(_pruned(content, keys, ()))
    except PartError:
        return None


def _pruned(content: Mapping[str, Any], keys: set[Key], above: Key) -> dict[str, Any]:
    return {
        name: _pruned(value, keys, (*above, name)) if isinstance(value, Mapping) else value
        for name, value in content.items()
        if (*above, name) not in keys
    }


def _in_words(fault: Fault, lines: Mapping[Key, str]) -> str:
    sentence = fault.sentence
    home = belongs(fault.key) if fault.is_unknown else None
    if home is not None:
        sentence = f"unknown option. A recipe has it as {home}."
    elif fault.is_unknown and fault.key[0] == "training":
        sentence += " Others of TrainingArguments go under training.arguments."
    return f"{where(fault.key, lines)}: {sentence}" if fault.key else sentence


def _finished(draft: Draft, what: str) -> Recipe:
    if draft.faults or draft.recipe is None:
        count = "a fault" if len(draft.faults) == 1 else f"{len(draft.faults)} faults"
        raise InputError(f"{what} has {count}:\n" + "\n".join(f"  {fault}" for fault in draft.faults))
    return draft.recipe
