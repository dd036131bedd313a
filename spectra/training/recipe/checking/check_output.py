"""Checks of a recipe's output: a folder that is free, or that of a run, and where something can be written."""

from __future__ import annotations

import os
from pathlib import Path

from spectra.training.recipe.checking.findings import Findings
from spectra.training.recipe.checking.stored_model import StoredModel
from spectra.training.recipe.parts import Recipe
from spectra.training.recipe.run.run_folder import ENVIRONMENT, RECIPE, run_folder


def check_output(recipe: Recipe, model: StoredModel | None, found: Findings) -> None:
    """Check the run folder, without touching it. Whether the run in it is this one, is seen when it is opened.

    Args:
        recipe: The recipe.
        model: Its model, where it is at hand.
        found: What is wrong is added.
    """
    folder = run_folder(recipe)
    try:
        fault = _fault(folder, model)
    except OSError as error:  # a name too long, a folder without permission
        fault = f"cannot look at '{folder}': {error.strerror or error}. Choose another folder."
    if fault is not None:
        found.add(fault, "output")


def _fault(folder: Path, model: StoredModel | None) -> str | None:
    if folder.exists() and not folder.is_dir():
        return f"'{folder}' is a file. Choose a folder for the run."
    places = [place for place in (model.folder, model.adapter) if place is not None] if model is not None else []
    if any(folder.resolve().is_relative_to(place.resolve()) for place in places):
        return f"'{folder}' lies in the folder of the model. Choose one outside it."
    above = next(place for place in (folder, *folder.absolute().parents) if place.exists())
    if not above.is_dir():
        return f"'{folder}' cannot be made: '{above}' is a file. Choose another folder."
    if not os.access(above, os.W_OK | os.X_OK):
        return f"nothing can be written to '{above}'. Choose another folder, or correct its permissions."
    names = {place.name for place in folder.iterdir() if not place.name.startswith(".")} if above == folder else set()
    if names and not names & {RECIPE, ENVIRONMENT}:
        return f"'{folder}' holds '{min(names)}' and no '{RECIPE}', so that it is no run's. Choose another folder."
    return None
