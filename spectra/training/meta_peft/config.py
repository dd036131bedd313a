"""The options of meta-PEFT: their only definition, with the baselines that differ by one of them.

What ``TrainingArguments`` has is not repeated here: its learning rate is that of the base, and which state of the base is kept
is its ``load_best_model_at_end`` and ``metric_for_best_model``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from spectra.errors import InputError, did_you_mean
from spectra.policies.policy_options import PolicyOptions, Rule, is_number, number, one_of, option
from spectra.training.diagnostic_flags import plain_option
from spectra.training.meta_peft.sampling import Exhausted, TaskSampling

_PAPER = "Block et al. (2025), arXiv 2410.22264"
_CODE = f"released code of {_PAPER}"
_OURS = "our choice"


class Method(StrEnum):
    """How the base is retrained."""

    PEFT_ML = "peft_ml"
    """With an adapter for each task, so that the base is left with what tasks share: the paper's method."""
    STANDARD = "standard"
    """One model for all tasks, without adapters."""
    REPTILE = "reptile"
    """Towards where a few steps on each task lead."""
    LAST_LAYER_ML = "last_layer_ml"
    """With a head for each task and no adapter."""


class Schedule(StrEnum):
    """What a step changes."""

    JOINT = "joint"
    """Base and adapters."""
    ALTERNATING = "alternating"
    """The adapters, ``inner_steps`` times; then the base, once."""


class Head(StrEnum):
    """Whose the output layer is."""

    PER_TASK = "per_task"
    """Each task has one, trained with its adapter."""
    SHARED = "shared"
    """All tasks have one, trained with the base."""
    NONE = "none"
    """There is none, or it is like any other layer of the base."""


class TaskWeighting(StrEnum):
    """What a task counts in an epoch."""

    BATCHES = "batches"
    """As many as its batches."""
    EQUAL = "equal"
    """All the same: losses are multiplied by how often a task is seen in the mean, over how often this one is."""


class Offload(StrEnum):
    """Where adapters are that a step does not use."""

    NONE = "none"
    """On the device."""
    CPU = "cpu"
    """In the memory of the host, with their optimizer's state."""


_NUM_INNER_STEPS = {Schedule.ALTERNATING: 10, Method.REPTILE: 20}
_WITHOUT_ADAPTERS = (Method.STANDARD, Method.REPTILE)


def _whole(value: Any) -> int | None:
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError
    return value


def _rate(value: Any) -> float | None:
    if value is None:
        return None
    if not is_number(value) or value < 0:
        raise ValueError
    return float(value)


def _modules(value: Any) -> tuple[str, ...] | None:
    if value is None:
        return None
    names = (value,) if isinstance(value, str) else tuple(value)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError
    return names


def _or_none(choices: type[StrEnum]) -> Rule:
    rule = one_of(choices)
    return Rule(f"{rule.expected}, or none", lambda value: None if value is None else choices(value), rule.known)


def _pattern(value: Any) -> str | None:
    try:
        return None if value is None else re.compile(value).pattern
    except re.error as error:
        raise ValueError from error


_COUNT = Rule("a whole number of at least 1, or none", _whole)
_RATE = Rule("a number of at least 0, or none", _rate)


