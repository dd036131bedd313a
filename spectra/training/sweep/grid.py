"""The cells of a sweep: every setting with every seed, from words of a command line or values by option."""

from __future__ import annotations

import hashlib
import itertools
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import InputError
from spectra.results.sweep_record import SETTING, setting_words, value_words
from spectra.training.recipe.parts import PARTS
from spectra.training.recipe.shorthand import full_key
from spectra.training.recipe.yaml_lines import load_yaml

_INSTEAD = {
    "seed": "Give the seeds as --seeds 0..4.",
    "output": "Each run has a folder of its own in --output.",
    "name": "Each run has a name of its own.",
}
_LARGEST_SEED = 2**32 - 1  # as of a recipe
_LONGEST_NAME = 120  # file systems take 255 bytes, and the seed and suffixes come


@dataclass(frozen=True)
class GridPoint:
    """A setting with a seed.

    Attributes:
        options: Values by option, as they were given.
        seed: Of the run.
        changes: That make its recipe, as :func:`~spectra.training.recipe.reading.read_recipe` takes them.
    """

    options: Mapping[str, Any]
    seed: int
    changes: tuple[str, ...]

    @property
    def setting(self) -> str:
        """What its setting is called."""
        return setting_words(self.options)

    @property
    def name(self) -> str:
        """Of its run folder: the setting in words, as far as they are fit for a file."""
        return f"{_fit(self.setting.replace(' ', ','))}-seed-{self.seed}" if self.options else f"seed-{self.seed}"


def parse_axis(words: str) -> tuple[str, list[Any]]:
    """Read what one option is to be.

    Args:
        words: ``training.learning_rate=1e-4,3e-4``: an option, and values in YAML with commas between them. Lists in brackets
            and options in braces are one value.

    Returns:
        The option and its values.

    Raises:
        InputError: It is nothing of this kind.
    """
    option, equals, text = words.partition("=")
    what = f"--grid {words!r}"
    if not equals or not option.strip() or not text.strip():
        raise InputError(f"{what}: expected option=value,value, such as training.learning_rate=1e-4,3e-4.")
    document = load_yaml(f"[{text}]", what)
    if document.faults:
        raise InputError(f"{what}: {document.faults[0].sentence}")
    return option.strip(), document.content


def parse_seeds(words: str) -> tuple[int, ...]:
    """Read seeds.

    Args:
        words: ``0..4``, ``0,1,2``, or both: ``0..4,17``.

    Returns:
        Them, in this order.

    Raises:
        InputError: It is nothing of this kind, or a seed is there twice.
    """
    seeds: list[int] = []
    for part in words.split(","):
        match = re.fullmatch(r"\s*(\d{1,10})(?:\.\.(\d{1,10}))?\s*", part)
        first, last = (int(match[1]), int(match[2] or match[1])) if match else (1, 0)
        if not first <= last <= _LARGEST_SEED or last - first >= 10_000:
            raise InputError(f"--seeds {words!r}: expected whole numbers such as 0..4 or 0,1,2, got '{part}'.")
        seeds += range(first, last + 1)
    return checked_seeds(seeds)


def checked_seeds(seeds: Iterable[int]) -> tuple[int, ...]:
    """Refuse seeds that are none, or there twice.

    Args:
        seeds: At least one.

    Returns:
        Them.

    Raises:
        InputError: There are none, one is there twice, or none of NumPy's.
    """
    found = tuple(seeds)
    wrong = [seed for seed in found if not isinstance(seed, int) or isinstance(seed, bool) or not 0 <= seed <= _LARGEST_SEED]
    if not found or wrong:
        raise InputError(f"seeds: expected whole numbers from 0 to {_LARGEST_SEED}, got {wrong[0] if wrong else 'none'!r}.")
    twice = next((seed for place, seed in enumerate(found) if seed in found[:place]), None)
    if twice is not None:
        raise InputError(f"seeds: {twice} is there twice. Leave one out.")
    return found


