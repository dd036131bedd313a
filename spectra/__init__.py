"""Spectral diagnostics of neural networks: the heavy tail of each weight matrix, layer by layer.

Importing this package is light: torch, pandas and matplotlib are imported by the calls that need them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spectra._version import __version__

if TYPE_CHECKING:
    from spectra.diagnose.analyze import analyze
    from spectra.errors import (
        InputError,
        MissingPackageError,
        NonFiniteWeightsError,
        ResultsError,
        SourceError,
        SpectraError,
        TooFewEigenvaluesError,
    )
    from spectra.esd.eigenvalues import eigenvalues
    from spectra.esd.power_law import PowerLawFit, fit_power_law
    from spectra.results.records import LayerDiagnostics, SkippedTensor
    from spectra.results.report import Report
    from spectra.results.store import load

__all__ = [
    "__version__",
    # whole models
    "analyze",
    "load",
    # one spectrum
    "eigenvalues",
    "fit_power_law",
    # results
    "LayerDiagnostics",
    "PowerLawFit",
    "Report",
    "SkippedTensor",
    # what can go wrong
    "InputError",
    "MissingPackageError",
    "NonFiniteWeightsError",
    "ResultsError",
    "SourceError",
    "SpectraError",
    "TooFewEigenvaluesError",
]

_HOME = {
    "analyze": "spectra.diagnose.analyze",
    "load": "spectra.results.store",
    "eigenvalues": "spectra.esd.eigenvalues",
    "fit_power_law": "spectra.esd.power_law",
    "LayerDiagnostics": "spectra.results.records",
    "PowerLawFit": "spectra.esd.power_law",
    "Report": "spectra.results.report",
    "SkippedTensor": "spectra.results.records",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'spectra' has no attribute {name!r}")
    return getattr(import_module(_HOME.get(name, "spectra.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
