"""The adapter that is trained on responses: LoRA by peft, on the projections to queries and values where they are found."""

from __future__ import annotations

import warnings
from typing import Any

import torch
from torch import nn

from spectra.errors import InputError, did_you_mean
from spectra.fisher.tasks import without_peft
from spectra.training.dcs.randomness import kept_randomness
from spectra.training.libraries import imported, quiet
from spectra.training.sdft.tuning_config import ALL_LINEAR, LoraOptions

_PAPER = ("q_proj", "v_proj")


def has_adapter(model: nn.Module) -> bool:
    """Say whether a model has an adapter already, of peft or by ``load_adapter`` of transformers.

    Args:
        model: Of transformers.

    Returns:
        Whether it has one.
    """
    return without_peft(model) is not model or bool(getattr(model, "_hf_peft_config_loaded", False))


def with_adapter(model: nn.Module, options: LoraOptions, *, seed: int) -> nn.Module:
    """Put an adapter into a model. The layers it adapts are replaced in the model itself, as peft does.

    Args:
        model: Of transformers, without an adapter.
        options: Of the adapter.
        seed: Of its first values.

    Returns:
        A model of peft, in which only the adapter is trained. At first it computes what the model did.

    Raises:
        InputError: Modules that the model does not have, or none that is known for its architecture.
    """
    peft = imported("peft")
    config = peft.LoraConfig(
        r=options.rank,
        lora_alpha=options.alpha,
        lora_dropout=options.dropout,
        target_modules=_targets(model, options),
        task_type="CAUSAL_LM",
    )
    with kept_randomness(next(model.parameters()).device), quiet(), warnings.catch_warnings():
        warnings.filterwarnings("ignore", "fan_in_fan_out is set to False")  # peft corrects that for GPT-2 by itself
        torch.manual_seed(seed)
        adapted: nn.Module = peft.get_peft_model(model, config)
    return adapted


def _targets(model: Any, options: LoraOptions) -> list[str] | str:
    if options.targets == ALL_LINEAR:
        return ALL_LINEAR
    names = [name for name, _ in model.named_modules()]
    if options.targets is not None:
        _check_targets(names, list(options.targets))
        return list(options.targets)
    if all(_is_among(names, name) for name in _PAPER):
        return list(_PAPER)
    known = imported("peft.utils").TRANSFORMERS_MODELS_TO_LORA_TARGET_MODULES_MAPPING.get(model.config.model_type)
    if known is None:
        raise InputError(
            f"lora: {type(model).__name__} has no layers {' and '.join(_PAPER)}, and peft knows no others for it. Name some in "
            f"targets, or '{ALL_LINEAR}'."
        )
    return known if isinstance(known, str) else list(known)


def _check_targets(names: list[str], targets: list[str]) -> None:
    missing = next((target for target in targets if not _is_among(names, target)), None)
    if missing is not None:
        last = sorted({name.rpartition(".")[2] for name in names})
        raise InputError(
            f"lora: the model has no module '{missing}'.{did_you_mean(missing, last)} Name others, or '{ALL_LINEAR}'."
        )


def _is_among(names: list[str], target: str) -> bool:
    return any(name == target or name.endswith(f".{target}") for name in names)
