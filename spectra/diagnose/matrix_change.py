"""Matrices of a base beside those of other models: their rows of a comparison, with spectra and directions of the changes."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectra.diagnose.change_spectrum import change_spectrum, energy_counts, rounding_errors, unit_roundoff
from spectra.diagnose.compared_models import OtherModel
from spectra.diagnose.distances import matrix_norm
from spectra.diagnose.kept_grams import KeptGrams
from spectra.diagnose.layer import batches, diagnose_layers
from spectra.diagnose.matrix_view import MatrixView, is_flipped, matrix_view
from spectra.diagnose.rescaling import beside_matrix
from spectra.diagnose.spectra_of_changes import settings_of_changes, spectra_of_changes
from spectra.diagnose.verdicts import judged
from spectra.errors import NonFiniteWeightsError
from spectra.esd.eigenvalues import MATRIX_ERRORS, FloatArray
from spectra.esd.intruders import new_directions
from spectra.esd.low_rank import low_rank_spectrum, low_rank_vectors
from spectra.esd.spectrum import Spectrum
from spectra.esd.subspaces import SingularBasis, SingularVectors, principal_angles
from spectra.matrices import WeightMatrices
from spectra.results.comparison import NO_COUNTERPART, Intruder, MatrixComparison, change_key
from spectra.results.comparison_store import FinishedMatrix
from spectra.results.records import LayerDiagnostics, LayerStatus
from spectra.results.settings import AnalysisSettings

Arrays = dict[str, FloatArray]
Diagnosed = Mapping[int, tuple[LayerDiagnostics, FloatArray | None]]


@dataclass(frozen=True)
class Asked:
    """What is asked of every matrix.

    Attributes:
        settings: Of the analyses before and after.
        num_directions: Size of the leading subspaces.
        intruder_threshold: Cosine under which a leading singular vector is new.
        device: Where spectra are computed; singular vectors on the CPU.
    """

    settings: AnalysisSettings
    num_directions: int
    intruder_threshold: float
    device: str = "cpu"


@dataclass(frozen=True)
class _Found:
    """What is known of the matrices of a batch, by the identity of their jobs."""

    before: Diagnosed
    after: Diagnosed
    spectra: Mapping[int, Spectrum | Exception]
    grams: KeptGrams


@dataclass(frozen=True)
class _Twin:
    """A matrix of another model that changed by a known amount, and is to be decomposed."""

    job: WeightMatrices
    row: MatrixComparison
    after: WeightMatrices
    change: WeightMatrices


def compare_matrices(batch: Sequence[WeightMatrices], *, others: Sequence[OtherModel], asked: Asked) -> list[FinishedMatrix]:
    """Compare matrices of the base with their counterparts; what is wrong with one becomes its status.

    The base is decomposed once for all other models, and a matrix that did not change not again.

    Args:
        batch: Of the base, not yet read; several must be of one smaller side, as :func:`spectra.diagnose.layer.batches` has it.
        others: The other models.
        asked: What to compute.

    Returns:
        For each matrix its rows.
    """
    grams = KeptGrams()
    before = _diagnosed(batch, asked, grams)
    first = [[_first_look(job, before[id(job)][0], other) for other in others] for job in batch]
    twins = [found for looks in first for found in looks if isinstance(found, _Twin)]
    after = _diagnosed([twin.after for twin in twins], asked, grams)
    as_they_are = settings_of_changes(asked.settings)
    spectra = spectra_of_changes([twin.change for twin in twins], as_they_are, device=asked.device, grams=grams)
    found = _Found(before, after, spectra, grams)
    return [_compared(job, found, looks, asked) for job, looks in zip(batch, first, strict=True)]


def _compared(job: WeightMatrices, found: _Found, looks: Sequence[_Twin | MatrixComparison], asked: Asked) -> FinishedMatrix:
    base = _Base(job, found, asked)
    rows: list[MatrixComparison] = []
    arrays: Arrays = {}
    for look in looks:
        if isinstance(look, _Twin):
            try:
                row, parts = _decomposed(look, found, base, asked)
            except MATRIX_ERRORS as error:
                row, parts = judged(_failed(look.row, error)), {}
            arrays |= {change_key(row.model, row.matrix_name, part): array for part, array in parts.items()}
        else:
            row = judged(look)
        rows.append(row)
    return FinishedMatrix(tuple(rows), arrays)


def _first_look(job: WeightMatrices, before: LayerDiagnostics, other: OtherModel) -> _Twin | MatrixComparison:
    """Tell what did not change, or cannot be compared, from what is to be decomposed."""
    row = MatrixComparison(
        model=other.info.name,
        layer_name=job.layer_name,
        matrix_name=job.matrix_name,
        kind=job.kind,
        num_rows=job.num_rows,
        num_cols=job.num_cols,
        num_eigenvalues=job.num_eigenvalues,
        num_params=job.num_params,
        before=before,
    )
    try:
        after, change = other.after.get(job.matrix_name), other.changes.get(job.matrix_name)
        if change is None or after is None:
            return _without_counterpart(row, job, other)
        if change.tensor.no_base:
            status = LayerStatus.UNREADABLE.value if after.tensor.unreadable else NO_COUNTERPART
            return dataclasses.replace(row, status=status, notes=change.tensor.no_base)
        notes = "; ".join(filter(None, [change.tensor.note, change.note]))
        norm = _norm_of_change(change)
        row = dataclasses.replace(row, notes=notes, norm_before=_norm(job), norm_change=norm)
    except MATRIX_ERRORS as error:
        return _failed(row, error)
    if norm == 0.0:
        same = dataclasses.replace(before, dtype=after.tensor.dtype, quantized=after.tensor.quantized)
        return dataclasses.replace(row, status=LayerStatus.UNCHANGED.value, **_STILL, after=same)
    if math.isnan(norm):
        return _failed(row, NonFiniteWeightsError("NaN or infinite weights"))
    return _Twin(job, row, after, change)


# What is known of a change of nothing.
_STILL: dict[str, Any] = {"norm_change": 0.0, "rounding": 0.0, "change_spectral_norm": 0.0, "change_rank": 0, "scale": 1.0}


def _without_counterpart(row: MatrixComparison, job: WeightMatrices, other: OtherModel) -> MatrixComparison:
    if other.is_adapter:
        return dataclasses.replace(row, status=LayerStatus.UNCHANGED.value, **_STILL, norm_before=_norm(job), after=row.before)
    reason = f"'{other.info.location}' has no such weight, or it is cut into other matrices"
    return dataclasses.replace(row, status=NO_COUNTERPART, notes=reason)


def _failed(row: MatrixComparison, error: Exception) -> MatrixComparison:
    status = LayerStatus.NONFINITE if isinstance(error, NonFiniteWeightsError) else LayerStatus.UNREADABLE
    return dataclasses.replace(row, status=status.value, notes=str(error) or type(error).__name__)


def _decomposed(twin: _Twin, known: _Found, base: _Base, asked: Asked) -> tuple[MatrixComparison, Arrays]:
    row, spectrum = dataclasses.replace(twin.row, after=known.after[id(twin.after)][0]), known.spectra[id(twin.change)]
    if isinstance(spectrum, Exception):
        return judged(_failed(row, spectrum)), {}
    dtype = twin.after.tensor.dtype
    found = change_spectrum(
        spectrum,
        norm_before=row.norm_before,
        roundoff=unit_roundoff(twin.change, dtype),
        counts=energy_counts(row.num_eigenvalues),
    )
    beside = beside_matrix(twin.change, twin.after, rounding_errors(dtype, twin.job.tensor.dtype))
    row = dataclasses.replace(
        row,
        rounding=found.rounding,
        scale=beside.scale,
        scale_share=beside.scale_share,
        change_spectral_norm=found.spectral_norm,
        change_stable_rank=found.stable_rank,
        change_effective_rank=found.effective_rank,
        change_rank=found.rank,
        energy=found.energy,
    )
    arrays: Arrays = {"eigenvalues": spectrum.eigenvalues}
    both = {"before": known.before[id(twin.job)][1], "after": known.after[id(twin.after)][1]}
    arrays |= {when: values for when, values in both.items() if values is not None}
    if base.view is not None:
        row, directions = _with_directions(row, twin, spectrum, known, base, asked)
        arrays |= directions
    return judged(row, is_rounding=beside.is_rounding), arrays


def _with_directions(
    row: MatrixComparison, twin: _Twin, spectrum: Spectrum, known: _Found, base: _Base, asked: Asked
) -> tuple[MatrixComparison, Arrays]:
    flipped = is_flipped(twin.job, twin.after)
    swapped = twin.job.is_transposed != flipped
    rows = None if flipped else twin.change.num_rows  # of a vocabulary that was added to, what both have
    view = matrix_view(twin.after, rows=rows, is_swapped=swapped)
    changed = matrix_view(twin.change, is_swapped=swapped)
    if view is None or changed is None:
        return row, {}
    before_view, basis, before = base.of(rows)
    after = view.basis(known.after[id(twin.after)][1], known.grams.of(twin.after, view.shape)).leading(asked.num_directions)
    k = min(len(before.values), len(after.values))
    left, right = ((before.of(before_view.side(side))[:, :k], after.of(view.side(side))) for side in ("left", "right"))
    new = new_directions(
        left[1], basis, before.of(before_view.side("left")), threshold=asked.intruder_threshold, side=before_view.side("left")
    )
    row = dataclasses.replace(
        row,
        num_directions=k,
        principal_angles_left=tuple(principal_angles(left[0], left[1][:, :k]).tolist()),
        principal_angles_right=tuple(principal_angles(right[0], right[1][:, :k]).tolist()),
        intruders=tuple(
            Intruder(position=place, singular_value=float(after.values[place]), similarity=cosine)
            for place, cosine in new.items()
            if k  # beside a zero matrix everything is new, which says nothing
        ),
    )
    gram = known.grams.of(twin.change, changed.shape)
    of_change = _vectors_of_change(changed, spectrum, gram, asked.num_directions)
    return row, {
        "left": of_change.of(changed.side("left")),
        "singular_values": of_change.values,
        "right": of_change.of(changed.side("right")),
    }


def _vectors_of_change(view: MatrixView, spectrum: Spectrum, gram: tuple[FloatArray, float] | None, k: int) -> SingularVectors:
    if view.factors is not None:
        return low_rank_vectors(*view.factors(), k)
    return view.basis(spectrum.eigenvalues, gram).leading(k)


class _Base:
    """The base's side of one matrix, decomposed at the first model that asks and then kept for the others."""

    def __init__(self, job: WeightMatrices, known: _Found, asked: Asked) -> None:
        self.view = matrix_view(job)
        self._job, self._known, self._asked = job, known, asked
        self._found: dict[int, tuple[MatrixView, SingularBasis, SingularVectors]] = {}

    def of(self, rows: int | None) -> tuple[MatrixView, SingularBasis, SingularVectors]:
        """Return the matrix, or its first rows, with all and with its leading singular vectors."""
        view = matrix_view(self._job, rows=rows)
        assert view is not None
        if view.shape[0] not in self._found:
            basis = view.basis(self._known.before[id(self._job)][1], self._known.grams.of(self._job, view.shape))
            self._found[view.shape[0]] = (view, basis, basis.leading(self._asked.num_directions))
        return self._found[view.shape[0]]


def _diagnosed(jobs: Sequence[WeightMatrices], asked: Asked, grams: KeptGrams) -> Diagnosed:
    return {
        id(job): found
        for group in batches(jobs)
        for job, found in zip(group, diagnose_layers(group, asked.settings, device=asked.device, grams=grams), strict=True)
    }


def _norm(job: WeightMatrices) -> float:
    return math.hypot(*(matrix_norm(read, (job.num_rows, job.num_cols)) for read in job.readers()))


def _norm_of_change(job: WeightMatrices) -> float:
    if job.tensor.factors is None:
        return _norm(job)
    return math.sqrt(sum(float(low_rank_spectrum(*factors).eigenvalues.sum()) for factors in job.factors()))
