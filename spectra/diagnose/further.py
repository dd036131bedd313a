"""The diagnostics that are computed when they are asked for, and the trace-log condition, which costs nothing."""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Callable, Sequence
from typing import Any, cast

import numpy as np

from spectra.diagnose.bulk import bulk_columns
from spectra.diagnose.fit_arguments import fit_arguments, null_threshold_of
from spectra.diagnose.spectra_of import Found, scale_of
from spectra.errors import InputError, SourceError, SpectraError
from spectra.esd.eigenvalues import MATRIX_ERRORS, FloatArray, Precision
from spectra.esd.power_law import CLIPPING, PowerLawFit, XminStrategy
from spectra.esd.trace_log import trace_log_condition
from spectra.matrices import WeightMatrices
from spectra.results.records import LayerDiagnostics
from spectra.results.settings import AnalysisSettings

Columns = dict[str, Any]

# What may go well another time (RuntimeError: torch's word for too little memory, too), and how a note of it begins.
_PASSING = (SourceError, OSError, MemoryError, RuntimeError)
_MISSING = "a diagnostic is missing:"


def further_columns(
    matrices: WeightMatrices, found: Found, fit: PowerLawFit | None, settings: AnalysisSettings
) -> tuple[Columns, list[str]]:
    """Compute what the settings ask for beyond the fit.

    Args:
        matrices: The weight.
        found: Its spectra.
        fit: Its fit, if there is one.
        settings: Resolved settings.

    Returns:
        Columns by name, and notes. A diagnostic that does not apply to this weight leaves its columns empty and a note.
    """
    values = found.whole.eigenvalues
    notes: list[str] = []
    wanted: list[tuple[bool, Callable[[], Columns]]] = [
        # A tail of windows or of inverses is none of these values.
        (True, lambda: _trace_log(values, fit if found.fitted is found.whole else None)),
        (settings.subsample == "farms", lambda: {"num_windows": found.num_windows, "window_rows": found.window_rows}),
        (settings.mp_fit, lambda: _marchenko_pastur(matrices, values, settings, notes)),
        (settings.randomize, lambda: _randomized(matrices, values, found.replicas, settings)),
    ]
    if fit is not None:
        fitted = found.fitted.eigenvalues
        wanted += [
            (settings.truncated, lambda: _truncated(found, fit, settings, notes)),
            (settings.alternatives, lambda: _alternatives(fitted, fit)),
            (settings.pvalue_samples > 0, lambda: _pvalue(matrices, found, fit, settings)),
            (settings.bootstrap_samples > 0, lambda: _bootstrap(matrices, found, settings)),
            (settings.vectors, lambda: _vectors(matrices, fit, settings)),
        ]
    changes: Columns = {}
    for is_wanted, compute in wanted:
        if is_wanted:
            try:
                changes |= compute()
            except _PASSING as error:  # what is known of the layer stays
                notes.append(f"{_MISSING} {type(error).__name__}: {error}")
            except MATRIX_ERRORS as error:
                notes.append(str(error) if isinstance(error, SpectraError) else f"{type(error).__name__}: {error}")
    return changes, notes


def is_complete(row: LayerDiagnostics) -> bool:
    """Return whether another analysis of the same weight would give the same row.

    Args:
        row: The row.

    Returns:
        ``False`` if a diagnostic is missing for a reason that may pass, such as too little memory.
    """
    return _MISSING not in row.notes


def _trace_log(values: FloatArray, fit: PowerLawFit | None) -> Columns:
    num_removed = int(np.count_nonzero(values > fit.xmax)) if fit and fit.strategy in CLIPPING else 0
    num_fitted = fit.num_tail if fit else None
    if fit and fit.strategy is XminStrategy.CLIP_COMPAT:
        num_fitted = fit.num_tail - num_removed  # WeightWatcher counts removed ones as the tail's
    found = trace_log_condition(values, num_fitted, num_removed=num_removed)
    return {
        "num_erg": found.num_erg,
        "erg_gap": found.num_erg - fit.num_tail if fit else None,
        "erg_value": found.value,
        "erg_value_rescaled": found.value_rescaled,
        "erg_logdet_tail": found.logdet_tail,
        "erg_mean_logdet_tail": found.mean_logdet_tail,
    }


def _marchenko_pastur(matrices: WeightMatrices, values: FloatArray, settings: AnalysisSettings, notes: list[str]) -> Columns:
    from spectra.esd.marchenko_pastur import fit_marchenko_pastur

    _require_stored_matrices(matrices, "Marchenko-Pastur")
    found = fit_marchenko_pastur(
        values,
        (matrices.num_rows, matrices.num_cols),
        num_matrices=matrices.num_matrices,
        method=settings.mp_method,
        tw_level=cast(Any, settings.tw_level),
    )
    if found.num_spikes is None:  # else mp_quality and mp_bulk_ks_distance say it: of most trained layers
        notes += [f"bulk: {note}" for note in found.notes]
    return bulk_columns(found)


