"""One weight → its row of the report: spectrum, fit, metrics, label, and what went wrong."""

from __future__ import annotations

import dataclasses
import math
from typing import Any, cast

import numpy as np

from spectra.errors import NonFiniteWeightsError, SpectraError, TooFewEigenvaluesError
from spectra.esd.eigenvalues import AnyArray, FloatArray, Method, Precision, ReadRows, Spectrum, pool, spectrum
from spectra.esd.hill import alpha_hill
from spectra.esd.norms import log10_alpha_norm, norm_metrics, spectral_entropy
from spectra.esd.power_law import PowerLawFit, fit_power_law
from spectra.matrices import WeightMatrices, read_matrices
from spectra.results.records import AnalysisSettings, LayerDiagnostics, LayerStatus

# Thresholds of WeightWatcher's labels, both strict; `htsr.md` section 7.
OVER_TRAINED_BELOW, UNDER_TRAINED_ABOVE = 2.0, 6.0
# Under this many eigenvalues alpha says little; the number TempBalance ignores layers under, too.
MIN_EVALS_FOR_LABEL = 50

# WeightWatcher 0.7.7's rule for short spectra: bias-corrected, at least 8 values in the tail.
_SMALL_SAMPLE, _SMALL_SAMPLE_MIN_TAIL = 20, 8


def diagnose_layer(matrices: WeightMatrices, settings: AnalysisSettings) -> tuple[LayerDiagnostics, FloatArray | None]:
    """Analyse one weight. What is wrong with it becomes its status; nothing is raised for it.

    Args:
        matrices: The weight's matrices, not yet read.
        settings: Resolved settings.

    Returns:
        The row, and the eigenvalues of all its matrices: shape ``(num_eigenvalues,)``, ascending, times ``conv_norm``
        for convolutions; ``None`` where there is no spectrum.
    """
    row = _known_before_reading(matrices)
    if matrices.tensor.unreadable:
        return dataclasses.replace(row, status=LayerStatus.META, notes="a shape without numbers: load the weights first"), None
    if matrices.num_eigenvalues == 0:
        return dataclasses.replace(row, status=LayerStatus.EMPTY), None
    try:
        result = _spectrum_of(matrices, settings)
    except NonFiniteWeightsError as error:
        return dataclasses.replace(row, status=LayerStatus.NONFINITE, notes=str(error)), None
    except (SpectraError, OSError) as error:
        return dataclasses.replace(row, status=LayerStatus.UNREADABLE, notes=str(error)), None
    return _described(row, result, matrices, settings), result.eigenvalues


def _known_before_reading(m: WeightMatrices) -> LayerDiagnostics:
    small, large = sorted((m.num_rows, m.num_cols))
    return LayerDiagnostics(
        layer_name=m.layer_name,
        matrix_name=m.matrix_name,
        kind=m.kind,
        dtype=m.tensor.dtype,
        is_transposed=m.is_transposed,
        num_rows=m.num_rows,
        num_cols=m.num_cols,
        num_matrices=m.num_matrices,
        num_params=m.tensor.size,
        aspect_ratio=large / small if small else math.nan,
        num_eigenvalues=m.num_eigenvalues,
        status=LayerStatus.OK,
        tied_to=", ".join(m.tied_names),
    )


def _spectrum_of(matrices: WeightMatrices, settings: AnalysisSettings) -> Spectrum:
    shape = (matrices.num_rows, matrices.num_cols)
    precision, method = cast(Precision, settings.precision), cast(Method, settings.method)
    if len(matrices.tensor.shape) == 2:
        return spectrum(matrices.tensor.read, shape, precision=precision, method=method)
    parts = [spectrum(_rows_of(w), shape, precision=precision, method=method) for w in read_matrices(matrices)]
    return pool(parts, max(shape)).scaled(settings.conv_norm)


def _rows_of(array: AnyArray) -> ReadRows:
    return lambda start, stop: array[start:stop]


def _described(
    row: LayerDiagnostics, result: Spectrum, matrices: WeightMatrices, settings: AnalysisSettings
) -> LayerDiagnostics:
    values = result.eigenvalues
    threshold = settings.evals_threshold
    null_threshold = result.null_threshold if threshold is None else threshold
    num_null = int(np.searchsorted(values, null_threshold, side="right"))
    rank = result.rank if result.rank is not None else len(values) - num_null
    changes: dict[str, Any] = dataclasses.asdict(norm_metrics(values))
    changes |= {
        "matrix_rank": result.rank,
        "rank_loss": result.rank_loss,
        "entropy": spectral_entropy(values, rank, epsilon=settings.entropy_epsilon) if values[-1] > 0.0 else math.nan,
        "num_null": num_null,
        "method": result.method,
        "decomposition_dtype": result.precision,
    }
    if settings.sv_min_over_matrices == "max":
        changes["sv_min"] = math.sqrt(float(result.smallest.max()))
    notes = []
    if result.rank is None:
        changes["sv_min"] = math.nan
        notes.append("ranks and sv_min are under the resolution of the Gram matrix; method 'svd' gives them")

    fit: PowerLawFit | None = None
    if values[-1] == 0.0:
        changes["status"] = LayerStatus.ZERO
    elif matrices.is_depthwise:
        changes["status"] = LayerStatus.DEPTHWISE
    elif len(values) < settings.min_evals:
        changes["status"] = LayerStatus.TOO_FEW_EVALS
        notes.append(f"fewer than {settings.min_evals} eigenvalues")
    else:
        try:
            fit = _fit(values, null_threshold, settings)
        except TooFewEigenvaluesError as error:
            changes["status"] = LayerStatus.NO_TAIL
            notes.append(str(error))
    if fit is not None:
        changes |= _of_fit(fit, values[num_null:], settings)
        changes["log10_alpha_norm"] = log10_alpha_norm(values, fit.alpha)
        changes["alpha_weighted"] = fit.alpha * changes["log10_lambda_max"]
        notes += fit.notes
    return dataclasses.replace(row, **changes, notes="; ".join(notes))


def _fit(values: FloatArray, null_threshold: float, settings: AnalysisSettings) -> PowerLawFit:
    num_values = len(values) - int(np.searchsorted(values, null_threshold, side="right"))
    small = settings.small_sample_rule and num_values < _SMALL_SAMPLE
    return fit_power_law(
        values,
        settings.xmin,
        xmin_pos=settings.xmin_pos,
        num_tail=settings.num_tail,
        min_tail=_SMALL_SAMPLE_MIN_TAIL if small else settings.min_tail,
        null_threshold=null_threshold,
        bias_correction=small,
    )


def _of_fit(fit: PowerLawFit, positive: FloatArray, settings: AnalysisSettings) -> dict[str, Any]:
    return {
        "alpha": fit.alpha,
        "alpha_std_error": fit.alpha_std_error,
        "xmin": fit.xmin,
        "xmax": fit.xmax,
        "num_tail": fit.num_tail,
        "ks_distance": fit.ks_distance,
        "fit_quality": "good" if fit.is_reliable else "poor",
        "label": _label(fit, settings),
        "alpha_hill": alpha_hill(positive),
    }


def _label(fit: PowerLawFit, settings: AnalysisSettings) -> str:
    if settings.labels_need_evidence and not (fit.is_reliable and fit.num_eigenvalues >= MIN_EVALS_FOR_LABEL):
        return ""
    if fit.alpha < OVER_TRAINED_BELOW:
        return "over-trained"
    return "under-trained" if fit.alpha > UNDER_TRAINED_ABOVE else ""
