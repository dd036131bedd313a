"""Checks of how a recipe trains: options of ``TrainingArguments`` that exclude each other, or that there are none of."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from spectra.errors import did_you_mean
from spectra.training.recipe.checking.findings import Findings
from spectra.training.recipe.parts import Recipe

_LANGUAGE = ("perplexity",)
# As spectra.training.recipe.assembly.run_metrics, which imports torch; a test compares them.
METRICS: Mapping[str, tuple[str, ...]] = {
    "sequence-classification": ("accuracy", "f1", "matthews"),
    "token-classification": ("accuracy", "f1"),
    "regression": ("pearson", "spearman"),
    "causal-lm": _LANGUAGE,
    "masked-lm": _LANGUAGE,
    "seq2seq": _LANGUAGE,
}
# Known to be optimizers of transformers, so that it need not be imported to know; a test looks there.
USUAL_OPTIMIZERS = ("adamw_torch", "adamw_torch_fused", "adafactor", "sgd")
_PLATEAU = "reduce_lr_on_plateau"
_WITH_LOWEST = ("cosine_with_min_lr", "cosine_warmup_with_min_lr")
_LOWEST = ("min_lr", "min_lr_rate")
_DEFAULT_SAVE_STEPS = 500  # transformers


def check_training(recipe: Recipe, task: str | None, num_train: int | None, found: Findings) -> None:
    """Check the options of training; transformers is asked last, and only about options that are given.

    Args:
        recipe: The recipe.
        task: What the model is trained for, if that is known.
        num_train: Examples to train on, if that is known.
        found: What is wrong is added.
    """
    _check_evaluation(recipe, found)
    _check_metric(recipe, task, found)
    _check_warmup(recipe, num_train, found)
    _check_schedule(recipe, found)
    if recipe.method.name == "meta_peft":
        _check_meta_peft(recipe, found)
    if find_spec("transformers") is not None:
        _ask_transformers(recipe, found)


def _check_evaluation(recipe: Recipe, found: Findings) -> None:
    part = recipe.training
    if recipe.data.eval is None:
        for name in ("eval_strategy", "eval_steps", "metric_for_best_model"):
            if getattr(part, name) not in (None, "no"):
                found.add("there is no data.eval to evaluate on. Give it, or leave this out.", "training", name)
    elif part.metric_for_best_model is not None and part.save_strategy == "steps":
        saved, evaluated = part.save_steps or _DEFAULT_SAVE_STEPS, part.eval_steps or part.logging_steps
        are_whole = saved >= 1 and evaluated >= 1
        if (saved < 1) != (evaluated < 1) or (are_whole and saved % evaluated):
            found.add(
                f"the best state is one that is evaluated: expected a multiple of eval_steps, {evaluated}, got {saved}.",
                "training",
                "save_steps",
            )


def _check_metric(recipe: Recipe, task: str | None, found: Findings) -> None:
    name = recipe.training.metric_for_best_model
    if name is None or task is None or recipe.method.name == "meta_peft":  # whose metrics are by task
        return
    known = ("loss", *METRICS[task])
    if name.removeprefix("eval_") not in known:
        found.add(
            f"task '{task}' has no metric '{name}'.{did_you_mean(name, known)} Known: {', '.join(known)}.",
            "training",
            "metric_for_best_model",
        )


def _check_warmup(recipe: Recipe, num_train: int | None, found: Findings) -> None:
    part, data = recipe.training, recipe.data
    steps = part.max_steps
    if steps is None and num_train is not None and part.num_train_epochs is not None:
        # On one device: on more there are fewer.
        of_step = part.per_device_train_batch_size * part.gradient_accumulation_steps
        steps = math.ceil(math.ceil(min(num_train, data.train_size or num_train) / of_step) * part.num_train_epochs)
    if steps is not None and part.warmup_steps > steps:
        found.add(
            f"the run has {steps} steps, and the learning rate would rise for {part.warmup_steps}. Take fewer, or more epochs.",
            "training",
            "warmup_steps",
        )


def _check_schedule(recipe: Recipe, found: Findings) -> None:
    kind, further = recipe.training.lr_scheduler_type, recipe.training.arguments.get("lr_scheduler_kwargs") or {}
    key = ("training", "lr_scheduler_type")
    if not isinstance(further, Mapping):
        found.add(f"expected options by name, got {further!r}.", "training", "arguments", "lr_scheduler_kwargs")
    elif kind == _PLATEAU and (recipe.data.eval is None or recipe.training.eval_strategy == "no"):
        found.add(f"'{kind}' follows evaluations, and there are none. Give data.eval and eval_strategy.", *key)
    elif kind in _WITH_LOWEST and sum(name in further for name in _LOWEST) != 1:
        found.add(
            f"'{kind}' needs {' or '.join(_LOWEST)}, one of them: arguments: {{lr_scheduler_kwargs: {{min_lr_rate: 0.1}}}}.",
            *key,
        )
    elif kind == "warmup_stable_decay" and "num_decay_steps" not in further:
        found.add(f"'{kind}' needs its last steps: arguments: {{lr_scheduler_kwargs: {{num_decay_steps: 100}}}}.", *key)


def _check_meta_peft(recipe: Recipe, found: Findings) -> None:
    """Refuse what the trainer of meta-PEFT refuses, in its words."""
    from spectra.training.meta_peft.config import Method, Schedule, meta_peft_config

    part, config = recipe.training, meta_peft_config(recipe.method.options)
    inner, steps = config.num_inner_steps, part.max_steps
    if part.arguments.get("dataloader_drop_last"):
        found.add(
            "short batches are trained on, and count by their rows. Leave it out.",
            "training",
            "arguments",
            "dataloader_drop_last",
        )
    if config.method == Method.REPTILE and part.gradient_accumulation_steps > 1:
        found.add(
            "steps of Reptile on a task are steps of their own: take larger batches.", "training", "gradient_accumulation_steps"
        )
    if config.schedule == Schedule.ALTERNATING and steps is not None and steps <= inner:
        found.add(
            f"the base moves after {inner} steps of the adapters, and the run has {steps} in all. Take fewer, or more epochs.",
            "method",
            "inner_steps",
        )


def _ask_transformers(recipe: Recipe, found: Findings) -> None:
    part = recipe.training
    if part.optim not in USUAL_OPTIMIZERS:
        from transformers.training_args import OptimizerNames

        known = [one.value for one in OptimizerNames]
        if part.optim not in known:
            found.add(
                f"transformers has no optimizer '{part.optim}'.{did_you_mean(part.optim, known)} Known: {', '.join(known)}.",
                "training",
                "optim",
            )
    if part.arguments:
        _check_arguments(recipe, part.arguments, found)


def _check_arguments(recipe: Recipe, arguments: Mapping[str, Any], found: Findings) -> None:
    from transformers import TrainingArguments

    from spectra.training.recipe.assembly.run_arguments import run_arguments

    known = [f.name for f in dataclasses.fields(TrainingArguments) if f.init]
    unknown = [name for name in arguments if name not in known]
    for name in unknown:
        hint = did_you_mean(name, known)
        found.add(
            f"TrainingArguments has no option '{name}'.{hint} Correct it, or leave it out.", "training", "arguments", name
        )
    if not unknown:
        with found.of("training"):
            run_arguments(recipe, Path(recipe.output))
