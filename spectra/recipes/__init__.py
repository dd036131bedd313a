"""Recipes that come with Spectra: published settings with the source of every value, and small ones for a laptop.

Names that begin with ``small-`` run in minutes on data that come along. The others have the settings of a paper, and say where
they differ; convolutional networks, neural operators and vision transformers of those papers are no models of text, and have no
recipe. Model and data of a recipe can be changed as any option: ``--set model.name=...``.
"""

from __future__ import annotations

import os
from pathlib import Path

from spectra.errors import InputError, did_you_mean

__all__ = ["described", "recipe_path", "shipped"]

_FOLDER = Path(__file__).parent
_SUFFIX = ".yaml"


def shipped() -> dict[str, Path]:
    """Return the files of all recipes by name, in alphabetical order."""
    return {file.stem: file for file in sorted(_FOLDER.glob(f"*{_SUFFIX}"), key=lambda file: file.stem)}


def described() -> dict[str, str]:
    """Return what each recipe is for, by name: the first line of its file."""
    return {name: _first_line(file) for name, file in shipped().items()}


def recipe_path(word: str | os.PathLike[str]) -> Path:
    """Find a recipe.

    Args:
        word: A file, or the name of a recipe that comes along; a file of that name goes first.

    Returns:
        Its file.

    Raises:
        InputError: There is neither.
    """
    path, known = Path(word), shipped()
    if path.is_file():
        return path
    name = os.fspath(word)
    if name not in known:
        hint = did_you_mean(path.name.removesuffix(_SUFFIX), known)
        raise InputError(f"no recipe '{name}': no file, and none that comes along.{hint} Known: {', '.join(known)}.")
    return known[name]


def _first_line(file: Path) -> str:
    with file.open(encoding="utf-8") as lines:
        return next(lines).lstrip("# ").rstrip()
