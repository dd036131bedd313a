r"""How far each matrix of a model moved in training: :math:`\|\Delta W\|_F` beside the spectrum before and after.

Norms are computed in float64, of a low-rank change from the triangular factors of two QR decompositions
(:mod:`spectra.esd.low_rank`), without the product. Spectra are those of ``spectra.analyze``: the same matrices, the same
settings; matrices that did not change are not analysed.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import closing
from functools import partial
from typing import Any

from spectra.diagnose.distances import matrix_norm
from spectra.diagnose.engines import local
from spectra.diagnose.layer import batches, diagnose_layers
from spectra.diagnose.paired_jobs import in_place_of, jobs_by_name
from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.work import Progress
from spectra.errors import NonFiniteWeightsError
from spectra.esd.gram import ReadRows
from spectra.esd.low_rank import low_rank_spectrum
from spectra.matrices import WeightMatrices
from spectra.results.model_shift import MatrixShift, ModelShift
from spectra.results.records import LayerDiagnostics, LayerStatus
from spectra.results.settings import AnalysisSettings
from spectra.sources import StoredTensor
from spectra.sources.difference import counted, some
from spectra.sources.pairs import ModelPair

# What a row shows of both spectra.
_COLUMNS = ("alpha", "alpha_std_error", "ks_distance", "fit_quality", "stable_rank", "spectral_norm")


def weight_shift(
    pair: ModelPair,
    settings: AnalysisSettings,
    *,
    spectra: bool = True,
    device: str = "cpu",
    workers: int = 1,
    progress: Callable[[Progress], None] | None = None,
) -> ModelShift:
    """Measure how far the weights of a model moved.

    Args:
        pair: The model before and after.
        settings: Resolved settings of the analysis; they also say into which matrices weights are cut, and which get a row.
        spectra: Analyse the matrices that changed, before and after.
        device: Where spectra are computed.
        workers: Threads that compute them.
        progress: Called after each matrix analysed.

    Returns:
        The shift, without divergence.

    Raises:
        SourceError: The model has no weight that could be analysed, or one cannot be read.
        InputError: A pattern of ``include`` or ``exclude`` that matches no layer, or nothing left.
    """
    plan = plan_analysis(pair.before, settings)
    of_change = {name: frobenius_norm(tensor) for name, tensor in pair.changes.items()}
    of_weight = {tensor.name: frobenius_norm(tensor) for tensor in pair.parameters}
    moved = [job for job in plan.jobs if of_change.get(job.tensor.name, 0.0) != 0.0]
    every = dataclasses.replace(plan.settings, include=(), exclude=())
    changes = jobs_by_name(in_place_of(pair.before, pair.changes), every)
    rows = [_row(job, changes.get(job.matrix_name), pair, of_weight, of_change) for job in moved]
    if spectra:
        after = jobs_by_name(in_place_of(pair.before, pair.after), every)
        twins = [after[job.matrix_name] for job in moved if job.matrix_name in after]
        found = _diagnosed([*moved, *twins], plan.settings, device, workers, progress)
        rows = [_with_spectra(row, job, after, found) for row, job in zip(rows, moved, strict=True)]
    known = {name: norm for name, norm in of_change.items() if not pair.changes[name].no_base}
    return ModelShift(
        seed=pair.before.location,
        tuned=pair.location,
        norm_before=_together(of_weight.values()),
        norm_change=_together(known.values()),
        num_params=sum(tensor.size for tensor in pair.parameters),
        num_unchanged=len(plan.jobs) - len(moved),
        matrices=tuple(rows),
        settings=plan.settings.to_dict() if spectra else {},
        notes=pair.notes + _not_compared(pair),
    )


def frobenius_norm(tensor: StoredTensor) -> float:
    """Compute the norm of a tensor in float64, by blocks of rows; of a low-rank one from its factors.

    Args:
        tensor: Of any number of dimensions.

    Returns:
        The norm; NaN where there is nothing to read, or an entry is not finite.
    """
    if tensor.unreadable or tensor.no_base:
        return math.nan
    if tensor.factors is not None:
        return _low_rank_norm(*tensor.factors())
    rows = tensor.shape[0] if tensor.shape else 1
    return _block_norm(tensor.read, (rows, math.prod(tensor.shape[1:])))


def _matrix_norm(job: WeightMatrices, of_tensor: float) -> float:
    """Compute the norm of a part of a tensor; that of the whole is known."""
    if math.isnan(of_tensor) or job.num_params == job.tensor.size:
        return of_tensor
    if job.tensor.factors is not None:
        return _together([_low_rank_norm(*factors) for factors in job.factors()])
    return _together([_block_norm(read, (job.num_rows, job.num_cols)) for read in job.readers()])


def _low_rank_norm(left: Any, right: Any) -> float:
    try:
        return math.sqrt(float(low_rank_spectrum(left, right).eigenvalues.sum()))
    except NonFiniteWeightsError:
        return math.nan


def _block_norm(read: ReadRows, shape: tuple[int, int]) -> float:
    def flat(start: int, stop: int) -> Any:
        return read(start, stop).reshape(stop - start, -1)

    return matrix_norm(flat, shape)


def _together(norms: Iterable[float]) -> float:
    return math.hypot(*norms)


def _row(
    job: WeightMatrices,
    change: WeightMatrices | None,
    pair: ModelPair,
    of_weight: Mapping[str, float],
    of_change: Mapping[str, float],
) -> MatrixShift:
    name = job.tensor.name
    added = pair.changes[name]
    return MatrixShift(
        layer_name=job.layer_name,
        matrix_name=job.matrix_name,
        kind=job.kind,
        num_params=job.num_params,
        norm_before=_matrix_norm(job, of_weight[name] if name in of_weight else frobenius_norm(job.tensor)),
        norm_change=math.nan if change is None else _matrix_norm(change, of_change[name]),
        notes=added.no_base or added.note,
    )


def _with_spectra(
    row: MatrixShift, job: WeightMatrices, after: Mapping[str, WeightMatrices], found: Mapping[int, LayerDiagnostics]
) -> MatrixShift:
    twin = after.get(job.matrix_name)
    pairs = {"before": found[id(job)], "after": found[id(twin)] if twin else None}
    values = {f"{name}_{when}": getattr(one, name) for when, one in pairs.items() if one for name in _COLUMNS}
    reasons = [f"{when}: {one.notes or one.status}" for when, one in pairs.items() if one and one.status != LayerStatus.OK]
    return dataclasses.replace(row, **values, notes="; ".join(filter(None, [row.notes, *reasons])))


def _diagnosed(
    jobs: Sequence[WeightMatrices],
    settings: AnalysisSettings,
    device: str,
    workers: int,
    progress: Callable[[Progress], None] | None,
) -> dict[int, LayerDiagnostics]:
    """Analyse matrices; return their rows by the identity of the job, as both models have the same names."""
    found: dict[int, LayerDiagnostics] = {}
    total, done = max(sum(job.flops for job in jobs), 1.0), 0.0
    diagnose = partial(diagnose_layers, settings=settings, device=device)
    with closing(local.run(diagnose, batches(jobs), cost=lambda batch: sum(j.flops for j in batch), workers=workers)) as run:
        for batch, results in run:
            for job, (row, _) in zip(batch, results, strict=True):
                found[id(job)] = row
                done += job.flops
                if progress:
                    progress(Progress(job.layer_name, len(found), len(jobs), min(done / total, 1.0)))
    return found


def _not_compared(pair: ModelPair) -> tuple[str, ...]:
    names = [name for name, change in pair.changes.items() if change.no_base]
    if not names:
        return ()
    return (f"{counted(names)} not compared: {some(names)}; {pair.changes[names[0]].no_base}",)