def read_settings(path: str | os.PathLike[str]) -> dict[str, tuple[str, ...]]:
    """Read settings that have names, each of which may change several options.

    Args:
        path: YAML: names with the options that each changes, as they stand in a recipe, such as
            ``guided: {method: dcs, training: {learning_rate: 1e-4}}``. The options of a part are changed one by one, and those
            that are not named stay as the recipe has them.

    Returns:
        Changes by name, as :func:`~spectra.training.recipe.reading.read_recipe` takes them.

    Raises:
        InputError: No such file, no YAML, or no settings.
    """
    what = f"'{os.fspath(path)}'"
    try:
        document = load_yaml(Path(path).expanduser().read_text(encoding="utf-8-sig"), what)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot read settings from {what}: {getattr(error, 'strerror', None) or error}.") from error
    content = document.content
    faults = [f"{'.'.join(fault.key)}: {fault.sentence}" for fault in document.faults]
    if not isinstance(content, dict) or not content:
        faults.append("expected names with changes, such as 'guided: {method: dcs}'.")
    else:
        faults += [
            f"{name}: expected options by name, got {value!r}." for name, value in content.items() if not _is_change(value)
        ]
    if faults:
        raise InputError(f"{what}: {' '.join(faults)}")
    return {name: _changes(value or {}) for name, value in content.items()}


def grid_points(
    grid: Mapping[str, Sequence[Any]], seeds: Sequence[int], settings: Mapping[str, tuple[str, ...]] | None = None
) -> list[GridPoint]:
    """Make the points of a grid: all combinations, all settings with the first seed before any with the second.

    Args:
        grid: Values by option of a recipe.
        seeds: Of the runs.
        settings: Changes by name, made before those of the grid.

    Returns:
        The points.

    Raises:
        InputError: An option that is none of a grid, or is there twice; one without values, or with equal ones.
    """
    axes = _axes(grid)
    named: list[tuple[dict[str, Any], tuple[str, ...]]] = [
        ({SETTING: name}, changes) for name, changes in (settings or {}).items()
    ]
    return [
        GridPoint({**name, **dict(zip(axes, values, strict=True))}, seed, (*changes, *map(_change, axes, values)))
        for seed in checked_seeds(seeds)
        for (name, changes), *values in itertools.product(named or [({}, ())], *axes.values())
    ]


def option_name(words: str) -> str:
    """Return the one name that an option has among its names: ``method`` for ``method.name``.

    Args:
        words: Where it stands in a recipe; a short form is understood.

    Returns:
        Its place, with dots.
    """
    key = full_key(tuple(words.strip().split(".")))
    return ".".join(key[:-1] if key[-1] == "name" and key[:-1] and key[0] in PARTS else key)


def _axes(grid: Mapping[str, Sequence[Any]]) -> dict[str, Sequence[Any]]:
    axes: dict[str, Sequence[Any]] = {}
    for words, values in grid.items():
        option = option_name(words)
        if option in _INSTEAD:
            raise InputError(f"--grid {words}: it is no option of a grid. {_INSTEAD[option]}")
        if option in axes:
            raise InputError(f"--grid {words}: it is there twice. Give all its values at once.")
        if isinstance(values, str) or not values:
            raise InputError(f"--grid {words}: expected values, got {values!r}. Give at least one.")
        said = [value_words(value) for value in values]
        twice = next((word for place, word in enumerate(said) if word in said[:place]), None)
        if twice is not None:
            raise InputError(f"--grid {words}: {twice} is there twice. Leave one out.")
        axes[option] = values
    return axes


def _is_change(value: object) -> bool:
    return value is None or isinstance(value, dict)


def _changes(content: Mapping[str, Any]) -> tuple[str, ...]:
    """Return a change for each option; a part that is given whole would lose its others."""
    found: list[str] = []
    for option, value in content.items():
        inner = {f"{option}.{name}": entry for name, entry in value.items()} if _is_part(option, value) else {option: value}
        found += (_change(name, entry) for name, entry in inner.items())
    return tuple(found)


def _change(option: str, value: Any) -> str:
    # With method.name=dcs the options that a recipe has for dcs stay; with method=dcs they go.
    place = f"{option}.name" if option in PARTS and isinstance(value, str) else option
    return f"{place}={json.dumps(value, ensure_ascii=False)}"


def _is_part(option: str, value: Any) -> bool:
    return option in PARTS and isinstance(value, dict)


def _fit(words: str) -> str:
    fit = re.sub(r"[^A-Za-z0-9_.=+,-]+", "-", words).strip("-,.")[:_LONGEST_NAME]
    # Settings whose words become the same, or are cut, stay apart.
    return fit if fit == words else f"{fit}-{hashlib.sha256(words.encode()).hexdigest()[:8]}".lstrip("-")
