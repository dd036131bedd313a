"""Weights → their rows of the report: spectrum, fit, metrics, label, and what went wrong."""

from __future__ import annotations

import dataclasses
import math
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from spectra.diagnose.fit_arguments import fit_arguments, is_round_off, null_threshold_of
from spectra.diagnose.further import further_columns
from spectra.diagnose.kept_grams import KeptGrams
from spectra.diagnose.spectra_of import Found, spectra_of, with_replicas
from spectra.diagnose.thresholds import LABELLED_STRATEGIES, MIN_EVALS_FOR_LABEL, OVER_TRAINED_BELOW, UNDER_TRAINED_ABOVE
from spectra.errors import NonFiniteWeightsError, SpectraError, TooFewEigenvaluesError
from spectra.esd.accelerator import CPU
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.hill import alpha_hill
from spectra.esd.norms import log10_alpha_norm, norm_metrics, spectral_entropy
from spectra.esd.power_law import PowerLawFit, fit_power_law
from spectra.esd.spectrum import Spectrum
from spectra.esd.stacks import stack_size_on
from spectra.matrices import WeightMatrices
from spectra.results.records import LayerDiagnostics, LayerStatus
from spectra.results.settings import AnalysisSettings


def diagnose_layers(
    batch: Sequence[WeightMatrices], settings: AnalysisSettings, *, device: str = "cpu", grams: KeptGrams | None = None
) -> list[tuple[LayerDiagnostics, FloatArray | None]]:
    """Analyse weights. What is wrong with one becomes its status; nothing is raised for it.

    Args:
        batch: Not yet read. Several dense weights must have equal smaller sides; see :func:`batches`.
        settings: Resolved settings.
        device: Where Gram matrices are computed and solved.
        grams: Keeps the Gram matrices of weights that are one matrix. Default: none are kept.

    Returns:
        For each weight its row, and the eigenvalues that its fit was made on: shape ``(num_eigenvalues,)``, ascending,
        times ``conv_norm`` for convolutions; ``None`` where there is no spectrum.
    """
    readable = [m for m in batch if not (m.tensor.unreadable or m.tensor.no_base) and m.num_eigenvalues]
    found = list(spectra_of(readable, settings, device=device, grams=grams))
    if settings.randomize:
        found = with_replicas(readable, found, settings, device=device)
    spectra = dict(zip(map(id, readable), found, strict=True))
    return [diagnosed(matrices, spectra.get(id(matrices)), settings) for matrices in batch]


