"""How a run came about: its recipe, where the time went, and what it was made with."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

import yaml

from spectra.report.html.run_state import RunState
from spectra.report.html.section import Section
from spectra.report.run_words import cost_rows, cost_verdict, recipe_part, settings_rows

_SHOWN = {
    "began_at": "Began",
    "resumed_at": "Taken up again",
    "command": "Command",
    "platform": "Platform",
    "python": "Python",
    "cpu": "Processor",
    "gpus": "GPUs",
    "num_processes": "Processes",
    "changed": "Changed since",
}


def section(run: RunState) -> Section:
    """Make the section.

    Args:
        run: Of the page.

    Returns:
        It is never missing.
    """
    content, recipe = run.content, run.files.recipe
    method = content.record.method if content else str(recipe_part(recipe, "method").get("name") or "method")
    values = {
        "settings": settings_rows(recipe, method),
        "recipe": yaml.safe_dump(dict(recipe), sort_keys=False, allow_unicode=True) if recipe else "",
        "costs": cost_rows(content.record) if content else [],
        "verdict": cost_verdict(content) if content else "",
        "skipped": content.record.spectra_skipped if content else (),
        "environment": _environment(run.environment),
    }
    return Section(name="run_recipe", title="Recipe and cost", values=values)


def _environment(found: Mapping[str, Any]) -> dict[str, str]:
    shown = {words: _text(name, found[name]) for name, words in _SHOWN.items() if found.get(name)}
    return shown | {name: str(version) for name, version in found.get("packages", {}).items()}


def _text(name: str, value: Any) -> str:
    if name == "command":
        return shlex.join(map(str, value))
    return "; ".join(map(str, value)) if isinstance(value, list) else str(value)
