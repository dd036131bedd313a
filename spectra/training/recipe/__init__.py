"""Recipes: a fine-tuning run in a file, read strictly and written out in full."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectra.training.recipe.parts import (
        AdapterPart,
        DataPart,
        DiagnosticsPart,
        GuidedDropoutPart,
        MethodPart,
        ModelPart,
        Recipe,
        TrainingPart,
    )
    from spectra.training.recipe.printing import recipe_text, write_recipe
    from spectra.training.recipe.reading import Draft, draft_recipe, parse_recipe, read_recipe, recipe_of

__all__ = [
    # a recipe and its parts
    "Recipe",
    "ModelPart",
    "DataPart",
    "MethodPart",
    "AdapterPart",
    "DiagnosticsPart",
    "GuidedDropoutPart",
    "TrainingPart",
    # from files and to files
    "Draft",
    "draft_recipe",
    "parse_recipe",
    "read_recipe",
    "recipe_of",
    "recipe_text",
    "write_recipe",
]

_HOME = {
    "parts": (
        "Recipe",
        "ModelPart",
        "DataPart",
        "MethodPart",
        "AdapterPart",
        "DiagnosticsPart",
        "GuidedDropoutPart",
        "TrainingPart",
    ),
    "printing": ("recipe_text", "write_recipe"),
    "reading": ("Draft", "draft_recipe", "parse_recipe", "read_recipe", "recipe_of"),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOME.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'spectra.training.recipe' has no attribute {name!r}")
    return getattr(import_module(f"spectra.training.recipe.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
