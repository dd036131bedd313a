"""Checks of a recipe's diagnostics: plans of guided dropout that are of this model, and policies that have something to do."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from spectra.errors import InputError, SourceError
from spectra.policies.drop_prob import check_rates
from spectra.policies.dropout_plan import DropoutPlan, load_dropout_plan
from spectra.policies.plan_file import read_plan_file
from spectra.results.words import counted
from spectra.training.recipe.checking.findings import Findings
from spectra.training.recipe.checking.stored_model import HEADS, StoredModel, tail
from spectra.training.recipe.parts import GuidedDropoutPart, Recipe

_CONTROL = ("diagnostics", "guided_dropout", "control")
_PLAN = ("diagnostics", "guided_dropout", "plan")
_IN_CHECKPOINTS = "guided_dropout.json"  # as spectra.training.guided_dropout, which imports torch
# Optimizers of transformers that change weights while gradients are computed: there are no groups to multiply in.
_WITHOUT_GROUPS = ("lomo", "adalomo")
_LAYERWISE = "layerwise"


def check_diagnostics(recipe: Recipe, model: StoredModel | None, found: Findings) -> None:
    """Check the diagnostics at work in training.

    Args:
        recipe: The recipe.
        model: Its model, where it is at hand.
        found: What is wrong is added.
    """
    part, training = recipe.diagnostics, recipe.training
    if part.alphadecay is not None and training.weight_decay == 0.0:
        found.add(
            "it multiplies training.weight_decay, which is 0. Give one, such as 0.01, or leave this out.",
            "diagnostics",
            "alphadecay",
        )
    for name in ("tempbalance", "alphadecay"):
        if getattr(part, name) is not None and (training.optim in _WITHOUT_GROUPS or training.optim.endswith(_LAYERWISE)):
            found.add(
                f"'{training.optim}' has no parameter groups to multiply in. Choose another training.optim, such as sgd.",
                "diagnostics",
                name,
            )
    if part.guided_dropout is not None and part.guided_dropout.plan is not None:
        _check_plan(part.guided_dropout, model, found)


def _check_plan(part: GuidedDropoutPart, model: StoredModel | None, found: Findings) -> None:
    with found.of(*_PLAN):
        given = str(part.plan)
        plan = _read(Path(given).expanduser())
        sites = list(plan.rates if isinstance(plan, DropoutPlan) else plan)
        if model is not None:
            _check_sites(given, sites, model, found)
        if part.control == "guided":
            return
        if not isinstance(plan, DropoutPlan):
            found.add(f"'{given}' holds rates alone, and a control is made of a plan. Leave it out.", *_CONTROL)
            return
        with found.of(*_CONTROL):
            plan.with_control(part.control, seed=part.seed)


def _read(path: Path) -> DropoutPlan | Mapping[str, float]:
    """Read a plan as ``GuidedDropout`` does: a file, a folder of a checkpoint, or nothing but rates."""
    file = path / _IN_CHECKPOINTS if path.is_dir() else path
    content = read_plan_file(file, "a dropout plan", "Make one with dropout_plan.").content
    if not (isinstance(content, dict) and set(content) == {"rates"} and isinstance(content["rates"], dict)):
        return load_dropout_plan(file)
    check_rates(content["rates"], f"'{file}', rates")
    if not content["rates"]:
        raise InputError(f"'{file}', rates: there is no site. Give at least one drop probability.")
    return content["rates"]


def _check_sites(plan: str, sites: Sequence[str], model: StoredModel, found: Findings) -> None:
    blocks = _blocks(model)
    missing = [site for site in sites if (block := _block(site)) is not None and block not in blocks]
    if blocks and missing:
        found.add(
            f"'{plan}' is of another model: '{model.name}' lacks {len(missing)} of its {counted(len(sites), 'site')}, such as "
            f"'{missing[0]}'. Make one of this model: spectra plan.",
            *_PLAN,
        )


def _blocks(model: StoredModel) -> set[str]:
    """Return the blocks of a model: of a site, which has no weight of its own, no more can be told."""
    try:
        return {block for name in model.shapes if (block := _block(name)) is not None}
    except SourceError:
        return set()  # a fault of the model, which was told


def _block(name: str) -> str | None:
    container, *parts = tail(name).split(".")
    return f"{container}.{parts[0]}" if parts and container not in HEADS else None
