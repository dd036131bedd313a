"""What peft is asked for, task by task: the user's configuration, copied, checked, and told whose the head is."""

from __future__ import annotations

import copy
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from spectra.errors import InputError, did_you_mean
from spectra.training.libraries import imported

# Tasks of peft in which it gives every adapter a head by itself.
_WITH_HEADS = ("SEQ_CLS", "TOKEN_CLS", "QUESTION_ANS")

# Of those that learn prompts, the two whose files hold all that is trained; others save what a network makes of it.
_PROMPTS = ("PROMPT_TUNING", "PREFIX_TUNING")

# Whose layers compute with a detached weight, or with another in its place.
_FREEZING = ("HRA", "LN_TUNING")

# Which train the base as if a part of the adapter were a constant that is computed from the base's own weights.
_CONSTANT = {"DoRA": "the norm of the weights", "DEFT": "the weights that it projects"}

# Methods that need what is not there.
_OTHERWISE = {
    "POLY": "asks for the numbers of tasks beside each batch",
    "SHIRA": "chooses what it trains when it is made, and could not be tried before the model is changed",
}

# First values that peft subtracts from the weights of the base, once for every adapter.
_CHANGING_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")

_NAME = re.compile(r"[A-Za-z0-9_-]+")

# Parts of the names that peft gives to parameters.
_RESERVED = {"default", "base_model", "model", "base_layer", "modules_to_save", "original_module", "prompt_encoder"}


def checked_tasks(tasks: Sequence[str], model: nn.Module, prefix: str, heads: Sequence[str]) -> tuple[str, ...]:
    """Check the names of tasks, which become those of adapters: peft finds the parameters of one by it.

    Args:
        tasks: The names.
        model: That they are adapted to.
        prefix: With which peft's method begins the names of its parameters; empty without adapters.
        heads: Modules of the head, which peft knows by the end of their names.

    Returns:
        The names.

    Raises:
        InputError: None, one twice, or one that cannot be an adapter's name.
    """
    if isinstance(tasks, str) or not tasks:
        raise InputError(f"tasks: a list of names is needed, not {tasks!r}.")
    parts = {part for name, _ in [*model.named_modules(), *model.named_parameters()] for part in name.split(".")}
    for place, task in enumerate(tasks):
        if task in tasks[:place]:
            raise InputError(f"tasks: '{task}' is there twice. Give every task a name of its own.")
        if not isinstance(task, str) or not _NAME.fullmatch(task):
            raise InputError(f"tasks: {task!r} cannot name an adapter. Use letters, digits, '_' and '-' only.")
        is_taken = task in _RESERVED | parts or hasattr(nn.ModuleDict, task)
        is_of_method = bool(prefix) and task in prefix
        if is_taken or is_of_method or task.endswith(tuple(heads)) or (prefix and task.startswith(prefix)):
            where = f"peft's own '{prefix}'" if is_of_method else "the name of a parameter"
            raise InputError(
                f"tasks: '{task}' is also part of {where}, and peft could not tell them apart. Rename the task, for instance "
                f"to 'task_{task}'."
            )
    return tuple(tasks)


def head_names(model: nn.Module, head: str, head_modules: Sequence[str] | None) -> tuple[str, ...]:
    """Find the output layer of a model.

    Args:
        model: Any.
        head: ``"per_task"``, ``"shared"`` or ``"none"``.
        head_modules: Names of its modules. Default: ``score`` or ``classifier``, as for peft, which takes for part of it what
            stands beside it and ends so, as does the ``pre_classifier`` of DistilBERT.

    Returns:
        The names; none for ``"none"``.

    Raises:
        InputError: An unknown kind of head, a module that is not there, or none where every task needs one.
    """
    kinds = ("per_task", "shared", "none")
    if head not in kinds:
        raise InputError(f"unknown head '{head}'.{did_you_mean(head, kinds)} Known: {', '.join(kinds)}.")
    if head == "none":
        if head_modules:
            raise InputError(f"head_modules {', '.join(head_modules)} with head='none'. Leave them out, or say whose they are.")
        return ()
    modules = [name for name, _ in model.named_modules() if name]
    if head_modules is not None:
        for name in head_modules:
            if name not in modules:
                raise InputError(f"head_modules: the model has no module '{name}'.{did_you_mean(name, modules)}")
        return tuple(head_modules)
    known = imported("peft.utils.constants").SEQ_CLS_HEAD_NAMES
    beside = [name for name, _ in model.named_children()]
    found = tuple(name for name in beside if name.endswith(tuple(one for one in known if one in beside)))
    if head == "per_task" and not found:
        raise InputError(
            f"head: a {type(model).__name__} has neither {' nor '.join(known)}. Name its output layer in "
            f"head_modules (it has {_some(modules)}), or choose head='none'."
        )
    return found


