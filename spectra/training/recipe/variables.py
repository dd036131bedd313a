"""``${NAME}`` in paths of a recipe: variables of the environment, and ``${RECIPE_DIR}``, the folder of the recipe's file."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from spectra.training.recipe.options import Fault, Key

RECIPE_DIR = "RECIPE_DIR"
_WITH_VARIABLES = ("model", "data", "adapter", "diagnostics", "output")
_VARIABLE = re.compile(r"\$\$\{|\$\{([^{}]*)\}")  # "$${" is a "${" that stands for itself


def expanded(content: Mapping[str, Any], variables: Mapping[str, str]) -> tuple[dict[str, Any], list[Fault]]:
    """Replace variables in the parts that name files.

    Args:
        content: A recipe.
        variables: By name.

    Returns:
        The recipe with their values, and those that are not set.
    """
    faults: list[Fault] = []
    found = {name: _expanded(content[name], (name,), variables, faults) for name in _WITH_VARIABLES if name in content}
    return {**content, **found}, faults


def unexpanded(content: Mapping[str, Any]) -> dict[str, Any]:
    """Return a recipe in which nothing is replaced when it is read."""
    return {name: _escaped(value) if name in _WITH_VARIABLES else value for name, value in content.items()}


def _expanded(value: Any, key: Key, variables: Mapping[str, str], faults: list[Fault]) -> Any:
    if isinstance(value, Mapping):
        return {name: _expanded(inner, (*key, name), variables, faults) for name, inner in value.items()}
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        name = match[1]
        if name is None:
            return "${"
        if name not in variables:
            faults.append(Fault(key, f"the variable '{name}' is not set. Set it, or write the path itself."))
        return variables.get(name, "")

    return _VARIABLE.sub(replaced, value)


def _escaped(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {name: _escaped(inner) for name, inner in value.items()}
    return value.replace("${", "$${") if isinstance(value, str) else value
