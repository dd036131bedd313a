"""Checks of a recipe's adapter: modules that it is for, ranks that fit them, and plans that are of this model."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path

from spectra.errors import SourceError, did_you_mean
from spectra.policies.dropout_plan import DropoutPlan
from spectra.policies.plan import load_plan
from spectra.results.words import counted
from spectra.training.recipe.checking.findings import Findings
from spectra.training.recipe.checking.stored_model import HEADS, StoredModel, tail
from spectra.training.recipe.parts import ALL_LINEAR, AdapterPart, Recipe

MADE = ("alpha", "fisher")  # ranks that a run makes a plan of
# Weights of these are fused when the model is loaded, so that its modules have other names.
_STACKED = ".experts."


def check_adapter(recipe: Recipe, model: StoredModel | None, found: Findings) -> None:
    """Check the adapter.

    Args:
        recipe: The recipe.
        model: Its model, where it is at hand.
        found: What is wrong is added.
    """
    part = recipe.adapter
    if part.name == "none":
        return
    if find_spec("peft") is None:
        found.add('adapters need peft: pip install "spectra-nn[train]"', "adapter", "name")
    shapes = {} if model is None else _shapes(model)
    adapted = _check_targets(part, model, shapes, found) if shapes and model is not None else {}
    if part.ranks is None:
        _check_rank(part.rank, adapted, found, "adapter", "rank")
    elif part.ranks not in MADE:
        _check_plan(part.ranks, model, shapes, found)


def _shapes(model: StoredModel) -> Mapping[str, tuple[int, ...]]:
    """Return the shapes of matrices; none where they cannot be read, or are others when the model is loaded."""
    try:
        shapes = model.shapes
    except SourceError:
        return {}  # a fault of the model, which was told
    return {} if any(_STACKED in name for name in shapes) else shapes


def _check_targets(
    part: AdapterPart, model: StoredModel, shapes: Mapping[str, tuple[int, ...]], found: Findings
) -> dict[str, tuple[int, ...]]:
    """Return the matrices that are adapted, as far as targets are given by name."""
    if part.targets is None or part.targets == ALL_LINEAR:
        return {}
    adapted: dict[str, tuple[int, ...]] = {}
    for target in part.targets:
        matching = {name: shape for name, shape in shapes.items() if _ends_alike(name, target)}
        adapted |= matching
        if not matching and target.rpartition(".")[2] not in HEADS:
            known = sorted({last for name in shapes if not (last := name.rpartition(".")[2]).isdigit()})
            hint = did_you_mean(target, known)
            found.add(
                f"no module of '{model.name}' is called '{target}'.{hint} Known: {', '.join(known[:30])}.",
                "adapter",
                "targets",
            )
    return adapted


def _ends_alike(name: str, target: str) -> bool:
    """Say whether a module may be meant; what stands before changes with the head of a model."""
    return f".{name}".endswith(f".{target}") or f".{target}".endswith(f".{name}")


def _check_rank(rank: int, adapted: Mapping[str, tuple[int, ...]], found: Findings, *key: str) -> None:
    small = [(name, shape) for name, shape in adapted.items() if min(shape) < rank]
    if small:
        name, shape = min(small, key=lambda one: min(one[1]))
        found.add(
            f"{rank} is above what {counted(len(small), 'module')} can have, such as '{name}' of shape {shape}. Take at most "
            f"{min(shape)}, or other targets.",
            *key,
        )


def _check_plan(plan: str, model: StoredModel | None, shapes: Mapping[str, tuple[int, ...]], found: Findings) -> None:
    key = ("adapter", "ranks")
    if not Path(plan).expanduser().exists() and os.sep not in plan and (hint := did_you_mean(plan, MADE)):
        found.add(f"no file '{plan}'.{hint} Give a plan of ranks, or one of {', '.join(MADE)}.", *key)
        return
    with found.of(*key):
        read = load_plan(plan)
        if isinstance(read, DropoutPlan) or read.target != "adapter_rank":
            found.add(f"'{plan}' is a plan of another policy. Make one: spectra plan MODEL --policy adapter-rank", *key)
            return
        read.lora_arguments()
        ranks = {layer: int(rank) for layer, rank in read.by_layer().items() if rank}
        if model is None or not shapes or _check_layers(list(ranks), plan, model, shapes, found):
            return
        by_tail = {tail(name): shape for name, shape in shapes.items()}
        for layer, rank in ranks.items():
            _check_rank(rank, {layer: by_tail[tail(layer)]}, found, *key)


def _check_layers(
    layers: Sequence[str], plan: str, model: StoredModel, shapes: Mapping[str, tuple[int, ...]], found: Findings
) -> bool:
    """Say whether layers are missing, and add that."""
    here = {tail(name) for name in shapes}
    missing = [layer for layer in layers if tail(layer) not in here]
    if missing:
        found.add(
            f"'{plan}' is of another model: '{model.name}' lacks {len(missing)} of its {counted(len(layers), 'layer')}, such "
            f"as '{missing[0]}'. Make one of this model: spectra plan.",
            "adapter",
            "ranks",
        )
    return bool(missing)