def task_configs(peft_config: Any, tasks: Sequence[str], head: str, heads: Sequence[str]) -> dict[str, Any] | None:
    """Copy the configuration of adapters for every task.

    Args:
        peft_config: Of peft: one, one for each task, or ``None`` for no adapters.
        tasks: Their names.
        head: ``"per_task"``, ``"shared"`` or ``"none"``.
        heads: Modules of the head.

    Returns:
        A configuration by task, or ``None`` where nothing belongs to a task.

    Raises:
        InputError: Tasks without one, or configurations that cannot be used or not together.
    """
    if peft_config is None:
        return {task: last_layer_config(heads) for task in tasks} if head == "per_task" else None
    by_task = peft_config if isinstance(peft_config, Mapping) else dict.fromkeys(tasks, peft_config)
    _check_kinds(by_task, tasks, imported("peft").PeftConfig)
    for config in by_task.values():
        _check_method(config, head)
    _check_same(by_task, tasks)
    return {task: fitted(by_task[task], head, heads) for task in tasks}


def fitted(peft_config: Any, head: str, heads: Sequence[str]) -> Any:
    """Copy a configuration, and make the copy say whose the head is.

    Args:
        peft_config: Of peft; it is not changed.
        head: ``"per_task"``: the adapter brings its own. ``"shared"``: it has none, and leaves that of the base alone.
            ``"none"``: it may adapt it as any other layer.
        heads: Modules of the head.

    Returns:
        The copy, to be trained.

    Raises:
        InputError: It brings modules of its own where the head is shared.
    """
    config = copy.deepcopy(peft_config)
    config.inference_mode, config.base_model_name_or_path = False, None
    extra = getattr(config, "modules_to_save", None)
    if head == "per_task":
        config.modules_to_save = [*dict.fromkeys([*(extra or ()), *heads])]
        return config
    if head == "shared":
        if extra:
            raise InputError(
                f"peft_config: modules_to_save {', '.join(extra)} would give every task its own, and head='shared' says there "
                "is one for all. Leave them out, or choose head='per_task'."
            )
        _keep_adapters_out(config, heads)
    if config.task_type in _WITH_HEADS and not config.is_prompt_learning:
        config.task_type = None
    return config


def last_layer_config(heads: Sequence[str]) -> Any:
    """Return peft's configuration of an adapter that is nothing but a head.

    Args:
        heads: Modules of the head.

    Returns:
        The configuration.
    """
    dummy = imported("peft.utils.constants").DUMMY_TARGET_MODULES
    return imported("peft").LoraConfig(target_modules=dummy, modules_to_save=[*heads])


def peft_prefix(peft_config: Any) -> str:
    """Return with what peft's method begins the names of its parameters.

    Args:
        peft_config: Of peft: one, or one for each task; or ``None``.

    Returns:
        The prefix; empty without adapters or for prompts.
    """
    first = next(iter(peft_config.values()), None) if isinstance(peft_config, Mapping) else peft_config
    return imported("peft.mapping").PEFT_TYPE_TO_PREFIX_MAPPING.get(getattr(first, "peft_type", None)) or ""


