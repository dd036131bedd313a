"""The models of a comparison, opened: each one's weights and changes, cut into the matrices of the base."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from spectra.diagnose.paired_jobs import in_place_of, jobs_by_name
from spectra.diagnose.plan import AnalysisPlan, model_info, plan_analysis
from spectra.matrices import WeightMatrices
from spectra.results.comparison import ComparedModel
from spectra.results.records import ModelInfo
from spectra.results.settings import AnalysisSettings
from spectra.sources import Source
from spectra.sources.pairs import ModelPair, is_adapter, pair_models, pair_whole_models
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
    changes = jobs_by_name(in_place_of(base, pair.changes), settings)
    changes = {name: job for name, job in changes.items() if job.tensor.name in pair.changes}
    ours = {job.matrix_name: job for job in plan.jobs if job.tensor.name in pair.after}
    return OtherModel(info, pair.is_adapter, ours, changes)
