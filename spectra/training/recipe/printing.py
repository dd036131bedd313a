"""Writing recipes: every option with its value, and where the value comes from."""

from __future__ import annotations

import os
from pathlib import Path

from spectra.results.writing import write_whole
from spectra.training.recipe.parts import Recipe
from spectra.training.recipe.variables import unexpanded
from spectra.training.recipe.yaml_lines import dump_yaml


def recipe_text(recipe: Recipe) -> str:
    """Write a recipe as YAML, complete, so that it says the same when defaults change.

    Args:
        recipe: Any.

    Returns:
        The text; :func:`~spectra.training.recipe.reading.parse_recipe` makes an equal recipe of it. A comment says where the
        value of an option comes from that has its default.
    """
    return dump_yaml(unexpanded(recipe.to_dict()), recipe.sources())


def write_recipe(recipe: Recipe, path: str | os.PathLike[str]) -> None:
    """Write a recipe's file, atomically; one that is there is replaced.

    Args:
        recipe: Any.
        path: The file, in a folder that exists.
    """
    write_whole(Path(path), recipe_text(recipe).encode())
