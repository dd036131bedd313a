"""The adapter of a run: LoRA by peft, of one rank or of a plan's."""

from __future__ import annotations

import warnings
from typing import Any

from torch import nn
from transformers import set_seed

from spectra.errors import InputError
from spectra.policies.plan_record import Plan
from spectra.training.libraries import imported, quiet
from spectra.training.recipe.parts import Recipe

# peft's words for tasks; with those of classifiers it trains and keeps the head too.
_TASK_TYPES = {
    "causal-lm": "CAUSAL_LM",
    "seq2seq": "SEQ_2_SEQ_LM",
    "sequence-classification": "SEQ_CLS",
    "regression": "SEQ_CLS",
    "token-classification": "TOKEN_CLS",
}


def lora_config(recipe: Recipe, task: str, ranks: Plan | None) -> Any:
    """Make peft's configuration of the adapter.

    Args:
        recipe: With ``adapter.name: lora``.
        task: What the model predicts.
        ranks: A plan of ranks, or ``None`` where all are alike.

    Returns:
        A ``LoraConfig``.

    Raises:
        InputError: A plan of something else, or one whose ranks are all 0.
    """
    part = recipe.adapter
    assert part.alpha is not None, "the part fills it in"
    if ranks is None:
        targets = part.targets if part.targets is None or isinstance(part.targets, str) else list(part.targets)
        sizes = {"r": part.rank, "lora_alpha": part.alpha, "target_modules": targets}
    else:
        sizes = ranks.lora_arguments(part.alpha / part.rank)
    config: Any = imported("peft", what="LoRA").LoraConfig(
        **sizes,
        lora_dropout=part.dropout,
        task_type=_TASK_TYPES.get(task),
    )
    return config


def with_lora(model: Any, config: Any, recipe: Recipe) -> nn.Module:
    """Put the adapter into a model, whose layers it replaces as peft does.

    Args:
        model: Of transformers.
        config: Of :func:`lora_config`.
        recipe: Its seed is that of the first values.

    Returns:
        A model of peft, in which only the adapter and a classifier's head are trained.

    Raises:
        InputError: Modules that the model does not have, or none that peft knows for it.
    """
    peft = imported("peft", what="LoRA")
    set_seed(recipe.seed)
    with quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to")  # peft corrects that for GPT-2 by itself
        try:
            adapted: nn.Module = peft.get_peft_model(model, config)
        except ValueError as error:
            reason = str(error).split(". ")[0].rstrip(".")
            where = recipe.where("adapter", "targets")
            raise InputError(f"{where}: peft refuses it: {reason}. Name modules of the model.") from error
    return adapted
