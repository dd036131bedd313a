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

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, ResultsError
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
from spectra.policies.plan_request import (
    OPTIONS,
    check_fisher_file,
    check_globs,
    check_map,
    check_options,
    check_preset,
    only_fisher,
    refuse_fisher,
)
from spectra.policies.planned_report import Progress, layer_notes, planned_report
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

POLICIES = tuple(OPTIONS)
# Of adapter-rank: the larger half of each spectrum, as in arXiv 2410.10054 and its code.
_RANK_ANALYSIS = {"profile": "tempbalance"}
_MEAN_RANK = 8.0  # peft's usual rank
_HEADS = UnitPolicy(exclude=HEADS)


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
            ``guided-dropout`` nothing, or the Fisher; beside ``fisher`` it is not looked at, as the Fisher alone decides.
        fisher: A Fisher, or its file. For ``guided-dropout``; for ``adapter-rank``, whose scores it makes in place of spectra.
        policy: ``tempbalance``, ``alphadecay``, ``alphapruning``, ``adapter-rank`` or ``guided-dropout``.
        preset: A named set of options, or the options themselves: of ``SCALE_PRESETS`` or ``SPARSITY_PRESETS`` in
            :mod:`spectra.policies.presets`. Default: ``recommended``; ``alphadecay`` for that policy.
        progress: As in ``spectra.analyze``.
        **options: Changes to the preset. ``exclude`` adds globs to those of the preset (output layers, as a rule), and an empty
            one, ``()``, takes these away, too; each has to match a layer.

            * ``tempbalance`` and ``alphadecay``, see :class:`~spectra.policies.learning_rate.ScalePolicy`: ``metric``,
              ``unit``, ``kinds``, ``exclude``, ``remove_first``, ``remove_last``, ``hill_convention``, ``winsorize``,
              ``analysis``, ``map``, ``r_min``, ``r_max``, ``s_below``, ``s_above``, ``tau``, ``normalize``.
            * ``alphapruning``, see :class:`~spectra.policies.sparsity.SparsityPolicy`: ``sparsity``, which it needs;
              ``metric``, ``unit``, ``kinds``, ``exclude``, ``remove_first``, ``remove_last``, ``hill_convention``,
              ``winsorize``, ``analysis``, ``epsilon``, ``max_sparsity``, ``allocation``.
            * ``adapter-rank``, see :func:`~spectra.policies.adapter_rank.adapter_ranks`: ``mean_rank`` (8 unless there is a
              budget), ``budget``, ``min_rank``, ``max_rank``, ``power``, ``unit``, ``exclude``.
            * ``guided-dropout``, see :func:`~spectra.policies.dropout_plan.dropout_plan`: ``p_upper``, ``p_lower``, ``rule``,
              ``mean_p``, ``p_cap``, ``control``, ``seed``, ``aggregate``, ``include``, ``exclude`` (of sites).

    Returns:
        The plan.

    Raises:
        InputError: An unknown policy, preset or option; an option of another policy or map; something that the policy needs is
            missing, or it does not use; a Fisher in place of a model; a glob that matches no layer.

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
    check_options(word, options)
    if preset is not None and word in ("adapter-rank", GUIDED_DROPOUT):
        raise InputError(f"preset: the policy '{word}' has none. Leave it out.")
    if word == GUIDED_DROPOUT:
        return dropout_plan(only_fisher(model, fisher), **options)
    if model is None:
        raise InputError(f"the policy '{word}' needs a model, or the result folder of its analysis.")
    refuse_fisher(model)
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
    check_preset(policy, preset, [name for name, fits in known.items() if fits], ScalePolicy)
    settings = scale_policy(preset, **_with_presets_globs(scale_policy(preset), changes))
    check_map(settings.map, changes)
    report, notes = planned_report(model, settings.analysis, progress)
    check_globs(_given_globs(changes), (row.layer_name for row in report.layers))
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
        notes=(*notes, *layer_notes(report, found.left_out)),
        **_identity(report),
    )


