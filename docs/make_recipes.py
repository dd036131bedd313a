"""Make the tables of docs/recipes.md: ``python docs/make_recipes.py``, from a checkout.

They stand between markers, ``<!-- table NAME -->`` and ``<!-- end -->``; a test keeps them up to date. The table ``cost`` is
measured, by ``python -m benchmarks diagnostics``, and stays as it is.
"""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from analysis.readme_tables import remade, table

PAGE = Path(__file__).with_name("recipes.md")

MEASURED = ("cost",)


def text(page: str) -> str:
    """Return a page with its tables made anew.

    Args:
        page: The page, with markers.

    Returns:
        The same page; only what stands between markers differs.
    """
    standing = {name: partial(_standing, page, name) for name in MEASURED}
    return remade(page, {**TABLES, **standing})


def options(part: str) -> str:
    """Return the table of the options of a part.

    Args:
        part: ``model``, ``data``, ..., ``guided_dropout``; ``recipe`` for what stands outside of parts.

    Returns:
        A table in Markdown.
    """
    from spectra.training.recipe.options import options_of
    from spectra.training.recipe.parts import PARTS, GuidedDropoutPart, Recipe

    kind = {**PARTS, "guided_dropout": GuidedDropoutPart, "recipe": Recipe}[part]
    rows = [
        (f"`{f.name}`", _default(f), f.metadata["meaning"], _source(f.metadata["source"]))
        for f in options_of(kind)
        if part != "recipe" or f.name not in PARTS
    ]
    return table(("option", "default", "meaning", "source"), rows) + "\n"


def metrics() -> str:
    """Return the table of what each task is measured by."""
    from spectra.training.recipe.checking.check_data import COLUMNS
    from spectra.training.recipe.checking.check_training import METRICS

    rows = [(f"`{task}`", _columns(*COLUMNS[task]), _words(("loss", *METRICS[task]))) for task in COLUMNS]
    return table(("task", "columns beside the text", "metrics"), rows) + "\n"


def shipped() -> str:
    """Return the table of the recipes that come along."""
    from spectra.recipes import described

    return table(("recipe", "is"), [(f"`{name}`", purpose) for name, purpose in described().items()]) + "\n"


_PARTS = ("recipe", "model", "data", "adapter", "diagnostics", "guided_dropout", "training")
TABLES: dict[str, Callable[[], str]] = {
    **{part: partial(options, part) for part in _PARTS},
    "metrics": metrics,
    "shipped": shipped,
}


def _standing(page: str, name: str) -> str:
    start = page.index(marker := f"<!-- table {name} -->\n") + len(marker)
    return page[start : page.index("<!-- end -->", start)]


def _default(field: dataclasses.Field[Any]) -> str:
    """Return the default as YAML has it."""
    if field.default is dataclasses.MISSING:
        return "needed" if field.default_factory is dataclasses.MISSING else f"`{field.default_factory()}`"
    value = list(field.default) if isinstance(field.default, tuple) else field.default
    return f"`{value if isinstance(value, str) else json.dumps(value)}`"


def _source(source: str) -> str:
    """Shorten what the page says above the tables."""
    return source.replace("our choice", "ours")


def _columns(needed: tuple[str, ...], allowed: tuple[str, ...]) -> str:
    return "; ".join(filter(None, (_words(needed), *(f"`{name}` if there are any" for name in allowed)))) or "none"


def _words(names: tuple[str, ...]) -> str:
    return ", ".join(f"`{name}`" for name in names)


if __name__ == "__main__":
    PAGE.write_text(text(PAGE.read_text(encoding="utf-8")), encoding="utf-8")
