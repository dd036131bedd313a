"""Plans: one number per unit of a model, and all that says where it comes from; saved, read, edited and applied.

| policy | number | what applies it |
|---|---|---|
| ``tempbalance`` | multiplier of the learning rate | ``spectra.training`` |
| ``alphadecay`` | multiplier of the weight decay | ``spectra.training`` |
| ``alphapruning`` | share of the weights that are set to zero | ``spectra prune`` |
| ``adapter-rank`` | rank of a LoRA adapter | ``peft.LoraConfig`` |
| ``guided-dropout`` | drop probability of a site: a :class:`~spectra.policies.dropout_plan.DropoutPlan` | ``GuidedDropout`` |
"""

from __future__ import annotations

import dataclasses
import inspect
import os
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, ResultsError, did_you_mean
from spectra.policies.adapter_rank import (
    FISHER_POWER,
    SPECTRAL_POWER,
    adapter_ranks,
    adapter_shapes,
    fisher_rank_scores,
    spectral_rank_scores,
)
from spectra.policies.drop_prob import chosen
from spectra.policies.dropout_plan import POLICY as GUIDED_DROPOUT
from spectra.policies.dropout_plan import DropoutPlan, dropout_plan, dropout_plan_of
from spectra.policies.learning_rate import ScalePolicy, unit_scales
from spectra.policies.plan_checks import TARGETS, plan_faults
from spectra.policies.plan_file import read_plan_file
from spectra.policies.plan_record import NOUNS, PLAN_SCHEMA_VERSION, Plan
from spectra.policies.planned_report import Progress, planned_report
from spectra.policies.presets import SCALE_PRESETS, SPARSITY_PRESETS, scale_policy, sparsity_policy
from spectra.policies.sparsity import SparsityPolicy, layer_sparsities
from spectra.policies.units import HEADS, UnitKind, UnitPolicy, unit_scores
from spectra.results.fisher import Fisher
from spectra.results.fisher_store import fisher_fingerprint, load_fisher

if TYPE_CHECKING:
    from spectra.results.report import Report
    from spectra.sources.open import Model

__all__ = [
    # plans
    "NOUNS", "POLICIES", "Plan", "load_plan", "plan",
]  # fmt: skip

POLICIES = (*TARGETS, GUIDED_DROPOUT)


def _keywords(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY)


def _fields(options: type[UnitPolicy]) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(options) if f.name not in ("name", "target"))


# Options by policy, from their only definitions.
_OPTIONS = {
    "tempbalance": _fields(ScalePolicy),
    "alphadecay": _fields(ScalePolicy),
    "alphapruning": ("sparsity", *_fields(SparsityPolicy)),
    "adapter-rank": (*_keywords(adapter_ranks), *_keywords(spectral_rank_scores)),
    GUIDED_DROPOUT: _keywords(dropout_plan),
}
# Of adapter-rank: the larger half of each spectrum, as in arXiv 2410.10054 and its code.
_RANK_ANALYSIS = {"profile": "tempbalance"}
_MEAN_RANK = 8.0  # peft's usual rank


