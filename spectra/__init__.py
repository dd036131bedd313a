"""Spectral diagnostics of neural networks: the heavy tail of each weight matrix, layer by layer.

Importing this package is light: torch, pandas and matplotlib are imported by the calls that need them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

from spectra._version import __version__

if TYPE_CHECKING:
    from spectra import training, transform
    from spectra.diagnose.analyze import analyze
    from spectra.diagnose.base_shift import base_shift
    from spectra.diagnose.compare import compare
    from spectra.diagnose.distances import DistanceReport, distances
    from spectra.diagnose.fleet import analyze_fleet
    from spectra.diagnose.merge import merge
    from spectra.errors import (
        EngineError,
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
    from spectra.fisher.estimate import fisher
    from spectra.fisher.sites import find_sites
    from spectra.fisher.spectrum import fisher_spectrum
    from spectra.fisher.surface import loss_surface
    from spectra.policies.drop_controls import control_rates
    from spectra.policies.drop_prob import guided_rates
    from spectra.policies.dropout_plan import DropoutPlan, dropout_plan, load_dropout_plan
    from spectra.policies.plan import Plan, load_plan, plan
    from spectra.results.base_shift import BaseShift, load_base_shift
    from spectra.results.collection import collect
    from spectra.results.comparison import Comparison, MatrixComparison
    from spectra.results.comparison_store import load_comparison
    from spectra.results.fisher import Fisher
    from spectra.results.fisher_merge import merge_fishers
    from spectra.results.fisher_spectrum import FisherSpectrum, load_fisher_spectrum
    from spectra.results.fisher_store import load_fisher
    from spectra.results.fleet import FleetReport, load_fleet
    from spectra.results.records import ExpertSummary, LayerDiagnostics, SkippedTensor
    from spectra.results.report import Report
    from spectra.results.sample_history import SampleHistory, load_sample_history
    from spectra.results.store import load
    from spectra.results.surface import LossSurface, load_surface

__all__ = [
    "__version__",
    # whole models
    "analyze",
    "analyze_fleet",
    "base_shift",
    "load_base_shift",
    "compare",
    "load_comparison",
    "load_fleet",
    "distances",
    "load",
    "merge",
    "collect",
    "training",
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
    # how sensitive the loss is
    "fisher",
    "fisher_spectrum",
    "load_fisher",
    "load_fisher_spectrum",
    "load_surface",
    "loss_surface",
    "merge_fishers",
    # from diagnostics to one number per unit
    "load_plan",
    "plan",
    # dropout by sensitivity
    "control_rates",
    "dropout_plan",
    "find_sites",
    "guided_rates",
    "load_dropout_plan",
    # weights of samples
    "load_sample_history",
    # results
    "AlternativeFit",
    "BootstrapInterval",
    "BaseShift",
    "Comparison",
    "DistanceReport",
    "DropoutPlan",
    "ExpertSummary",
    "Fisher",
    "FisherSpectrum",
    "FleetReport",
    "KsPvalue",
    "LayerDiagnostics",
    "LossSurface",
    "MarchenkoPasturFit",
    "MatrixComparison",
    "Plan",
    "PowerLawFit",
    "Report",
    "SampleHistory",
    "SkippedTensor",
    "TraceLog",
    "TruncatedPowerLawFit",
    # what can go wrong
    "InputError",
    "MissingPackageError",
    "NonFiniteWeightsError",
    "ResultsError",
    "SourceError",
    "EngineError",
    "SpectraError",
    "TooFewEigenvaluesError",
]

_HOME = {
    "analyze": "spectra.diagnose.analyze",
    "analyze_fleet": "spectra.diagnose.fleet",
    "FleetReport": "spectra.results.fleet",
    "load_fleet": "spectra.results.fleet",
    "base_shift": "spectra.diagnose.base_shift",
    "load_base_shift": "spectra.results.base_shift",
    "compare": "spectra.diagnose.compare",
    "load_comparison": "spectra.results.comparison_store",
    "Comparison": "spectra.results.comparison",
    "MatrixComparison": "spectra.results.comparison",
    "distances": "spectra.diagnose.distances",
    "load": "spectra.results.store",
    "merge": "spectra.diagnose.merge",
    "collect": "spectra.results.collection",
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
    "fisher_spectrum": "spectra.fisher.spectrum",
    "load_fisher": "spectra.results.fisher_store",
    "load_fisher_spectrum": "spectra.results.fisher_spectrum",
    "load_sample_history": "spectra.results.sample_history",
    "SampleHistory": "spectra.results.sample_history",
    "load_surface": "spectra.results.surface",
    "loss_surface": "spectra.fisher.surface",
    "merge_fishers": "spectra.results.fisher_merge",
    "load_plan": "spectra.policies.plan",
    "plan": "spectra.policies.plan",
    "control_rates": "spectra.policies.drop_controls",
    "dropout_plan": "spectra.policies.dropout_plan",
    "find_sites": "spectra.fisher.sites",
    "guided_rates": "spectra.policies.drop_prob",
    "load_dropout_plan": "spectra.policies.dropout_plan",
    "AlternativeFit": "spectra.esd.alternatives",
    "BootstrapInterval": "spectra.esd.bootstrap",
    "BaseShift": "spectra.results.base_shift",
    "DistanceReport": "spectra.diagnose.distances",
    "DropoutPlan": "spectra.policies.dropout_plan",
    "ExpertSummary": "spectra.results.records",
    "Fisher": "spectra.results.fisher",
    "FisherSpectrum": "spectra.results.fisher_spectrum",
    "KsPvalue": "spectra.esd.bootstrap",
    "LayerDiagnostics": "spectra.results.records",
    "LossSurface": "spectra.results.surface",
    "MarchenkoPasturFit": "spectra.esd.marchenko_pastur",
    "Plan": "spectra.policies.plan",
    "PowerLawFit": "spectra.esd.power_law",
    "Report": "spectra.results.report",
    "SkippedTensor": "spectra.results.records",
    "TraceLog": "spectra.esd.trace_log",
    "TruncatedPowerLawFit": "spectra.esd.truncated_power_law",
}


# Modules that are public as such; the package ``fisher`` is also the function, see there.
_MODULES = ("fisher", "training", "transform")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'spectra' has no attribute {name!r}")
    if name in _MODULES:
        return import_module(f"spectra.{name}")
    return getattr(import_module(_HOME.get(name, "spectra.errors")), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