def _randomized(
    matrices: WeightMatrices, values: FloatArray, replicas: Sequence[FloatArray] | Exception, settings: AnalysisSettings
) -> Columns:
    from spectra.esd.randomized import compare_randomized

    _require_stored_matrices(matrices, "random order")
    if isinstance(replicas, Exception):
        raise replicas
    scale = scale_of(matrices, settings)
    found = compare_randomized(
        values,
        [replica * scale for replica in replicas],
        (matrices.num_rows, matrices.num_cols),
        num_matrices=matrices.num_matrices,
        mp_method=settings.mp_method,
        tw_level=cast(Any, settings.tw_level),
    )
    return dataclasses.asdict(found)


def _truncated(found: Found, fit: PowerLawFit, settings: AnalysisSettings, notes: list[str]) -> Columns:
    from spectra.esd.truncated_power_law import fit_truncated_power_law

    values, null_threshold = found.fitted.eigenvalues, null_threshold_of(found.fitted, settings)
    if settings.truncated_search:
        law = fit_truncated_power_law(values, search_xmin=True, null_threshold=null_threshold)
    else:
        law = fit_truncated_power_law(values, fit.xmin, null_threshold=null_threshold)
    notes += [f"truncated: {note}" for note in law.notes if note not in fit.notes]
    return {
        "tpl_alpha": law.alpha,
        "tpl_rate": law.rate,
        "tpl_xmin": law.xmin,
        "tpl_ks_distance": law.ks_distance,
        "tpl_log_likelihood_ratio": law.log_likelihood_ratio,
        "tpl_quality": "good" if law.is_reliable else "poor",
    }


def _alternatives(values: FloatArray, fit: PowerLawFit) -> Columns:
    from spectra.esd.alternatives import compare_alternatives

    columns: Columns = {}
    for found in compare_alternatives(values, fit):
        columns[f"{found.name}_ratio"] = found.log_likelihood_ratio
        columns[f"{found.name}_pvalue"] = found.pvalue
    return columns


def _pvalue(matrices: WeightMatrices, found: Found, fit: PowerLawFit, settings: AnalysisSettings) -> Columns:
    from spectra.esd.bootstrap import ks_pvalue

    arguments = fit_arguments(found.fitted, settings)
    tested = ks_pvalue(
        found.fitted.eigenvalues,
        fit,
        seed=_generator(settings.seed, matrices.matrix_name, "pvalue"),
        num_samples=settings.pvalue_samples,
        min_tail=arguments["min_tail"],
        bias_correction=arguments["bias_correction"],
    )
    return {"ks_pvalue": tested.pvalue}


def _bootstrap(matrices: WeightMatrices, found: Found, settings: AnalysisSettings) -> Columns:
    from spectra.esd.bootstrap import bootstrap_alpha

    interval = bootstrap_alpha(
        found.fitted.eigenvalues,
        seed=_generator(settings.seed, matrices.matrix_name, "bootstrap"),
        xmin=settings.xmin,
        num_samples=settings.bootstrap_samples,
        **fit_arguments(found.fitted, settings),
    )
    return {
        "alpha_low": interval.alpha_low,
        "alpha_high": interval.alpha_high,
        "xmin_low": interval.xmin_low,
        "xmin_high": interval.xmin_high,
    }


def _vectors(matrices: WeightMatrices, fit: PowerLawFit, settings: AnalysisSettings) -> Columns:
    from spectra.esd.localization import localization

    _require_stored_matrices(matrices, "eigenvectors")
    found = localization(
        matrices.readers(),
        (matrices.num_rows, matrices.num_cols),
        fit.xmin / scale_of(matrices, settings),
        precision=cast(Precision, settings.precision),
    )
    return dataclasses.asdict(found)


def _require_stored_matrices(matrices: WeightMatrices, what: str) -> None:
    if matrices.tensor.factors is not None:
        raise InputError(f"{what}: not for a low-rank product")
    if matrices.is_operator:
        raise InputError(f"{what}: not for the operator of a convolution")


def _generator(seed: int, name: str, purpose: str) -> np.random.Generator:
    """Make the random numbers of one layer and purpose, whatever else is analysed."""
    digest = hashlib.sha256(f"{purpose}|{name}".encode()).digest()
    return np.random.default_rng([seed, *np.frombuffer(digest, dtype="<u4").tolist()])