def plan(
    model: Report | Model | None = None,
    fisher: Fisher | str | os.PathLike[str] | None = None,
    *,
    policy: str = "tempbalance",
    preset: str | ScalePolicy | SparsityPolicy | None = None,
    progress: Progress | None = None,
    **options: Any,
) -> Plan | DropoutPlan:
    """Plan one number per unit of a model: a learning rate, weight decay, sparsity, adapter rank or drop probability.

    Args:
        model: A report or its result folder, whose rows are used as they are; the plan notes settings in which they differ from
            those that the policy asks for. Or what ``spectra.analyze`` takes: it is analysed as the policy asks for. For
            ``guided-dropout`` nothing, or the Fisher.
        fisher: A Fisher, or its file. For ``guided-dropout``; for ``adapter-rank``, whose scores it makes in place of spectra.
        policy: ``tempbalance``, ``alphadecay``, ``alphapruning``, ``adapter-rank`` or ``guided-dropout``.
        preset: A named set of options, or the options themselves: of ``SCALE_PRESETS`` or ``SPARSITY_PRESETS`` in
            :mod:`spectra.policies.presets`. Default: ``recommended``; ``alphadecay`` for that policy.
        progress: As in ``spectra.analyze``.
        **options: Changes to the preset: of ``tempbalance`` and ``alphadecay`` the fields of
            :class:`~spectra.policies.learning_rate.ScalePolicy`; of ``alphapruning`` those of
            :class:`~spectra.policies.sparsity.SparsityPolicy` and ``sparsity``, which it needs. Of ``adapter-rank`` the
            keywords of :func:`~spectra.policies.adapter_rank.adapter_ranks`, with a ``mean_rank`` of 8 unless a budget is
            given, and those of :func:`~spectra.policies.adapter_rank.spectral_rank_scores`. Of ``guided-dropout`` the
            keywords of :func:`~spectra.policies.dropout_plan.dropout_plan`.

    Returns:
        The plan.

    Raises:
        InputError: An unknown policy, preset or option; an option of another policy; something that the policy needs is
            missing, or it does not use.

    Example:
        >>> import numpy as np
        >>> rng = np.random.default_rng(0)
        >>> light, heavy = rng.standard_normal((60, 60)), rng.standard_normal((60, 60)) / np.arange(1, 61)
        >>> model = {"layers.0.fc.weight": light, "layers.1.fc.weight": heavy}
        >>> made = plan(model, policy="alphapruning", sparsity=0.5)
        >>> {unit: round(value, 3) for unit, value in made.values.items()}
        {'layers.0': 0.65, 'layers.1': 0.35}
    """
    word = chosen(policy, POLICIES, "policy")
    _check_options(word, options)
    if preset is not None and word in ("adapter-rank", GUIDED_DROPOUT):
        raise InputError(f"preset: the policy '{word}' has none. Leave it out.")
    if word == GUIDED_DROPOUT:
        return dropout_plan(_only_fisher(model, fisher), **options)
    if model is None:
        raise InputError(f"the policy '{word}' needs a model, or the result folder of its analysis.")
    if word == "adapter-rank":
        return _rank_plan(model, fisher, progress, **options)
    if fisher is not None:
        raise InputError(f"fisher: the policy '{word}' is made of spectra alone. Leave it out.")
    if word == "alphapruning":
        return _sparsity_plan(model, preset or "recommended", progress, **options)
    return _scale_plan(model, word, preset or ("alphadecay" if word == "alphadecay" else "recommended"), progress, options)


def load_plan(path: str | os.PathLike[str]) -> Plan | DropoutPlan:
    """Read a plan of any policy, and refuse what is not one: a slip of the pen in a file edited by hand is an error.

    Args:
        path: What ``plan.save`` or ``spectra plan -o`` wrote, YAML or JSON.

    Returns:
        The plan; a :class:`~spectra.policies.dropout_plan.DropoutPlan` for the policy ``guided-dropout``.

    Raises:
        ResultsError: The file is missing, no YAML or JSON, or of another schema version; it has a key too much or too few, a
            value that cannot be, or units without layers. All faults are named, with their lines in YAML.
    """
    file = read_plan_file(path, "a plan", "Make one: spectra plan MODEL -o plan.yaml")
    content = file.content
    if not isinstance(content, dict) or not {"policy", "rates", "values"} & content.keys():
        raise ResultsError(f"'{file.path}' is no plan. Make one: spectra plan MODEL -o plan.yaml")
    if content.get("policy", GUIDED_DROPOUT) == GUIDED_DROPOUT:
        return dropout_plan_of(file)
    version = content.get("schema_version")
    if version != PLAN_SCHEMA_VERSION:
        raise ResultsError(
            f"'{file.path}' has schema_version {version}, a plan has {PLAN_SCHEMA_VERSION}. Make it again: spectra plan"
        )
    faults = [*file.doubled, *plan_faults(content, file.lines)]
    if faults:
        raise ResultsError(f"'{file.path}' is no plan: {'; '.join(faults)}. Correct the file, or make it again.")
    fields = {name: value for name, value in content.items() if name != "schema_version"}
    number = int if content["target"] == "adapter_rank" else float
    return Plan(
        **fields
        | {
            "values": {unit: number(value) for unit, value in content["values"].items()},
            "members": {unit: tuple(layers) for unit, layers in content["members"].items()},
            "notes": tuple(content["notes"]),
        }
    )


def _scale_plan(model: Report | Model, policy: str, preset: Any, progress: Progress | None, changes: Mapping[str, Any]) -> Plan:
    known = {name: scales.target == TARGETS[policy] for name, scales in SCALE_PRESETS.items()}
    _check_preset(policy, preset, [name for name, fits in known.items() if fits], ScalePolicy)
    settings = scale_policy(preset, **changes)
    report, notes = planned_report(model, settings.analysis, progress)
    found = unit_scales(report.layers, settings)
    _check_units(report, found.members)
    if not found.scores:
        notes = (*notes, f"no unit has the metric '{settings.metric}', so that all values are 1")
    return Plan(
        policy=policy,
        target=str(settings.target),
        values=found.scales,
        scores=found.scores,
        settings=settings.to_dict(),
        members=found.members,
        left_out=found.left_out,
        notes=notes,
        **_identity(report),
    )