@dataclass(frozen=True, kw_only=True)
class MetaPeftConfig(PolicyOptions):
    """Options of :class:`~spectra.training.meta_peft.MetaPeftTrainer`.

    The metadata of each field say what it means and where it comes from.

    Attributes:
        method: ``"peft_ml"`` (the paper's), or a baseline: ``"standard"``, ``"reptile"``, ``"last_layer_ml"``.
        schedule: ``"joint"`` changes base and adapters in every step; ``"alternating"`` adapters ``inner_steps`` times, then
            the base once.
        tasks_per_step: Tasks whose gradients are summed in a step. Default: 1; with ``"alternating"`` always all.
        inner_steps: Steps of adapters before one of the base, default 10; with ``"reptile"`` steps on a task, default 20.
        task_weighting: ``"batches"``: a task counts as much as it has batches; ``"equal"``: all the same.
        sampling: Which task is next: ``"round_robin"``, ``"proportional"``, ``"uniform"`` or ``"temperature"``.
        temperature: With ``"temperature"`` a task is drawn with probability ``N_t^(1 / temperature)``.
        on_exhausted: Of a task that was seen whole in an epoch: ``"drop"`` it until the next, or ``"restart"`` it. Default:
            drop with ``"round_robin"``, else restart; with ``"alternating"`` always restart.
        adapter_lr: Learning rate of adapters and heads of tasks. Default: that of the base, ``args.learning_rate``.
        inner_lr: With ``"reptile"``, learning rate of the steps on a task. Default: ``args.learning_rate``, which there is
            the rate of the steps of the base towards their ends.
        base_trainable: A regular expression that names of weights of the base are searched for; others stay as they are.
            Default: all. The theory is about all.
        head: ``"per_task"``, ``"shared"`` or ``"none"``. Default: a head for each task, except for ``"standard"`` and
            ``"reptile"``, which share one; none where the model has none that is known.
        head_modules: Names of the modules that are the head. Default: as peft knows them, ``classifier`` or ``score``.
        adapter_offload: ``"cpu"`` keeps adapters that a step does not use in the host's memory, with their optimizer's state.
        tempbalance: Balance learning rates of the base by its own spectra; adapters keep theirs. What
            :class:`~spectra.training.TempBalanceCallback` takes, such as ``{"policy": "recommended"}``; or a preset's name.

    Raises:
        InputError: Values that cannot be, or exclude each other; all are named.
    """

    method: str = option(Method.PEFT_ML, "how the base is retrained", _PAPER, one_of(Method))
    schedule: str = option(Schedule.JOINT, "what a step changes", f"{_CODE}: convai, vision", one_of(Schedule))
    tasks_per_step: int | None = option(
        None, "tasks whose gradients are summed", f"{_CODE}: 1 in convai, all in vision and linear", _COUNT
    )
    inner_steps: int | None = option(
        None,
        "steps of adapters before one of the base; of Reptile on a task",
        f"{_CODE}: linear 10, convai's Reptile 20",
        _COUNT,
    )
    task_weighting: str = option(
        TaskWeighting.BATCHES, "what a task counts", f"{_CODE}; the paper's objective: equal", one_of(TaskWeighting)
    )
    sampling: str = option(TaskSampling.ROUND_ROBIN, "which task is next", _CODE, one_of(TaskSampling))
    temperature: float = option(1.0, "of drawing tasks by their size", _OURS, number("a number above 0", lambda v: v > 0.0))
    on_exhausted: str | None = option(None, "of a task that was seen whole", f"{_CODE}: drop", _or_none(Exhausted))
    adapter_lr: float | None = option(None, "learning rate of adapters and heads", f"{_CODE}: the base's", _RATE)
    inner_lr: float | None = option(None, "Reptile's learning rate on a task", f"{_CODE}: 5e-5, the base's 1e-4", _RATE)
    base_trainable: str | None = option(
        None, "names of weights that are retrained; none: all", _OURS, Rule("a regular expression, or none", _pattern)
    )
    head: str | None = option(None, "whose the output layer is", f"{_CODE}: per task; standard: shared", _or_none(Head))
    head_modules: tuple[str, ...] | None = option(
        None, "names of the head's modules", "peft", Rule("names of modules, or none", _modules)
    )
    adapter_offload: str = option(Offload.NONE, "where unused adapters are", _OURS, one_of(Offload))
    tempbalance: Any = option(None, "options of TempBalance", _OURS, Rule("", lambda value: value))  # noqa: RUF009

    def contradictions(self) -> Iterable[str]:
        """Yield a sentence for each pair of options that exclude each other."""
        if self.schedule == Schedule.ALTERNATING and self.method in _WITHOUT_ADAPTERS:
            yield f"schedule: 'alternating' needs adapters or heads of tasks, and method '{self.method}' has none."
        if self.method == Method.LAST_LAYER_ML and self.head not in (None, Head.PER_TASK):
            yield f"head: 'last_layer_ml' is a head per task, got '{self.head}'."
        if self.method == Method.REPTILE and self.tasks_per_step not in (None, 1):
            yield f"tasks_per_step: Reptile goes to one task in a step, got {self.tasks_per_step}."
        if self.inner_steps is not None and self.schedule != Schedule.ALTERNATING and self.method != Method.REPTILE:
            yield "inner_steps: these are steps of schedule 'alternating' or of method 'reptile'. Choose one, or leave it out."
        if self.inner_lr is not None and self.method != Method.REPTILE:
            yield f"inner_lr: this is Reptile's, and the method is '{self.method}'. Give adapter_lr, or leave it out."
        if self.method in _WITHOUT_ADAPTERS:
            yield from (
                f"{name}: it is of adapters, and method '{self.method}' has none. Leave it out."
                for name, is_given in (("adapter_lr", self.adapter_lr is not None), ("adapter_offload", self._offloads))
                if is_given
            )
        if self.method == Method.REPTILE and self.task_weighting == TaskWeighting.EQUAL:
            yield "task_weighting: Reptile goes the same way for each task, however many steps it has. Leave 'equal' out."
        if self.temperature != 1.0 and self.sampling != TaskSampling.TEMPERATURE:
            yield f"temperature: counts with sampling 'temperature' only, got sampling '{self.sampling}'."

    @property
    def num_inner_steps(self) -> int:
        """Steps of adapters before one of the base, or of Reptile on a task; 0 where there are none."""
        default = _NUM_INNER_STEPS.get(Method.REPTILE if self.method == Method.REPTILE else Schedule(self.schedule), 0)
        return default if self.inner_steps is None else self.inner_steps

    @property
    def _offloads(self) -> bool:
        return self.adapter_offload != Offload.NONE

    @property
    def uses_adapters(self) -> bool:
        """Whether tasks have adapters of the given PEFT method."""
        return self.method == Method.PEFT_ML

    def head_of(self, has_head: bool) -> Head:
        """Return whose the head is.

        Args:
            has_head: Whether the model has one that is known.

        Returns:
            What was asked for, or the default.
        """
        if self.head is not None:
            return Head(self.head)
        if self.method == Method.LAST_LAYER_ML:
            return Head.PER_TASK
        if not has_head:
            return Head.NONE
        return Head.SHARED if self.method in _WITHOUT_ADAPTERS else Head.PER_TASK

    def to_dict(self) -> dict[str, Any]:
        """Return the options as plain values that YAML and JSON can hold."""
        return {name: plain_option(value) for name, value in super().to_dict().items()}


def meta_peft_config(given: MetaPeftConfig | str | Mapping[str, Any] | None = None) -> MetaPeftConfig:
    """Take options.

    Args:
        given: Options, some of them by name, or the name of a method. Default: the paper's method.

    Returns:
        The options.

    Raises:
        InputError: An unknown name, or values that cannot be.
    """
    if isinstance(given, MetaPeftConfig):
        return given
    if isinstance(given, str):
        known = tuple(Method)
        if given not in known:
            raise InputError(f"unknown method '{given}'.{did_you_mean(given, known)} Known: {', '.join(known)}.")
        return MetaPeftConfig(method=given)
    if not isinstance(given, Mapping | None):
        raise InputError(f"config: expected a MetaPeftConfig, a method's name or options by name, got {given!r}.")
    return MetaPeftConfig.from_dict(given or {})
