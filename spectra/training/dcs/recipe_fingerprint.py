"""Telling recipes apart: two teachers of the same start, data and recipe are the same, and need not be trained twice."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from typing import Any

from spectra.fisher.tasks import without_peft
from spectra.training.dcs.data_fingerprint import dataset_fingerprint

# Arguments of a trainer that leave the weights alone, by the start of their names.
_HARMLESS = (
    "output_dir", "logging", "log_", "report_to", "run_name", "project", "trackio", "hub", "push", "save", "disable_tqdm",
    "resume", "overwrite", "dataloader_num_workers", "dataloader_pin", "dataloader_prefetch", "dataloader_persistent",
    "local_rank", "skip_memory", "include_", "enable_jit", "restore_callback", "do_", "auto_find", "ddp_timeout",
)  # fmt: skip
# These count where the best checkpoint is chosen by them.
_CHOOSING = (
    "eval",
    "per_device_eval",
    "metric_for",
    "greater",
    "load_best",
    "prediction",
    "batch_eval",
    "fp16_full",
    "bf16_full",
)


def recipe_fingerprint(trainer: Any, teacher_config: Mapping[str, Any]) -> str:
    """Tell recipes apart by everything that changes the weights in the end.

    Args:
        trainer: A ``DCSTrainer``, whose arguments the teacher gets.
        teacher_config: The teacher's own options, as plain values.

    Returns:
        A hash. Functions are told apart by their code, collators by their class.
    """
    chooses = trainer.config.teacher_select == "best"
    left_out = _HARMLESS if chooses else (*_HARMLESS, *_CHOOSING)
    arguments = {name: value for name, value in trainer.args.to_dict().items() if not name.startswith(left_out)}
    recipe = {
        "arguments": arguments,
        "config": teacher_config,
        "select": trainer.config.teacher_select,
        "eval_data": _eval_data(trainer.eval_dataset) if chooses else None,
        "model": _configurations(trainer.model),
        "trained": [name for name, parameter in trainer.model.named_parameters() if parameter.requires_grad],
        "optimizer": trainer.optimizer_cls_and_kwargs,
        "collator": type(trainer.data_collator).__qualname__,
        "sample_loss": _function(trainer.sample_loss),
        "world_size": trainer.args.world_size,
    }
    return hashlib.sha256(json.dumps(recipe, sort_keys=True, default=str).encode()).hexdigest()


def _configurations(model: Any) -> list[Any]:
    config = getattr(without_peft(model), "config", None)
    adapters = getattr(model, "peft_config", None) or {}
    found = [] if config is None else [config.to_dict()]
    return found + [adapter.to_dict() for adapter in adapters.values()]


def _eval_data(dataset: Any) -> Any:
    if isinstance(dataset, Mapping) or not hasattr(dataset, "__len__"):
        return type(dataset).__qualname__
    return dataset_fingerprint(dataset)


def _function(function: Any) -> Any:
    if function is None:
        return None
    code = getattr(function, "__code__", None)
    body = [] if code is None else [code.co_code.hex(), repr(code.co_consts), repr(code.co_names)]
    return [getattr(function, "__module__", ""), getattr(function, "__qualname__", type(function).__qualname__), *body]