def batches(
    jobs: Iterable[WeightMatrices], seats: Sequence[str] = (CPU,), precision: str = "float64"
) -> list[list[WeightMatrices]]:
    """Group weights whose matrices are better decomposed together.

    Args:
        jobs: In any order.
        seats: The device of each worker thread. On others than the CPU each gets a share of the weights of one size.
        precision: Arithmetic of a device.

    Returns:
        Batches of dense weights of equal, small smaller side; every other weight by itself.
    """
    jobs = list(jobs)
    dense = Counter(_smaller_side(job) for job in jobs if job.is_single)
    result: list[list[WeightMatrices]] = []
    open_batches: dict[int, list[WeightMatrices]] = {}
    room: dict[int, int] = {}
    for job in jobs:
        small = _smaller_side(job)
        if job.is_single and small not in room:
            largest = min(stack_size_on(device, (job.num_rows, job.num_cols), precision) for device in set(seats))
            room[small] = largest if CPU in seats else min(largest, -(-dense[small] // len(seats)))
        size = room[small] if job.is_single else 1
        batch = open_batches.get(small) if size > 1 else None
        if batch is None or len(batch) == size:
            batch = []
            result.append(batch)
            if size > 1:
                open_batches[small] = batch
        batch.append(job)
    return result


def _smaller_side(job: WeightMatrices) -> int:
    return min(job.num_rows, job.num_cols)


def spectra_by_job(
    jobs: Iterable[WeightMatrices], settings: AnalysisSettings, *, device: str = "cpu", grams: KeptGrams | None = None
) -> dict[int, Spectrum | Exception]:
    """Decompose weights of any shapes.

    Args:
        jobs: Not yet read.
        settings: Resolved settings.
        device: Where Gram matrices are computed and solved.
        grams: Keeps the Gram matrices of weights that are one matrix. Default: none are kept.

    Returns:
        By the identity of a job, as those of two models have the same names: its spectrum, or what went wrong with it.
        Nothing for one without eigenvalues.
    """
    return {
        id(job): found if isinstance(found, Exception) else found.whole
        for batch in batches(job for job in jobs if job.num_eigenvalues)
        for job, found in zip(batch, spectra_of(batch, settings, device=device, grams=grams), strict=True)
    }


def diagnosed(
    matrices: WeightMatrices, found: Found | Exception | None, settings: AnalysisSettings
) -> tuple[LayerDiagnostics, FloatArray | None]:
    """Turn the spectra of a weight into its row.

    Args:
        matrices: The weight.
        found: Its spectra; what went wrong; or ``None`` where it has none.
        settings: Resolved settings.

    Returns:
        As :func:`diagnose_layers`, for one weight.
    """
    row = known_before_reading(matrices)
    if matrices.tensor.no_base:
        return dataclasses.replace(row, status=LayerStatus.NO_BASE, notes=matrices.tensor.no_base), None
    if matrices.tensor.unreadable:
        return dataclasses.replace(row, status=LayerStatus.META, notes="a shape without numbers: load the weights first"), None
    if found is None:
        return dataclasses.replace(row, status=LayerStatus.EMPTY), None
    if isinstance(found, Exception):
        nonfinite = isinstance(found, NonFiniteWeightsError)
        status = LayerStatus.NONFINITE if nonfinite else LayerStatus.UNREADABLE
        reason = str(found) if isinstance(found, SpectraError) else f"{type(found).__name__}: {found}".rstrip(": ")
        return dataclasses.replace(row, status=status, notes=reason), None
    return _described(row, found, matrices, settings), found.fitted.eigenvalues


def names_of(m: WeightMatrices) -> dict[str, Any]:
    """Return the columns of a row that tell of the weight at hand, and that no number depends on."""
    return {
        "layer_name": m.layer_name,
        "matrix_name": m.matrix_name,
        "kind": m.kind,
        "part": m.part,
        "expert": m.expert,
        "stack": m.stack,
        "tied_to": ", ".join(m.tied_names),
    }


def known_before_reading(m: WeightMatrices) -> LayerDiagnostics:
    """Return the row of a weight with what its name, shape and dtype tell, and no numbers."""
    small, large = sorted((m.num_rows, m.num_cols))
    return LayerDiagnostics(
        **names_of(m),
        dtype=m.tensor.dtype,
        is_transposed=m.is_transposed,
        num_rows=m.num_rows,
        num_cols=m.num_cols,
        num_matrices=m.num_matrices,
        num_params=m.num_params,
        aspect_ratio=large / small if small else math.nan,
        num_eigenvalues=m.num_eigenvalues,
        status=LayerStatus.OK,
        quantized=m.tensor.quantized,
    )


def _described(row: LayerDiagnostics, found: Found, matrices: WeightMatrices, settings: AnalysisSettings) -> LayerDiagnostics:
    result, values = found.whole, found.whole.eigenvalues
    null_threshold = null_threshold_of(result, settings)
    num_null = int(np.searchsorted(values, null_threshold, side="right"))
    rank = result.rank if result.rank is not None else len(values) - num_null
    changes: dict[str, Any] = dataclasses.asdict(norm_metrics(values))
    changes |= {
        "num_eigenvalues": len(values),
        "matrix_rank": result.rank,
        "rank_loss": result.rank_loss,
        "entropy": spectral_entropy(values, rank, epsilon=settings.entropy_epsilon) if values[-1] > 0.0 else math.nan,
        "num_null": num_null,
        "method": result.method,
        "decomposition_dtype": result.precision,
    }
    if settings.sv_min_over_matrices == "max":
        changes["sv_min"] = math.sqrt(float(result.smallest.max()))
    notes = [note for note in (matrices.tensor.note, matrices.note, result.note, *found.notes) if note]
    if result.rank is None:
        changes["sv_min"] = math.nan
        notes.append("ranks and sv_min are under the resolution of the Gram matrix; method 'svd' gives them")

    fit: PowerLawFit | None = None
    status, reason = _reason_without_fit(matrices, values, settings)
    if status is LayerStatus.OK:
        try:
            arguments = fit_arguments(found.fitted, settings)
            fit = fit_power_law(found.fitted.eigenvalues, settings.xmin, num_matrices=found.num_pooled, **arguments)
        except TooFewEigenvaluesError as error:
            status, reason = LayerStatus.NO_TAIL, str(error)
        if fit is not None and not settings.inverse and is_round_off(fit.xmin, found.fitted):
            status, reason, fit = LayerStatus.NO_TAIL, "the tail would begin among eigenvalues that are round-off of zero", None
    if reason:
        notes.append(reason)
    if fit is not None:
        positive = found.fitted.eigenvalues[fit.num_null :]
        changes |= _of_fit(fit, positive, settings, is_independent=found.is_independent)
        if matrices.tensor.is_difference or matrices.tensor.factors is not None:
            changes["label"] = ""  # a change is not a layer: how well it is trained is not its question
        if not settings.inverse:
            changes["log10_alpha_norm"] = log10_alpha_norm(values, fit.alpha)
            changes["alpha_weighted"] = fit.alpha * changes["log10_lambda_max"]
        notes += [] if settings.inverse else fit.notes
    if status not in (LayerStatus.ZERO, LayerStatus.UNCHANGED, LayerStatus.DEPTHWISE):
        further, more_notes = further_columns(matrices, found, fit, settings)
        changes |= further
        notes += more_notes
    return dataclasses.replace(row, **changes, status=status, notes="; ".join(notes))


def _reason_without_fit(matrices: WeightMatrices, values: FloatArray, settings: AnalysisSettings) -> tuple[LayerStatus, str]:
    if values[-1] == 0.0:
        return LayerStatus.UNCHANGED if matrices.tensor.is_difference else LayerStatus.ZERO, ""
    if matrices.is_depthwise:
        return LayerStatus.DEPTHWISE, ""
    if len(values) < settings.min_evals:
        return LayerStatus.TOO_FEW_EVALS, f"fewer than {settings.min_evals} eigenvalues"
    return LayerStatus.OK, ""


def _of_fit(fit: PowerLawFit, positive: FloatArray, settings: AnalysisSettings, *, is_independent: bool) -> dict[str, Any]:
    is_reliable = fit.is_reliable and is_independent
    return {
        "alpha": fit.alpha,
        "alpha_std_error": fit.alpha_std_error,
        "xmin": fit.xmin,
        "xmax": fit.xmax,
        "num_tail": fit.num_tail,
        "ks_distance": fit.ks_distance,
        # What reliability is measured against, the edge of random spectra, has no counterpart among inverses.
        "fit_quality": "" if settings.inverse else "good" if is_reliable else "poor",
        "label": _label(fit, settings, is_reliable=is_reliable),
        "alpha_hill": alpha_hill(positive),
        "num_fingers": fit.num_fingers,
        "raw_alpha": fit.raw_alpha,
    }


def _label(fit: PowerLawFit, settings: AnalysisSettings, *, is_reliable: bool) -> str:
    if settings.inverse:  # another question: small eigenvalues
        return ""
    if settings.labels_need_evidence:
        # The thresholds were found with tails that a search had chosen: the upper half of a random spectrum has alpha 2.1.
        is_searched = fit.strategy in LABELLED_STRATEGIES and settings.subsample == "none"
        if not (is_searched and is_reliable and fit.num_eigenvalues >= MIN_EVALS_FOR_LABEL):
            return ""
    if fit.alpha < OVER_TRAINED_BELOW:
        return "over-trained"
    return "under-trained" if fit.alpha > UNDER_TRAINED_ABOVE else ""
