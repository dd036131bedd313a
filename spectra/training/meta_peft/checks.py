"""What a run of meta-PEFT refuses before anything is changed."""

from __future__ import annotations

import copy
import inspect
import math
import os
import warnings
from collections.abc import Mapping
from typing import Any

from torch import nn
from transformers import PretrainedConfig, Trainer, TrainingArguments
from transformers.trainer_utils import IntervalStrategy

from spectra.errors import InputError, SpectraWarning, did_you_mean
from spectra.results.words import counted
from spectra.training.meta_peft.config import MetaPeftConfig, Method, Offload, Schedule, TaskWeighting
from spectra.training.meta_peft.sampling import Exhausted, TaskSampling
from spectra.training.tempbalance_config import tempbalance_config

_OWN = ("peft_config", "tasks", "args", "config", "eval_tasks", "loss_fn", "probe")

_NOT_TAKEN = {
    "train_dataset": "pass tasks=, rows by task",
    "eval_dataset": "pass eval_tasks=, rows by task",
    "compute_loss_func": "pass loss_fn=, a function of model and batch",
    "model_init": "pass the model",
    "optimizers": "adapters are made here, and an optimizer made before cannot know them: pass optimizer_cls_and_kwargs=",
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
    _check_rows("tasks", tasks)
    if len(tasks) < 2:
        raise InputError(f"tasks: what tasks share takes at least 2, better 3 or more; got {len(tasks)}.")
    if eval_tasks is not None:
        _check_rows("eval_tasks", eval_tasks)
        unknown = sorted(set(eval_tasks) - set(tasks))
        if unknown:
            raise InputError(
                f"eval_tasks: '{unknown[0]}' is no task. Each is evaluated with its own adapter: {', '.join(tasks)}."
            )
    return dict(tasks)


def _check_rows(what: str, tasks: Any) -> None:
    if not isinstance(tasks, Mapping):
        raise InputError(f"{what}: expected rows by task, such as {{'books': rows, 'dvd': rows}}, got {type(tasks).__name__}.")
    for name, rows in tasks.items():
        has_places = hasattr(rows, "__len__") and hasattr(rows, "__getitem__") and not isinstance(rows, Mapping)
        if isinstance(rows, str | os.PathLike):
            raise InputError(f"{what}: '{name}' is a path. Read the rows first, as with spectra.training.meta_peft.read_tasks.")
        if not has_places:
            raise InputError(f"{what}: the rows of '{name}' need a length and places. Make a list of the stream.")
        if len(rows) == 0:
            raise InputError(f"{what}: '{name}' has no rows. Leave it out, or give it some.")


def refuse_arguments(
    model: Any, args: Any, options: Mapping[str, Any], *, loss_fn: Any, probe: Any, eval_tasks: Any, tasks: Mapping[str, Any]
) -> None:
    """Refuse what the base class takes and this trainer cannot follow, before anything is changed.

    Args:
        model: To be trained.
        args: Training arguments.
        options: Of ``Trainer``.
        loss_fn: The user's loss.
        probe: The user's probe.
        eval_tasks: Rows to evaluate.
        tasks: Rows to train on.

    Raises:
        InputError: What is of another type, by another name, or would count for nothing.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"model: expected a module, got {type(model).__name__}. Load it first, as with from_pretrained.")
    if not isinstance(args, TrainingArguments):
        raise InputError(f"args: expected TrainingArguments, got {type(args).__name__}. Its learning_rate is that of the base.")
    for name, remedy in _NOT_TAKEN.items():
        given = options.get(name)
        if given is not None and given != (None, None):
            raise InputError(f"{name}: {remedy}.")
    unknown = [name for name in options if name not in inspect.signature(Trainer.__init__).parameters]
    if unknown:
        raise InputError(f"unknown argument '{unknown[0]}'.{did_you_mean(unknown[0], [*_OWN, *_trainer_words()])}")
    for name, one in (("loss_fn", loss_fn), ("probe", probe)):
        if one is not None and not callable(one):
            raise InputError(f"{name}: expected a function, got {type(one).__name__}.")
    if loss_fn is None and not isinstance(getattr(model, "config", None), PretrainedConfig):
        raise InputError(f"loss_fn: a {type(model).__name__} does not know its loss. Give a function of model and batch.")
    if loss_fn is not None and options.get("compute_metrics") is not None:
        raise InputError("compute_metrics with loss_fn: a loss gives no predictions to measure. Leave one of them out.")
    when = IntervalStrategy(args.eval_strategy)
    if when != IntervalStrategy.NO and not eval_tasks:
        raise InputError(f"eval_strategy is '{when.value}', and there are no eval_tasks. Give rows by task.")
    if probe is not None and "probe" in tasks:
        raise InputError("a task is called 'probe', as the metrics of the probe are. Rename it.")
    _refuse_counted_for_nothing(args)


def refuse_steps(args: Any, config: MetaPeftConfig, num_tasks: int) -> None:
    """Refuse options that do not go with the arguments or the tasks.

    Args:
        args: Training arguments.
        config: Options.
        num_tasks: T.

    Raises:
        InputError: They do not.
    """
    asked = config.tasks_per_step
    if asked is not None and asked > num_tasks:
        raise InputError(f"tasks_per_step is {asked}, and there are {num_tasks} tasks. Take {num_tasks} at most.")
    if config.schedule == Schedule.ALTERNATING and asked not in (None, num_tasks):
        raise InputError(
            f"tasks_per_step: 'alternating' takes all tasks in a step, else some might never move. Leave it out, got {asked}."
        )
    if config.schedule == Schedule.ALTERNATING and config.on_exhausted == Exhausted.DROP:
        raise InputError("on_exhausted: 'alternating' takes all tasks in a step, else some might never move. Leave 'drop' out.")
    is_drawn = config.sampling != TaskSampling.ROUND_ROBIN
    if config.task_weighting == TaskWeighting.EQUAL and is_drawn and asked not in (None, 1, num_tasks):
        raise InputError(
            f"task_weighting: with tasks that are drawn, 'equal' takes one task in a step, or all; tasks_per_step is {asked}."
        )
    if config.method == Method.REPTILE and (args.fp16 or args.gradient_accumulation_steps > 1):
        raise InputError(
            "reptile: its steps on a task are steps of their own: take bf16 rather than fp16, and larger batches rather than "
            "gradient_accumulation_steps."
        )
    if config.tempbalance is not None:
        balance = config.tempbalance
        tempbalance_config({"policy": balance} if isinstance(balance, str) else balance)


def warn_of_short_tasks(sizes: Mapping[str, int], config: MetaPeftConfig, rows_of_a_part: int) -> None:
    """Say which tasks have too few rows for all of Reptile's inner steps: a part is at most one pass over its task.

    Args:
        sizes: Rows by task.
        config: Options.
        rows_of_a_part: Of a task in a step, on all devices.
    """
    if config.method != Method.REPTILE:
        return
    rows_of_a_step = rows_of_a_part // config.num_inner_steps
    steps = {task: math.ceil(size / rows_of_a_step) for task, size in sizes.items() if size < rows_of_a_part}
    short = {task: number for task, number in steps.items() if number < config.num_inner_steps}
    if short:
        fewest = min(short, key=lambda task: short[task])
        warnings.warn(
            f"reptile: {counted(len(short), 'task')} of {len(sizes)} cannot take all {config.num_inner_steps} inner steps, "
            f"such as '{fewest}' with {counted(short[fewest], 'batch', 'batches')}: a step is at most one pass over a task. "
            "Lower inner_steps or the batch size, for steps of one length.",
            SpectraWarning,
            stacklevel=3,
        )


def _refuse_counted_for_nothing(args: Any) -> None:
    if args.dataloader_drop_last:
        raise InputError("dataloader_drop_last: short batches are trained on, and count by their rows. Leave it out.")
    if args.train_sampling_strategy != "random":
        raise InputError(f"train_sampling_strategy: rows are drawn at random here, not by '{args.train_sampling_strategy}'.")
    for name in ("seed", "data_seed"):
        if (getattr(args, name) or 0) < 0:
            raise InputError(f"{name}: expected a whole number of at least 0, got {getattr(args, name)}.")


def _trainer_words() -> list[str]:
    return [name for name in inspect.signature(Trainer.__init__).parameters if name not in _NOT_TAKEN]


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
        InputError: FSDP or DeepSpeed, several devices in one process, adapters off the device in several processes, or fewer
            steps than it takes to come to one of the base.
    """
    if trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled or trainer.args.n_gpu > 1:
        raise InputError(
            "meta-PEFT runs on one device, or on one per process. Take DistributedDataParallel: torchrun, or accelerate "
            "launch without FSDP and DeepSpeed."
        )
    if trainer.config.adapter_offload == Offload.CPU and trainer.accelerator.num_processes > 1:
        raise InputError("adapter_offload: DistributedDataParallel needs all parameters on the device. Leave it out there.")
    inner = trainer.config.num_inner_steps
    steps = trainer.args.max_steps
    if steps <= 0:
        steps = math.ceil(len(trainer.step_sampler()) * trainer.args.num_train_epochs)
    if trainer.config.schedule == Schedule.ALTERNATING and steps <= inner:
        raise InputError(
            f"inner_steps: the base moves after {inner} steps of the adapters, and the run has {steps} in all. Take fewer, or "
            "more epochs."
        )
