"""Adapters put around a model by peft, first in a rehearsal: peft says no half way, with some layers replaced already."""

from __future__ import annotations

import copy
import hashlib
import re
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn

from spectra.errors import InputError
from spectra.training.dcs.randomness import kept_randomness
from spectra.training.libraries import imported, quiet

# What peft puts into the names of modules below one that every task has a copy of.
_OF_WRAPPER = re.compile(r"\.modules_to_save\.[^.]+")


def refuse_adapted(model: nn.Module) -> None:
    """Refuse a model that has an adapter.

    Args:
        model: The base.

    Raises:
        InputError: It has one, of peft or by ``load_adapter`` of transformers.
    """
    layer = imported("peft.tuners.tuners_utils").BaseTunerLayer
    has_adapter = isinstance(model, imported("peft").PeftModel) or any(isinstance(one, layer) for one in model.modules())
    if has_adapter or getattr(model, "_hf_peft_config_loaded", False):
        raise InputError(
            "the model has an adapter already. Give its base (peft: model.unload()), or merge it first (merge_and_unload)."
        )


def refuse_quantized(model: nn.Module) -> None:
    """Refuse a model whose weights cannot be trained.

    Args:
        model: The base.

    Raises:
        InputError: It is quantized.
    """
    whole = next((name for name, one in model.named_parameters() if not (one.is_floating_point() or one.is_complex())), None)
    if getattr(getattr(model, "config", None), "quantization_config", None) is not None or whole is not None:
        where = f"'{whole}' holds whole numbers" if whole else "its configuration has a quantization_config"
        raise InputError(f"the model is quantized ({where}), and cannot be retrained. Load it in float32 or bfloat16.")


def rehearsed(empty: nn.Module, configs: Mapping[str, Any], heads: Sequence[str]) -> None:
    """Put adapters around an outline, to see whether that can be done.

    Args:
        empty: Of the base; it is not changed.
        configs: By task; they are not changed.
        heads: Modules of the head that every task gets.

    Raises:
        InputError: peft refuses, a rank is larger than a matrix has, the head would be another, or the base could not be
            trained below the adapters.
    """
    with refusals(empty), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # what there is to warn of is said when it is done
        adapted, _ = with_adapters(copy.deepcopy(empty), copy.deepcopy(dict(configs)), seed=0, is_empty=True)
    check_ranks(adapted)
    check_heads(adapted, heads)
    _check_gradients(adapted)


def _some_modules(model: nn.Module) -> str:
    """Name modules as ``target_modules`` would: those with a matrix, which are what peft adapts, if there are any."""
    leaves = [(name.rpartition(".")[2], module) for name, module in model.named_modules() if not any(module.children())]
    matrices = [name for name, module in leaves if _is_linear(module)]
    return ", ".join(list(dict.fromkeys(matrices or [name for name, _ in leaves]))[:6])


def _is_linear(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)  # transformers' Conv1D is no nn.Linear
    return isinstance(weight, torch.Tensor) and weight.ndim == 2 and not isinstance(module, nn.Embedding)


@contextmanager
def refusals(model: nn.Module) -> Iterator[None]:
    """Translate what peft raises, whose kinds of error are many.

    Args:
        model: That is adapted.

    Yields:
        Nothing.

    Raises:
        InputError: With peft's reason, and some modules of the model.
    """
    try:
        yield
    except Exception as error:
        reason = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise InputError(
            f"peft_config: peft cannot adapt a {type(model).__name__} ({reason}). Some modules of it: {_some_modules(model)}."
        ) from error


