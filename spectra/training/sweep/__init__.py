"""Sweeps: a recipe in several settings, each with several seeds, and what came out of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectra.training.sweep.grid import parse_axis, parse_seeds, read_settings
    from spectra.training.sweep.runs import SweepPlan, SweepProgress, plan_sweep, run_sweep

__all__ = [
    # from a recipe to its runs
    "SweepPlan",
    "SweepProgress",
    "plan_sweep",
    "run_sweep",
    # words of a command line
    "parse_axis",
    "parse_seeds",
    "read_settings",
]

_HOME = {
    "grid": ("parse_axis", "parse_seeds", "read_settings"),
    "runs": ("SweepPlan", "SweepProgress", "plan_sweep", "run_sweep"),
}


def __getattr__(name: str) -> Any:
    home = next((module for module, names in _HOME.items() if name in names), None)
    if home is None:
        raise AttributeError(f"module 'spectra.training.sweep' has no attribute {name!r}")
    return getattr(import_module(f"spectra.training.sweep.{home}"), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
