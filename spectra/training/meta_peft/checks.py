"""What a run of meta-PEFT refuses before anything is changed."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

from spectra.errors import InputError
from spectra.training.meta_peft.config import MetaPeftConfig, Method, Offload

_NOT_TAKEN = {
    "train_dataset": "pass tasks=, rows by task",
    "eval_dataset": "pass eval_tasks=, rows by task",
    "compute_loss_func": "pass loss_fn=, a function of model and batch",
    "model_init": "pass the model",
}


def checked_tasks(tasks: Any, eval_tasks: Any) -> dict[str, Any]:
    """Return the rows by task, if they can be trained on.

    Args:
        tasks: Of the user.
        eval_tasks: Of the user.

    Returns:
        The tasks.

    Raises:
        InputError: No mapping, fewer than two tasks, one without rows by place, or evaluation of tasks that are not there.
    """
    if not isinstance(tasks, Mapping):
        raise InputError(f"tasks: expected rows by task, such as {{'books': rows, 'dvd': rows}}, got {type(tasks).__name__}.")
    if len(tasks) < 2:
        raise InputError(f"tasks: what tasks share takes at least 2, better 3 or more; got {len(tasks)}.")
    for name, rows in tasks.items():
        if not (hasattr(rows, "__len__") and hasattr(rows, "__getitem__")) or isinstance(rows, Mapping):
            raise InputError(f"task '{name}': its rows need a length and places. Make a list of the stream.")
        if len(rows) == 0:
            raise InputError(f"task '{name}' has no rows. Leave it out, or give it some.")
    unknown = sorted(set(eval_tasks or ()) - set(tasks))
    if unknown:
        raise InputError(f"eval_tasks: '{unknown[0]}' is no task. Each is evaluated with its own adapter: {', '.join(tasks)}.")
    return dict(tasks)


def refuse_arguments(args: Any, options: Mapping[str, Any], config: MetaPeftConfig) -> None:
    """Refuse what the base class takes and this trainer cannot follow.

    Args:
        args: Training arguments.
        options: Of ``Trainer``.
        config: Options.

    Raises:
        InputError: No arguments, data or losses by another name, or Reptile with what its inner steps cannot follow.
    """
    if args is None:
        raise InputError("args: expected TrainingArguments. Its learning_rate is that of the base.")
    for name, remedy in _NOT_TAKEN.items():
        if options.get(name) is not None:
            raise InputError(f"{name}: {remedy}.")
    if config.method == Method.REPTILE and (args.fp16 or args.gradient_accumulation_steps > 1):
        raise InputError(
            "reptile: its steps on a task are steps of their own: take bf16 rather than fp16, and larger batches rather than "
            "gradient_accumulation_steps."
        )


def own_arguments(args: Any, config: MetaPeftConfig, *, removes_columns: bool) -> Any:
    """Return training arguments as the loop needs them.

    Args:
        args: Of the user; they stay as they are.
        config: Options.
        removes_columns: Whether columns that the model does not take are removed.

    Returns:
        A copy. An item of the loader is a whole step, so that nothing is accumulated over items; Reptile's steps on a task are
        clipped, and not the difference that they lead to.
    """
    own = copy.copy(args)
    own.gradient_accumulation_steps = 1
    own.remove_unused_columns = args.remove_unused_columns and removes_columns
    if config.method == Method.REPTILE:
        own.max_grad_norm = 0.0
    return own


def refuse_run(trainer: Any) -> None:
    """Refuse machines on which tasks cannot be switched.

    Args:
        trainer: About to train.

    Raises:
        InputError: FSDP or DeepSpeed, several devices in one process, or adapters off the device in several processes.
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled or trainer.args.n_gpu > 1:
        raise InputError(
            "meta-PEFT runs on one device, or on one per process. Take DistributedDataParallel: torchrun, or accelerate "
            "launch without FSDP and DeepSpeed."
        )
    if trainer.config.adapter_offload == Offload.CPU and trainer.accelerator.num_processes > 1:
        raise InputError("adapter_offload: DistributedDataParallel needs all parameters on the device. Leave it out there.")