def with_adapters(
    model: nn.Module, configs: Mapping[str, Any], *, seed: int, is_empty: bool = False
) -> tuple[Any, dict[str, set[int]]]:
    """Put an adapter for every task around a model, each started from a seed of its own.

    Args:
        model: Its layers are replaced.
        configs: By task; peft fills them in.
        seed: Of the first values, with the task's name.
        is_empty: Make them without numbers.

    Returns:
        The model of peft, and by task the identities of the parameters that came with its adapter.
    """
    peft = imported("peft")
    adapted: Any = None
    seen = {id(parameter) for parameter in model.parameters()}
    new: dict[str, set[int]] = {}
    first = next(iter(configs.values()))
    for task, config in configs.items():
        with kept_randomness(_device_of(model)), quiet():
            torch.manual_seed(_seed_of(task, seed))
            if adapted is None:
                adapted = peft.get_peft_model(model, config, adapter_name=task, low_cpu_mem_usage=is_empty)
            else:
                if getattr(config, "target_modules", None) == "all-linear":  # would now find layers of adapters and heads
                    config.target_modules = copy.copy(first.target_modules)
                adapted.add_adapter(task, config, low_cpu_mem_usage=is_empty)
        new[task] = {id(parameter) for parameter in adapted.parameters()} - seen
        seen |= new[task]
    return adapted, new


def check_ranks(adapted: nn.Module) -> None:
    """Check what peft does not: that adapters of LoRA have no higher rank than the matrices they are added to.

    Args:
        adapted: Of peft.

    Raises:
        InputError: A rank is too high.
    """
    for path, layer in _lora_layers(adapted):
        weight = getattr(layer.get_base_layer(), "weight", None)
        if weight is None or weight.dim() < 2:
            continue
        rows, columns = weight.shape[0], weight[0].numel()
        rank = max(layer.r.values(), default=0)
        if rank > min(rows, columns):
            raise InputError(
                f"peft_config: rank {rank} for '{path}', which is {rows} x {columns} and has {min(rows, columns)} at most. "
                "Choose a smaller rank."
            )


def check_heads(adapted: Any, heads: Sequence[str]) -> None:
    """Check that the head of a task is what was said: peft adds modules whose names end in the same way.

    Args:
        adapted: Of peft.
        heads: Modules of the head that an adapter brings.

    Raises:
        InputError: It brings others.
    """
    if not heads:
        return
    wrapper = imported("peft.utils").ModulesToSaveWrapper
    ends = {*heads, *imported("peft.utils.constants").SEQ_CLS_HEAD_NAMES}
    config = next(iter(adapted.peft_config.values()))
    of_user = tuple(set(config.modules_to_save) - ends)  # as peft finds them
    for path, module in adapted.get_base_model().named_modules():
        if isinstance(module, wrapper) and path not in heads and path.endswith(tuple(ends)) and not path.endswith(of_user):
            name = _OF_WRAPPER.sub("", path)
            raise InputError(
                f"head_modules: peft would give every task its own '{name}', too, beside {', '.join(heads)}. It compares the "
                "ends of names, and adds what it calls a head. Name all of these, of nested ones the inner, or rename one in "
                "the model."
            )


def largest_ranks(adapted: nn.Module) -> dict[str, int]:
    """Return the largest rank of each adapter of LoRA, whose layers may differ.

    Args:
        adapted: Of peft.

    Returns:
        By adapter; empty for other methods.
    """
    found: dict[str, int] = {}
    for _, layer in _lora_layers(adapted):
        for name, rank in layer.r.items():
            found[name] = max(rank, found.get(name, 0))
    return found


def _check_gradients(adapted: nn.Module) -> None:
    for path, layer in _lora_layers(adapted):
        if isinstance(layer.get_base_layer(), nn.MultiheadAttention):
            raise InputError(
                f"peft_config: '{path}' is a MultiheadAttention, whose weights get no gradient, as peft merges the adapter "
                "into them before it computes. Adapt other layers."
            )


def _lora_layers(adapted: nn.Module) -> list[tuple[str, Any]]:
    kind = imported("peft.tuners.lora").LoraLayer
    return [(name.removeprefix("base_model.model."), one) for name, one in adapted.named_modules() if isinstance(one, kind)]


def _device_of(model: nn.Module) -> torch.device:
    device = next((parameter.device for parameter in model.parameters()), torch.device("cpu"))
    return torch.device("cpu") if device.type == "meta" else device


def _seed_of(task: str, seed: int) -> int:
    return int.from_bytes(hashlib.sha256(f"{seed}:{task}".encode()).digest()[:4])
