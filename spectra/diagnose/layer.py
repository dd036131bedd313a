"""Weights → their rows of the report: spectrum, fit, metrics, label, and what went wrong."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any, cast

import numpy as np

from spectra.errors import NonFiniteWeightsError, SpectraError, TooFewEigenvaluesError
from spectra.esd.eigenvalues import (
    MATRIX_ERRORS,
    AnyArray,
    FloatArray,
    Method,
    Precision,
    ReadRows,
    Spectrum,
    pool,
    spectra_together,
    stack_size,
)
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


def diagnose_layers(
    batch: Sequence[WeightMatrices], settings: AnalysisSettings
) -> list[tuple[LayerDiagnostics, FloatArray | None]]:
    """Analyse weights. What is wrong with one becomes its status; nothing is raised for it.

    Args:
        batch: Not yet read. Several dense weights must have equal smaller sides; see :func:`batches`.
        settings: Resolved settings.

    Returns:
        For each weight its row, and the eigenvalues of all its matrices: shape ``(num_eigenvalues,)``, ascending, times
        ``conv_norm`` for convolutions; ``None`` where there is no spectrum.
    """
    readable = [m for m in batch if not m.tensor.unreadable and m.num_eigenvalues]
    spectra = dict(zip(map(id, readable), _spectra_of(readable, settings), strict=True))
    return [_diagnosed(matrices, spectra.get(id(matrices)), settings) for matrices in batch]


def batches(jobs: Iterable[WeightMatrices]) -> list[list[WeightMatrices]]:
    """Group weights whose matrices are better decomposed together.

    Args:
        jobs: In any order.

    Returns:
        Batches of dense weights of equal, small smaller side; every other weight by itself.
    """
    result: list[list[WeightMatrices]] = []
    open_batches: dict[int, list[WeightMatrices]] = {}
    for job in jobs:
        small = min(job.num_rows, job.num_cols)
        size = stack_size(small) if len(job.tensor.shape) == 2 else 1
        batch = open_batches.get(small) if size > 1 else None
        if batch is None or len(batch) == size:
            batch = []
            result.append(batch)
            if size > 1:
                open_batches[small] = batch
        batch.append(job)
    return result


def _spectra_of(batch: Sequence[WeightMatrices], settings: AnalysisSettings) -> Iterator[Spectrum | Exception]:
    together = partial(spectra_together, precision=cast(Precision, settings.precision), method=cast(Method, settings.method))
    if all(len(matrices.tensor.shape) == 2 for matrices in batch):
        yield from together((matrices.tensor.read, (matrices.num_rows, matrices.num_cols)) for matrices in batch)
        return
    for matrices in batch:
        try:
            shape = (matrices.num_rows, matrices.num_cols)
            parts: list[Spectrum] = []
            for part in together((_rows_of(matrix), shape) for matrix in read_matrices(matrices)):
                if isinstance(part, Exception):
                    raise part
                parts.append(part)
            yield pool(parts, max(shape)).scaled(settings.conv_norm)
        except MATRIX_ERRORS as error:
            yield error


def _diagnosed(
    matrices: WeightMatrices, found: Spectrum | Exception | None, settings: AnalysisSettings
) -> tuple[LayerDiagnostics, FloatArray | None]:
    row = _known_before_reading(matrices)
    if matrices.tensor.unreadable:
        return dataclasses.replace(row, status=LayerStatus.META, notes="a shape without numbers: load the weights first"), None
    if found is None:
        return dataclasses.replace(row, status=LayerStatus.EMPTY), None
    if isinstance(found, Exception):
        nonfinite = isinstance(found, NonFiniteWeightsError)
        status = LayerStatus.NONFINITE if nonfinite else LayerStatus.UNREADABLE
        reason = str(found) if isinstance(found, SpectraError) else f"{type(found).__name__}: {found}".rstrip(": ")
        return dataclasses.replace(row, status=status, notes=reason), None
    return _described(row, found, matrices, settings), found.eigenvalues


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