def _check_kinds(by_task: Mapping[str, Any], tasks: Sequence[str], kind: type) -> None:
    missing, unknown = [task for task in tasks if task not in by_task], [name for name in by_task if name not in tasks]
    if missing or unknown:
        problem = f"none for task '{missing[0]}'" if missing else f"'{unknown[0]}' is no task"
        raise InputError(f"peft_config: {problem}. Give one for each of {', '.join(tasks)}, or a single one for all.")
    for config in by_task.values():
        if not isinstance(config, kind):
            raise InputError(
                f"peft_config: a {type(config).__name__} is no configuration of peft. Give a LoraConfig, for example."
            )


def _check_same(by_task: Mapping[str, Any], tasks: Sequence[str]) -> None:
    first = by_task[tasks[0]]
    for task in tasks[1:]:
        for name in ("peft_type", "target_modules", "exclude_modules", "modules_to_save", "task_type"):
            ours, others = _plain(getattr(by_task[task], name, None)), _plain(getattr(first, name, None))
            if ours != others:
                raise InputError(
                    f"peft_config: {name} is {_words(ours)} for task '{task}' and {_words(others)} for '{tasks[0]}'. "
                    "Tasks may differ in rank, not in what is adapted how."
                )


def _check_method(config: Any, head: str) -> None:
    method = str(getattr(config.peft_type, "value", config.peft_type))
    if method in _FREEZING:
        raise InputError(f"peft_config: under {method} the weights that are adapted get no gradient. Choose LoRA, for example.")
    detaching = "DoRA" if getattr(config, "use_dora", False) else method
    if detaching in _CONSTANT:
        raise InputError(
            f"peft_config: under {detaching} the base would get a wrong gradient, as peft takes {_CONSTANT[detaching]} for a "
            "constant. Choose plain LoRA, for example; for adapting, where the base stays as it is, it can be used."
        )
    if method in _OTHERWISE:
        raise InputError(f"peft_config: {method} {_OTHERWISE[method]}. Choose LoRA, for example.")
    if config.is_prompt_learning and (method not in _PROMPTS or getattr(config, "prefix_projection", False)):
        raise InputError(
            f"peft_config: {method} trains a network that peft does not save, so that training could not be resumed. Of "
            "prompts, use prompt tuning, or prefix tuning without prefix_projection."
        )
    if config.is_prompt_learning and config.task_type in _WITH_HEADS and head != "per_task":
        raise InputError(f"peft_config: with {method} peft gives every task a head of its own. Choose head='per_task'.")
    if getattr(config, "kasa_config", None) is not None:
        raise InputError("peft_config: kasa_config cuts singular values off the base, which all tasks share. Leave it out.")
    start = getattr(config, "init_lora_weights", None)
    if isinstance(start, str) and start.lower().startswith(_CHANGING_BASE):
        raise InputError(
            f"peft_config: init_lora_weights '{start}' subtracts the adapter from the base, which all tasks share. Use True, "
            "'gaussian' or 'orthogonal'."
        )


def _keep_adapters_out(config: Any, heads: Sequence[str]) -> None:
    """Exclude the shared head from what is adapted: without the task's type, peft's 'all-linear' would count it in."""
    if not heads or not hasattr(config, "exclude_modules"):
        return
    excluded = config.exclude_modules or []
    ours = rf"(.*\.)?({'|'.join(map(re.escape, heads))})(\..*)?"
    if isinstance(excluded, str):
        theirs = excluded
    else:
        theirs = rf"(.*\.)?({'|'.join(map(re.escape, sorted(excluded)))})" if excluded else ""
    config.exclude_modules = rf"({theirs})|({ours})" if theirs else ours


def _plain(value: Any) -> Any:
    return frozenset(value) if isinstance(value, (list, set, tuple)) else value


def _words(value: Any) -> str:
    return ", ".join(sorted(value)) if isinstance(value, frozenset) else str(getattr(value, "value", value))


def _some(names: Sequence[str]) -> str:
    return ", ".join(names[:4]) + (", ..." if len(names) > 4 else "")