def _sparsity_plan(
    model: Report | Model, preset: Any, progress: Progress | None, *, sparsity: float | None = None, **changes: Any
) -> Plan:
    _check_preset("alphapruning", preset, list(SPARSITY_PRESETS), SparsityPolicy)
    settings = sparsity_policy(preset, **changes)
    if sparsity is None:
        raise InputError("the policy 'alphapruning' needs sparsity, the share of all weights that is set to zero, such as 0.5.")
    report, notes = planned_report(model, settings.analysis, progress)
    found = layer_sparsities(report.layers, sparsity, settings)
    return Plan(
        policy="alphapruning",
        target="sparsity",
        values={unit: found.units.get(unit, 0.0) for unit in found.members},
        scores=found.scores,
        settings={"sparsity": found.sparsity, **settings.to_dict()},
        members=found.members,
        left_out=found.left_out,
        notes=notes,
        **_identity(report),
    )


def _rank_plan(
    model: Report | Model,
    fisher: Fisher | str | os.PathLike[str] | None,
    progress: Progress | None,
    *,
    unit: Any = None,
    exclude: str | Sequence[str] = HEADS,
    **limits: Any,
) -> Plan:
    if fisher is not None and unit is not None:
        raise InputError("unit: ranks from a Fisher are by layer. Leave one of the two out.")
    report, notes = planned_report(model, _RANK_ANALYSIS, progress)
    of_file: dict[str, str] = {}
    if fisher is None:
        unit, metric, power = unit or UnitKind.BLOCK, "alpha", SPECTRAL_POWER
        scores = spectral_rank_scores(report.layers, unit=unit, exclude=exclude)
    else:
        unit, metric, power = UnitKind.LAYER, "fisher_trace", FISHER_POWER
        scores = fisher_rank_scores(
            fisher if isinstance(fisher, Fisher) else load_fisher(fisher), report.layers, exclude=exclude
        )
        of_file = {} if isinstance(fisher, Fisher) else {"fisher": fisher_fingerprint(fisher)}
        notes = ()  # no fit has a part in it
    given = {"mean_rank": _MEAN_RANK} if limits.keys().isdisjoint(("mean_rank", "budget")) else {}
    limits = {"power": power, **given, **limits}
    found = adapter_ranks(scores, adapter_shapes(report.layers), **limits)
    left_out = unit_scores(report.layers, unit=unit, kinds="linear", exclude=exclude).left_out
    spent = {"budget": found.budget, "num_params": found.num_params}
    unit_name = getattr(unit, "__qualname__", unit)  # of a function
    return Plan(
        policy="adapter-rank",
        target="adapter_rank",
        values=found.ranks,
        scores=found.scores,
        settings={"metric": metric, "unit": unit_name, "exclude": exclude, **limits, **spent, **of_file},
        members={layer: (layer,) for layer in found.ranks},
        left_out={layer: reason for layer, reason in left_out.items() if layer not in found.ranks},
        notes=notes,
        **_identity(report),
    )


def _identity(report: Report) -> dict[str, str]:
    return {"model": report.model.name, "fingerprint": report.model.fingerprint}


def _only_fisher(model: object, fisher: object) -> Fisher | str | os.PathLike[str]:
    given = [value for value in (model, fisher) if value is not None]
    if len(given) != 1 or not isinstance(given[0], Fisher | str | os.PathLike):
        raise InputError(
            f"the policy '{GUIDED_DROPOUT}' needs a Fisher, or its file, and nothing else. Make one: spectra fisher MODEL "
            "--data FILE -o fisher.safetensors"
        )
    return given[0]


def _check_options(policy: str, options: Mapping[str, Any]) -> None:
    for name in options:
        owners = [other for other, names in _OPTIONS.items() if name in names]
        if owners and policy not in owners:
            raise InputError(f"the policy '{policy}' has no option '{name}': that is for {', '.join(owners)}.")
        if not owners:
            known = _OPTIONS[policy]
            raise InputError(f"unknown option {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")


def _check_preset(policy: str, preset: Any, known: list[str], kind: type[UnitPolicy]) -> None:
    if isinstance(preset, str) and preset not in known:
        raise InputError(f"'{policy}' has no preset '{preset}'.{did_you_mean(preset, known)} It has: {', '.join(known)}.")
    if not isinstance(preset, str | kind):
        raise InputError(f"preset: expected a {kind.__name__}, or one of {', '.join(known)}, got {preset!r}.")


def _check_units(report: Report, members: Mapping[str, Any]) -> None:
    if not members:
        raise InputError(
            f"no layer of '{report.model.name}' belongs to a unit, so that there is nothing to plan. Loosen kinds and exclude; "
            "unit='layer' needs no blocks."
        )
