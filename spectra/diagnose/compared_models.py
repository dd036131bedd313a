"""The models of a comparison, opened: each one's weights and changes, cut into the matrices of the base."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from spectra.diagnose.paired_jobs import in_place_of, jobs_by_name
from spectra.diagnose.plan import AnalysisPlan, model_info, plan_analysis
from spectra.matrices import WeightMatrices
from spectra.matrices.experts import expert_of
from spectra.results.comparison import ComparedModel
from spectra.results.records import ModelInfo
from spectra.results.settings import AnalysisSettings
from spectra.sources import Source, StoredTensor
from spectra.sources.difference import without_base
from spectra.sources.pairs import ModelPair, is_adapter, is_parameter, pair_models, pair_whole_models
from spectra.sources.training_checkpoints import step_of

if TYPE_CHECKING:
    from spectra.sources.open import Model


@dataclass(frozen=True)
class OtherModel:
    """A model beside the base.

    Attributes:
        info: What the comparison says of it.
        is_adapter: What is not among its changes is as in the base.
        after: Its matrices under the names of the base's.
        changes: Its differences from the base, likewise.
    """

    info: ComparedModel
    is_adapter: bool
    after: Mapping[str, WeightMatrices]
    changes: Mapping[str, WeightMatrices]


@dataclass(frozen=True)
class OpenedModels:
    """All models of a comparison.

    Attributes:
        base: The base.
        plan: Its matrices, those asked for.
        others: The models beside it.
    """

    base: ModelInfo
    plan: AnalysisPlan
    others: tuple[OtherModel, ...]


def open_models(base: Model, others: Sequence[Model], settings: AnalysisSettings, *, revision: bool) -> OpenedModels:
    """Open the models of a comparison.

    Args:
        base: Any model.
        others: At least one; adapters stand for the base with them, and beside a base that is one for their own with them.
        settings: Resolved settings.
        revision: Find out what changes when numbers may have.

    Returns:
        The models; nothing is read but what identifies them.

    Raises:
        InputError: Not a model, or a pattern that matches nothing.
        SourceError: Nothing there, damaged, or a model of which no weight fits the base.
    """
    pair = pair_whole_models if is_adapter(base) else pair_models
    pairs = [pair(base, other) for other in others]
    source = _untied(pairs)
    plan = plan_analysis(source, settings)
    every = dataclasses.replace(plan.settings, include=(), exclude=(), kinds=(), max_evals=None, max_side=None)
    names = unique_names(source.name, [(pair.name, pair.location) for pair in pairs])
    opened = tuple(_opened(source, pair, name, every, revision=revision) for pair, name in zip(pairs, names, strict=True))
    return OpenedModels(model_info(source, plan, revision=revision), plan, opened)


def unique_names(base: str, models: Sequence[tuple[str, str]]) -> list[str]:
    """Choose a name for each model that no other one has.

    Args:
        base: Name of the base.
        models: Name and location of each.

    Returns:
        Its name, or if that is taken its location, or its name with a number.
    """
    taken, chosen = {base}, []
    for name, location in models:
        numbered = (f"{name} ({number})" for number in range(2, len(models) + 3))
        chosen.append(next(choice for choice in (name, location, *numbered) if choice not in taken))
        taken.add(chosen[-1])
    return chosen


def _untied(pairs: Sequence[ModelPair]) -> Source:
    """Return the base, with a row for what is tied in it and has a change of its own in another model."""
    base = pairs[0].before
    moved = {name for pair in pairs for name in pair.changes}
    tensors = (dataclasses.replace(t, tied_to=None) if t.tied_to and t.name in moved else t for t in base.tensors)
    return dataclasses.replace(base, tensors=tuple(tensors))


def _opened(base: Source, pair: ModelPair, name: str, settings: AnalysisSettings, *, revision: bool) -> OtherModel:
    after = dataclasses.replace(
        in_place_of(base, pair.after), name=pair.name, location=pair.location, files=pair.files, notes=pair.notes
    )
    plan = plan_analysis(after, settings)
    found = model_info(after, plan, revision=revision)
    info = ComparedModel(
        name=name,
        location=pair.location,
        step=step_of(pair.location),
        fingerprint=found.fingerprint,
        revision=found.revision,
        notes=pair.notes,
    )
    stacks = _pooled(base, settings)
    replaced = _with_all_experts(base, pair) if stacks else pair.changes
    changes, ours = jobs_by_name(in_place_of(base, replaced), settings), {job.matrix_name: job for job in plan.jobs}

    def paired(jobs: Mapping[str, WeightMatrices], names: Collection[str]) -> dict[str, WeightMatrices]:
        return {n: job for n, job in jobs.items() if job.tensor.name in names or stacks.get(n) == job.num_matrices}

    return OtherModel(info, pair.is_adapter, paired(ours, pair.after), paired(changes, pair.changes))


def _pooled(base: Source, settings: AnalysisSettings) -> dict[str, int]:
    """Return the stacks of experts that are stored one by one, which no tensor has the name of, and how many are in each."""
    stored = {tensor.name for tensor in base.tensors}
    jobs = jobs_by_name(base, settings) if settings.moe == "pool" else {}
    return {name: job.num_matrices for name, job in jobs.items() if job.tensor.name not in stored}


def _with_all_experts(base: Source, pair: ModelPair) -> dict[str, StoredTensor]:
    """Return the changes so that those of experts stored one by one can be pooled: none is missing, and none is in factors."""
    missing = f"'{pair.location}' has no weight of this name"
    changes = dict(pair.changes)
    for tensor in base.tensors:
        if expert_of(tensor.name.removesuffix(".weight")) is None or not is_parameter(tensor):
            continue
        if found := changes.get(tensor.name):
            changes[tensor.name] = dataclasses.replace(found, factors=None)
        else:
            changes[tensor.name] = _without_change(tensor) if pair.is_adapter else without_base(tensor, missing)
    return changes


def _without_change(tensor: StoredTensor) -> StoredTensor:
    def zeros(start: int, stop: int) -> NDArray[np.float64]:
        return np.zeros((stop - start, *tensor.shape[1:]))

    return dataclasses.replace(tensor, read=zeros, factors=None, is_difference=True)
