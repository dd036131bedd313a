"""What tasks count against each other: factors of their losses, groups of their parameters, means of their metrics."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from spectra.errors import InputError
from spectra.training.meta_peft.config import MetaPeftConfig, TaskWeighting
from spectra.training.meta_peft.sampling import Exhausted, TaskSampling

_BY_SIZE = (TaskSampling.PROPORTIONAL, TaskSampling.TEMPERATURE)


def task_factors(sizes: Mapping[str, int], config: MetaPeftConfig, on_exhausted: str, rows_of_a_part: int) -> dict[str, float]:
    """Return what the loss of each task is multiplied by.

    Args:
        sizes: Rows by task.
        config: Options; ``task_weighting`` says whether tasks count as often as they are seen.
        on_exhausted: What becomes of a task that was seen whole.
        rows_of_a_part: Rows of a task in a step.

    Returns:
        1 each; or, so that all count alike, how often a task is seen in the mean over how often this one is.
    """
    seen = dict.fromkeys(sizes, 1.0)
    if config.task_weighting == TaskWeighting.EQUAL:
        if on_exhausted == Exhausted.DROP:
            seen = {task: float(-(-size // rows_of_a_part)) for task, size in sizes.items()}
        elif config.sampling in _BY_SIZE and config.tasks_per_step in (None, 1):
            seen = {task: size ** (1.0 / config.temperature) for task, size in sizes.items()}
    mean = sum(seen.values()) / len(seen)
    return {task: mean / number for task, number in seen.items()}


def give_own_groups(optimizer: Any, parameters: Sequence[nn.Parameter], learning_rate: float) -> None:
    """Move parameters of tasks into groups of their own, before the optimizer has made a step.

    Args:
        optimizer: Of all parameters; options of the groups stay, but for the learning rate.
        parameters: Of tasks.
        learning_rate: Of these groups.
    """
    known = {id(parameter) for parameter in parameters}
    for group in list(optimizer.param_groups):
        own = [parameter for parameter in group["params"] if id(parameter) in known]
        group["params"] = [parameter for parameter in group["params"] if id(parameter) not in known]
        if own:
            optimizer.add_param_group({**group, "params": own, "lr": learning_rate})
    optimizer.param_groups[:] = [group for group in optimizer.param_groups if group["params"]]


def with_means(by_task: Mapping[str, Mapping[str, float]], prefix: str) -> dict[str, float]:
    """Name metrics by task, and take their means.

    Args:
        by_task: Metrics of each task, whose names begin with the prefix.
        prefix: Such as ``eval``.

    Returns:
        Means over tasks of what all of them have, and each metric with the task's name after the prefix.

    Raises:
        InputError: Two get the same name.
    """
    shared = set.intersection(*(set(metrics) for metrics in by_task.values()))
    names = [name for name in next(iter(by_task.values())) if name in shared]
    found = {name: sum(metrics[name] for metrics in by_task.values()) / len(by_task) for name in names}
    for task, metrics in by_task.items():
        for name, value in metrics.items():
            key = f"{prefix}_{task}{name.removeprefix(prefix)}"
            if key in found:
                raise InputError(f"two metrics are called '{key}': names of tasks and metrics run together. Rename the task.")
            found[key] = value
    return found
