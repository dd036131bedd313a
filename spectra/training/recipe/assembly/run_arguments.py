"""A recipe's ``TrainingArguments``."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import torch
from transformers import TrainingArguments

from spectra.errors import InputError
from spectra.training.recipe.options import options_of
from spectra.training.recipe.parts import Recipe

CHECKPOINTS = "checkpoints"

_NUMBERED = re.compile(r"cuda:(\d+)")


def run_arguments(recipe: Recipe, folder: Path) -> TrainingArguments:
    """Make the arguments of the trainer.

    Args:
        recipe: What is asked for.
        folder: Of the run; checkpoints go to a folder in it.

    Returns:
        The arguments. Nothing is drawn on the terminal: that is for who runs the recipe.

    Raises:
        InputError: A device that cannot be had, or further arguments that transformers refuses.
    """
    part = recipe.training
    given = {option.name: getattr(part, option.name) for option in options_of(type(part)) if option.name != "arguments"}
    options = {
        **{name: value for name, value in given.items() if value is not None},
        **_evaluation(recipe),
        "seed": recipe.seed,
        "report_to": list(recipe.report_to),
        "run_name": recipe.name,
        "use_cpu": _is_on_cpu(recipe),
        "disable_tqdm": True,
        "dataloader_pin_memory": torch.cuda.is_available(),
        **part.arguments,
    }
    try:
        return TrainingArguments(output_dir=str(folder / CHECKPOINTS), **options)
    except (ValueError, TypeError, ImportError) as error:  # what it checks when it is made
        raise InputError(f"{recipe.where('training')}: transformers refuses it: {str(error).splitlines()[0]}") from error


def _evaluation(recipe: Recipe) -> dict[str, Any]:
    part = recipe.training
    when = (part.eval_strategy or part.save_strategy) if recipe.data.eval is not None else "no"
    if part.metric_for_best_model is None:
        return {"eval_strategy": when}
    return {"eval_strategy": when, "load_best_model_at_end": True}


def _is_on_cpu(recipe: Recipe) -> bool:
    device, where = recipe.model.device, recipe.where("model", "device")
    if numbered := _NUMBERED.fullmatch(device):
        raise InputError(
            f"{where}: a trainer takes the first GPU that it sees, or all of them. Set CUDA_VISIBLE_DEVICES={numbered[1]} and "
            "give 'cuda'."
        )
    if device == "cuda" and not torch.cuda.is_available():
        raise InputError(f"{where}: there is no GPU that torch can use. Give 'cpu' or 'auto'.")
    if device not in ("auto", "cpu", "cuda"):
        raise InputError(f"{where}: expected auto, cpu or cuda, got '{device}'.")
    return device == "cpu"
