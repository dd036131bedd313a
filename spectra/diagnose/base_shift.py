"""Spectra of what retraining added to a base: retrained minus pretrained, matrix by matrix, in float64.

Bases are matched and subtracted as :mod:`spectra.sources.pairs` does it, cut into the matrices of ``spectra.analyze``, and
decomposed by its two routes. What theory has to say of the numbers stands in :mod:`spectra.results.base_shift`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

from spectra.diagnose.change_spectrum import change_spectrum, energy_counts, unit_roundoff
from spectra.diagnose.distances import matrix_norm
from spectra.diagnose.layer import diagnosed, spectra_by_job
from spectra.diagnose.plan import plan_analysis
from spectra.diagnose.profiles import resolve_settings
from spectra.errors import InputError
from spectra.esd.spectrum import Spectrum
from spectra.matrices import WeightMatrices
from spectra.results.base_shift import BaseShift, MatrixChange
from spectra.results.records import LayerStatus, SkippedTensor
from spectra.results.settings import AnalysisSettings
from spectra.sources import Source
from spectra.sources.difference import without_base
from spectra.sources.pairs import ModelPair, is_parameter, pair_models

if TYPE_CHECKING:
    from spectra.sources.open import Model

_TOP = (1, 8, 64)  # our choice where nothing is known of the retraining


def base_shift(
    pretrained: Model,
    retrained: Model,
    *,
    num_tasks: int | None = None,
    rank: int | None = None,
    top: Sequence[int] | None = None,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
) -> BaseShift:
    r"""Compute the spectra of what retraining added to a base.

    With :math:`\sigma_i` the singular values of retrained minus pretrained, descending: the norm
    :math:`\sqrt{\sum_i \sigma_i^2}`, the stable rank :math:`\sum_i \sigma_i^2 / \sigma_1^2` and the energy in the top n
    directions, :math:`\sum_{i \le n} \sigma_i^2 / \sum_i \sigma_i^2`. None of the last two changes when both bases, or their
    difference, are multiplied by a number.

    Args:
        pretrained: Where retraining started: a path, a hub id, a live module or a mapping of tensors.
        retrained: Where it ended, of any of these kinds. It need not hold the same numbers in the same dtype, but ``rounding``
            of a row says what its own dtype may have added.
        num_tasks: Tasks of retraining, T.
        rank: Rank of their adapters, k; for other ways of retraining that of the adapters they are compared with.
        top: Numbers of singular values whose share of the energy is asked for. Default: k, kT and k(T+1) as far as they are
            known, else 1, 8 and 64. Shares of 1, 2, 4, 8, ... are kept in any case.
        include: Globs on names of layers or matrices of the pretrained base; only these are compared. Default: all.
        exclude: Globs of those that are left out, such as heads, which are often made anew.

    Returns:
        The shift. A matrix whose change has no spectrum is a row whose ``status`` says why; what only one base has, or has in
        another shape, is listed as skipped, or named in the notes where only the retrained one has it. Of a vocabulary that
        was added to, the rows are compared that both have.

    Raises:
        InputError: A number under 1, a base that is none, a pattern that matches nothing, or no matrix that both bases have.
        SourceError: A base cannot be read, or the two have no weight in common.

    Example:
        >>> import numpy as np
        >>> shift = base_shift({"fc.weight": np.eye(4)}, {"fc.weight": np.diag([3.0, 2.0, 1.0, 1.0])}, num_tasks=2, rank=1)
        >>> shift.matrices[0].stable_rank, shift.matrices[0].energy
        (1.25, {1: 0.8, 2: 1.0, 3: 1.0, 4: 1.0})
    """
    if top is not None and not isinstance(top, Iterable):
        raise InputError(f"top: expected whole numbers, such as (1, 8), got {top!r}.")
    _check_counts(num_tasks=num_tasks, rank=rank, **{f"top[{place}]": count for place, count in enumerate(top or ())})
    chosen = _known_counts(num_tasks, rank) if top is None else tuple(sorted(set(top)))
    _refuse_holders(pretrained=pretrained, retrained=retrained)
    pair = pair_models(pretrained, retrained)
    settings = resolve_settings("default", include=include, exclude=exclude)
    plan = plan_analysis(_changes(pair), settings)
    jobs = [job for job in plan.jobs if not job.tensor.no_base]
    lonely = [job.tensor for job in plan.jobs if job.tensor.no_base]
    if not jobs:
        raise InputError(
            f"no matrix of '{pair.before.location}' can be compared with '{pair.location}': '{lonely[0].name}': "
            f"{lonely[0].no_base}. Give two states of one base, or loosen include and exclude."
        )
    rows = tuple(_rows(jobs, pair, plan.settings, chosen))
    without_change = {t.name: SkippedTensor(t.name, t.shape, t.dtype, t.no_base or "") for t in lonely}  # parts once
    return BaseShift(
        pretrained=pair.before.location,
        retrained=pair.location,
        num_tasks=num_tasks,
        rank=rank,
        top=chosen,
        matrices=rows,
        skipped=(*without_change.values(), *plan.skipped),
        notes=pair.notes + _rounding_note(rows),
    )


def _check_counts(**counts: int | None) -> None:
    for name, count in counts.items():
        if count is not None and (not isinstance(count, int) or isinstance(count, bool) or count < 1):
            raise InputError(f"{name}: expected a whole number of at least 1, got {count!r}.")


def _refuse_holders(**bases: Any) -> None:
    for name, base in bases.items():
        if hasattr(getattr(base, "model", None), "named_modules") and not hasattr(base, "named_modules"):
            raise InputError(f"{name}: a {type(base).__name__} holds a model. Give its .model.")


def _known_counts(num_tasks: int | None, rank: int | None) -> tuple[int, ...]:
    if rank is None:
        return _TOP
    return (rank,) if num_tasks is None else tuple(sorted({rank, rank * num_tasks, rank * (num_tasks + 1)}))


def _changes(pair: ModelPair) -> Source:
    """Put the changes in the places of the pretrained weights, whose neighbours say how they are cut."""
    reason = f"'{pair.location}' has no weight of this name, or is an adapter that leaves it as it is"
    tensors = [
        pair.changes.get(tensor.name)
        or (without_base(tensor, reason) if is_parameter(tensor) and not tensor.tied_to else tensor)
        for tensor in pair.before.tensors
    ]
    return dataclasses.replace(pair.before, tensors=tuple(tensors))


def _rows(
    jobs: Sequence[WeightMatrices], pair: ModelPair, settings: AnalysisSettings, top: Sequence[int]
) -> Iterator[MatrixChange]:
    # A head that is tied before and not after has a change of its own, and so a norm before.
    every = dataclasses.replace(settings, include=(), exclude=(), count_ties=True)
    before = {job.matrix_name: job for job in plan_analysis(pair.before, every).jobs}
    largest = max(job.num_eigenvalues for job in jobs)
    counts = energy_counts(largest, top)
    found = spectra_by_job(jobs, settings)
    for job in jobs:
        row = MatrixChange(
            layer_name=job.layer_name,
            matrix_name=job.matrix_name,
            kind=job.kind,
            num_rows=job.num_rows,
            num_cols=job.num_cols,
            num_eigenvalues=job.num_eigenvalues,
            norm_before=_norm(before.get(job.matrix_name)),
            energy=dict.fromkeys(counts, math.nan),
        )
        spectrum = found.get(id(job))
        if isinstance(spectrum, Spectrum):
            yield _measured(row, job, spectrum, unit_roundoff(job, pair.after[job.tensor.name].dtype))
        else:
            failed, _ = diagnosed(job, spectrum, settings)
            yield dataclasses.replace(row, status=failed.status.value, notes=failed.notes)


def _norm(job: WeightMatrices | None) -> float:
    if job is None:  # cut otherwise before, by what a configuration or a live module says of it
        return math.nan
    return math.hypot(*(matrix_norm(read, (job.num_rows, job.num_cols)) for read in job.readers()))


def _measured(row: MatrixChange, job: WeightMatrices, spectrum: Spectrum, roundoff: float) -> MatrixChange:
    unmeasured = dataclasses.replace(row, notes="; ".join(filter(None, [job.tensor.note, job.note])))
    if spectrum.eigenvalues[-1] == 0.0:
        unchanged = LayerStatus.UNCHANGED.value
        return dataclasses.replace(unmeasured, norm_change=0.0, rounding=0.0, matrix_rank=0.0, status=unchanged)
    found = change_spectrum(spectrum, norm_before=row.norm_before, roundoff=roundoff, counts=tuple(row.energy))
    return dataclasses.replace(
        unmeasured,
        norm_change=found.norm,
        rounding=found.rounding,
        stable_rank=found.stable_rank,
        effective_rank=found.effective_rank,
        matrix_rank=math.nan if found.rank is None else float(found.rank),
        energy=found.energy,
    )


def _rounding_note(rows: Sequence[MatrixChange]) -> tuple[str, ...]:
    changed = [row for row in rows if row.status == LayerStatus.OK]
    doubtful = sum(not row.is_reliable for row in changed)
    if not doubtful:
        return ()
    return (f"of {doubtful} of {len(changed)} changes a tenth or more may be rounding to the dtype of the retrained weights",)