def _sparsity_plan(
    model: Report | Model, preset: Any, progress: Progress | None, *, sparsity: float | None = None, **changes: Any
) -> Plan:
    check_preset("alphapruning", preset, list(SPARSITY_PRESETS), SparsityPolicy)
    settings = sparsity_policy(preset, **_with_presets_globs(sparsity_policy(preset), changes))
    if sparsity is None:
        raise InputError("the policy 'alphapruning' needs sparsity, the share of all weights that is set to zero, such as 0.5.")
    report, notes = planned_report(model, settings.analysis, progress)
    check_globs(_given_globs(changes), (row.layer_name for row in report.layers))
    found = layer_sparsities(report.layers, sparsity, settings)
    return Plan(
        policy="alphapruning",
        target="sparsity",
        values={unit: found.units.get(unit, 0.0) for unit in found.members},
        scores=found.scores,
        settings={"sparsity": found.sparsity, **settings.to_dict()},
        members=found.members,
        left_out=found.left_out,
        notes=(*notes, *layer_notes(report, found.left_out)),
        **_identity(report),
    )


def _rank_plan(
    model: Report | Model,
    fisher: Fisher | str | os.PathLike[str] | None,
    progress: Progress | None,
    *,
    unit: Any = None,
    exclude: str | Sequence[str] | None = None,
    **limits: Any,
) -> Plan:
    if fisher is not None and unit is not None:
        raise InputError("unit: ranks from a Fisher are by layer. Leave one of the two out.")
    changes = {} if exclude is None else {"exclude": exclude}
    globs = _with_presets_globs(_HEADS, changes).get("exclude", HEADS)
    check_fisher_file(fisher)
    report, notes = planned_report(model, _RANK_ANALYSIS, progress)
    check_globs(_given_globs(changes), (row.layer_name for row in report.layers))
    of_file: dict[str, str] = {}
    if fisher is None:
        unit, metric, power = unit or UnitKind.BLOCK, "alpha", SPECTRAL_POWER
        scores = spectral_rank_scores(report.layers, unit=unit, exclude=globs)
    else:
        unit, metric, power = UnitKind.LAYER, "fisher_trace", FISHER_POWER
        measured = fisher if isinstance(fisher, Fisher) else load_fisher(fisher)
        scores = fisher_rank_scores(measured, report.layers, exclude=globs, model=report.model.name)
        of_file = {} if isinstance(fisher, Fisher) else {"fisher": fisher_fingerprint(fisher)}
        notes = ()  # no fit has a part in it
    given = {"mean_rank": _MEAN_RANK} if limits.keys().isdisjoint(("mean_rank", "budget")) else {}
    limits = {"power": power, **given, **limits}
    found = adapter_ranks(scores, adapter_shapes(report.layers), **limits)
    left_out = unit_scores(report.layers, unit=unit, kinds="linear", exclude=globs).left_out
    left_out = {layer: reason for layer, reason in left_out.items() if layer not in found.ranks}
    spent = {"budget": found.budget, "num_params": found.num_params}
    unit_name = getattr(unit, "__qualname__", unit)  # of a function
    return Plan(
        policy="adapter-rank",
        target="adapter_rank",
        values=found.ranks,
        scores=found.scores,
        settings={"metric": metric, "unit": unit_name, "exclude": globs, **limits, **spent, **of_file},
        members={layer: (layer,) for layer in found.ranks},
        left_out=left_out,
        notes=(*notes, *layer_notes(report, left_out)),
        **_identity(report),
    )


def _given_globs(changes: Mapping[str, Any]) -> tuple[str, ...]:
    return UnitPolicy(exclude=changes.get("exclude", ())).exclude


def _with_presets_globs(preset: UnitPolicy, changes: Mapping[str, Any]) -> dict[str, Any]:
    """Add globs to those of the preset, so that who leaves out one layer does not let the head in; none takes all away."""
    given = _given_globs(changes)
    return {**changes, "exclude": (*preset.exclude, *given)} if given else dict(changes)


def _identity(report: Report) -> dict[str, str]:
    return {"model": report.model.name, "fingerprint": report.model.fingerprint}


def _check_units(report: Report, members: Mapping[str, Any]) -> None:
    if not members:
        raise InputError(
            f"no layer of '{report.model.name}' belongs to a unit, so that there is nothing to plan. Loosen kinds and exclude; "
            "unit='layer' needs no blocks."
        )
