"""Diagnostics at work in training: rates and noise set in a model by name, and callbacks for trainers."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from spectra.training.drop_sites import apply_rates
    from spectra.training.guided_dropout import GuidedDropout, GuidedDropoutCallback
    from spectra.training.verify_dropout import verify_sites

__all__ = ["GuidedDropout", "GuidedDropoutCallback", "apply_rates", "verify_sites"]

_HOME = {
    "GuidedDropout": "spectra.training.guided_dropout",
    "GuidedDropoutCallback": "spectra.training.guided_dropout",
    "apply_rates": "spectra.training.drop_sites",
    "verify_sites": "spectra.training.verify_dropout",
}


def __getattr__(name: str) -> Any:
    if name not in _HOME:
        raise AttributeError(f"module 'spectra.training' has no attribute {name!r}")
    return getattr(import_module(_HOME[name]), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
