"""Checks of what a recipe's method needs: its data, its task, its adapter."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spectra.training.data_files import Record
from spectra.training.meta_peft.tasks import read_tasks
from spectra.training.recipe.assembly.examples import run_examples
from spectra.training.recipe.checking.check_data import CLASSIFIERS, check_columns
from spectra.training.recipe.checking.findings import Findings
from spectra.training.recipe.parts import DataPart, Recipe

# How DCS compares answers, by task; as spectra.training.dcs.objective, which imports torch.
_CLASSES = ("argmax", "tv", "teacher_correct", "label")
DISCORDANCES: Mapping[str, tuple[str, ...]] = {
    "sequence-classification": _CLASSES,
    "regression": ("r2",),
    **dict.fromkeys(("causal-lm", "masked-lm", "seq2seq", "token-classification"), ("token",)),
}
# Of the trainer of meta-PEFT.
_NEEDS_LORA = "peft_ml"
_TASK_NAME = re.compile(r"[A-Za-z0-9_-]+")


def check_method(recipe: Recipe, task: str | None, found: Findings) -> None:
    """Check that a method has what it needs, and options that go with it.

    Args:
        recipe: The recipe.
        task: What the model is trained for, if that is known.
        found: What is wrong is added.
    """
    name, options = recipe.method.name, recipe.method.options
    if name == "meta_peft":
        _check_meta_peft(recipe, options, task, found)
    elif recipe.data.tasks is not None:
        found.add(f"tasks are for the method 'meta_peft', got '{name}'. Give data.train.", "data", "tasks")
    if name == "sdft" and task not in (None, "causal-lm"):
        found.add(
            f"'sdft' rewrites responses, which takes a model for the task 'causal-lm', and this one is for '{task}'. Choose "
            "another method or model.",
            "method",
            "name",
        )
    if name == "dcs":
        _check_discordance(options.get("discordance"), task, found)


def _check_discordance(word: str | None, task: str | None, found: Findings) -> None:
    known = DISCORDANCES.get(task or "")
    if word is not None and known is not None and word not in known:
        found.add(
            f"{word!r} ('label' is what label-boosting sets) is not for the task {task!r} of this model. Known there: "
            f"{', '.join(known)}.",
            "method",
            "discordance",
        )


def _check_meta_peft(recipe: Recipe, options: Mapping[str, Any], task: str | None, found: Findings) -> None:
    if options["method"] == _NEEDS_LORA and recipe.adapter.name == "none":
        found.add(f"the method '{_NEEDS_LORA}' trains an adapter for each task. Give adapter: lora.", "adapter", "name")
    if recipe.data.tasks is None:
        found.add("'meta_peft' trains on a folder of tasks. Give data.tasks in its place.", "data", "train")
        return
    before = len(found.sentences)
    tasks = _tasks(recipe.data, "tasks", "train", found)
    if tasks:
        _check_number(list(tasks), options.get("tasks_per_step"), found)
        _check_evaluated(recipe.data, list(tasks), found)
        _check_columns(recipe.data, tasks, found)
    if task is not None and len(found.sentences) == before:
        with found.of("data", "tasks"):
            run_examples(recipe, has_classes=task in CLASSIFIERS)


def _tasks(data: DataPart, option: str, split: str, found: Findings) -> dict[str, list[Record]]:
    with found.of("data", option):
        return read_tasks(str(data.tasks), split=split)
    return {}


def _check_number(tasks: Sequence[str], asked: int | None, found: Findings) -> None:
    if len(tasks) < 2:
        found.add(f"what tasks share takes at least 2, better 3 or more; got {len(tasks)}.", "data", "tasks")
    elif asked is not None and asked > len(tasks):
        found.add(f"{asked}, and there are {len(tasks)} tasks. Take {len(tasks)} at most.", "method", "tasks_per_step")
    wrong = next((task for task in tasks if not _TASK_NAME.fullmatch(task)), None)
    if wrong is not None:
        found.add(f"{wrong!r} cannot name an adapter. Use letters, digits, '_' and '-' only.", "data", "tasks")


def _check_evaluated(data: DataPart, tasks: Sequence[str], found: Findings) -> None:
    for use in ("eval", "test"):
        split = getattr(data, use)
        unknown = [task for task in _tasks(data, use, split, found) if task not in tasks] if split is not None else []
        if unknown:
            found.add(f"'{unknown[0]}' is no task. Each is evaluated with its own adapter: {', '.join(tasks)}.", "data", use)


def _check_columns(data: DataPart, tasks: Mapping[str, Sequence[Record]], found: Findings) -> None:
    """Say which columns the first of the tasks lacks: of the others it is said when that is corrected."""
    task, records = next(iter(tasks.items()))
    check_columns(data, Path(str(data.tasks), task), tuple(records[0]), found)
