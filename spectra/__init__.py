"""Spectral diagnostics of neural networks: the heavy tail of each weight matrix, layer by layer.

Importing this package is light: torch, pandas and matplotlib are imported by the calls that need them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spectra._version import __version__

if TYPE_CHECKING:
    from spectra import transform
    from spectra.diagnose.analyze import analyze
    from spectra.diagnose.distances import DistanceReport, distances
    from spectra.errors import (
        InputError,
        MissingPackageError,
        NonFiniteWeightsError,
        ResultsError,
        SourceError,
        SpectraError,
        TooFewEigenvaluesError,
    )
    from spectra.esd.alternatives import AlternativeFit, compare_alternatives
    from spectra.esd.bootstrap import BootstrapInterval, KsPvalue, bootstrap_alpha, ks_pvalue
    from spectra.esd.eigenvalues import eigenvalues
    from spectra.esd.localization import vector_metrics
    from spectra.esd.marchenko_pastur import MarchenkoPasturFit, fit_marchenko_pastur
    from spectra.esd.power_law import PowerLawFit, fit_power_law
    from spectra.esd.subsample import farms_eigenvalues
    from spectra.esd.trace_log import TraceLog, trace_log_condition
    from spectra.esd.truncated_power_law import TruncatedPowerLawFit, fit_truncated_power_law
    from spectra.results.records import ExpertSummary, LayerDiagnostics, SkippedTensor
    from spectra.results.report import Report
    from spectra.results.store import load

__all__ = [
    "__version__",
    # whole models
    "analyze",
    "distances",
    "load",
    "transform",
    # one spectrum
    "bootstrap_alpha",
    "compare_alternatives",
    "eigenvalues",
    "farms_eigenvalues",
    "fit_marchenko_pastur",
    "fit_power_law",
    "fit_truncated_power_law",
    "ks_pvalue",
    "trace_log_condition",
    "vector_metrics",
    # results
    "AlternativeFit",
    "BootstrapInterval",
    "DistanceReport",
    "ExpertSummary",
    "KsPvalue",
    "LayerDiagnostics",
    "MarchenkoPasturFit",
    "PowerLawFit",
    "Report",
    "SkippedTensor",
    "TraceLog",
    "TruncatedPowerLawFit",
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
    "distances": "spectra.diagnose.distances",
    "load": "spectra.results.store",
    "bootstrap_alpha": "spectra.esd.bootstrap",
    "compare_alternatives": "spectra.esd.alternatives",
    "eigenvalues": "spectra.esd.eigenvalues",
    "farms_eigenvalues": "spectra.esd.subsample",
    "fit_marchenko_pastur": "spectra.esd.marchenko_pastur",
    "fit_power_law": "spectra.esd.power_law",
    "fit_truncated_power_law": "spectra.esd.truncated_power_law",
    "ks_pvalue": "spectra.esd.bootstrap",
    "trace_log_condition": "spectra.esd.trace_log",
    "vector_metrics": "spectra.esd.localization",
    "AlternativeFit": "spectra.esd.alternatives",
    "BootstrapInterval": "spectra.esd.bootstrap",
    "DistanceReport": "spectra.diagnose.distances",
    "ExpertSummary": "spectra.results.records",
    "KsPvalue": "spectra.esd.bootstrap",
    "LayerDiagnostics": "spectra.results.records",
    "MarchenkoPasturFit": "spectra.esd.marchenko_pastur",
    "PowerLawFit": "spectra.esd.power_law",
    "Report": "spectra.results.report",
    "SkippedTensor": "spectra.results.records",
    "TraceLog": "spectra.esd.trace_log",
    "TruncatedPowerLawFit": "spectra.esd.truncated_power_law",
}


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'spectra' has no attribute {name!r}")
    if name == "transform":
        return import_module("spectra.transform")
    return getattr(import_module(_HOME.get(name, "spectra.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
