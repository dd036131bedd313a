"""The recipe of each cell of a sweep: made and checked before the first one runs, all faults at once."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spectra.errors import InputError
from spectra.results.sweep_record import RUNS, SweepCell
from spectra.results.words import counted
from spectra.training.recipe.parts import Recipe
from spectra.training.recipe.reading import Draft, draft_recipe, read_recipe, recipe_of
from spectra.training.recipe.variables import unexpanded
from spectra.training.sweep.grid import GridPoint

_OWN = ("name", "output", "seed", "report_to")  # of a run; all other options make a setting
_SHOWN = 3


def common_recipe(path: str | os.PathLike[str], changes: Sequence[str], folder: Path) -> Recipe:
    """Read what all cells have in common.

    Args:
        path: Of the recipe.
        changes: To it, as :func:`~spectra.training.recipe.reading.read_recipe` takes them.
        folder: Of the sweep.

    Returns:
        The recipe; its ``output`` is the sweep's folder.

    Raises:
        InputError: As of ``read_recipe``.
    """
    return read_recipe(path, [*changes, _output(folder)])


def checked_recipes(
    path: str | os.PathLike[str], changes: Sequence[str], points: Sequence[GridPoint], folder: Path
) -> list[Recipe]:
    """Make the recipes of a grid, and check them as far as can be without downloads and training.

    Args:
        path: Of the recipe.
        changes: To it.
        points: Of the grid.
        folder: Of the sweep.

    Returns:
        A recipe for each.

    Raises:
        InputError: Faults, each with the settings that have it; or two settings that are the same.
    """
    drafts = [draft_recipe(path, [*changes, *point.changes, *_own(point, folder)]) for point in points]
    found: dict[str, list[str]] = {}
    settings: list[str] = []
    for point, draft in zip(points, drafts, strict=True):
        if point.setting not in settings:  # one seed of each: seeds make no faults
            settings.append(point.setting)
            for fault in _faults(draft):
                found.setdefault(fault, []).append(point.setting)
    faults = [_with_settings(fault, where, len(settings)) for fault, where in found.items()]
    recipes = [draft.recipe for draft in drafts if draft.recipe is not None]
    faults = faults or list(_twins(points, recipes))
    if faults:
        count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
        raise InputError(f"'{os.fspath(path)}' has {count}:\n" + "\n".join(f"  {fault}" for fault in faults))
    return recipes


def cell_of(point: GridPoint, recipe: Recipe, common: Recipe) -> SweepCell:
    """Make what is written down of a point of a grid.

    Args:
        point: Its setting and seed.
        recipe: Its own.
        common: That of the sweep.

    Returns:
        The cell.
    """
    shared = common.to_dict()
    parts = {name: part for name, part in recipe.to_dict().items() if name not in _OWN and part != shared[name]}
    return SweepCell(name=point.name, options=point.options, seed=point.seed, parts=parts)


def recipe_of_cell(common: Recipe, cell: SweepCell, folder: Path) -> Recipe:
    """Make the recipe of a cell from what is written down.

    Args:
        common: That of the sweep.
        cell: One of its cells.
        folder: Of the sweep.

    Returns:
        The recipe.
    """
    own = {"name": cell.name, "seed": cell.seed, "output": os.fspath(folder / RUNS / cell.name)}
    return recipe_of({**common.to_dict(), **cell.parts, **own})


def differences(recipe: Recipe, other: Recipe) -> list[str]:
    """Name what makes other settings of two recipes.

    Args:
        recipe: One.
        other: The one that was there before.

    Returns:
        ``training.learning_rate: 0.0001, was 0.0003`` for each option; name, output and seed of a run make no setting.
    """
    new, old = _settings(recipe), _settings(other)
    return [
        f"{option}: {_value(new, option)}, was {_value(old, option)}"
        for option in dict.fromkeys((*new, *old))
        if new.get(option) != old.get(option)
    ]


def same_run(recipe: Recipe) -> str:
    """Return what two recipes have in common that give the same run."""
    return json.dumps([_settings(recipe), recipe.seed], sort_keys=True)


def _own(point: GridPoint, folder: Path) -> list[str]:
    return [f"seed={point.seed}", f"name={json.dumps(point.name)}", _output(folder / RUNS / point.name)]


def _output(folder: Path) -> str:
    return f"output={json.dumps(unexpanded({'output': os.fspath(folder)})['output'], ensure_ascii=False)}"


def _faults(draft: Draft) -> list[str]:
    from spectra.training.recipe.checking.checks import faults

    return faults(draft)


def _with_settings(fault: str, settings: Sequence[str], number: int) -> str:
    if number == 1 or len(settings) == number:
        return fault
    more = f" and {len(settings) - _SHOWN} more" if len(settings) > _SHOWN else ""
    return f"{fault} (In {', '.join(settings[:_SHOWN])}{more}; {len(settings)} of {counted(number, 'setting')}.)"


def _twins(points: Sequence[GridPoint], recipes: Sequence[Recipe]) -> Iterator[str]:
    first: dict[str, str] = {}
    for point, recipe in zip(points, recipes, strict=True):
        other = first.setdefault(same_run(recipe), point.setting)
        if other != point.setting and point.seed == points[0].seed:
            yield f"'{other}' and '{point.setting}' are the same setting. Leave one out."


def _settings(recipe: Recipe) -> dict[str, Any]:
    content = {name: value for name, value in recipe.to_dict().items() if name not in _OWN}
    return dict(_flat(content, ""))


def _flat(content: Mapping[str, Any], above: str) -> Iterator[tuple[str, Any]]:
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            yield from _flat(value, f"{above}{name}.")
        else:
            yield f"{above}{name}", value


def _value(content: Mapping[str, Any], option: str) -> str:
    return json.dumps(content[option]) if option in content else "not given"
