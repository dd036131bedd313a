"""One adapter, and one head, for each task over a base that is trained with them; whatever the method of peft.

Which parameters are whose is not read off their names: what was there before peft came is the base, and what came with the
adapter of a task is that task's. The base keeps its original names, whatever peft calls it meanwhile.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectra.errors import InputError, did_you_mean
from spectra.training.libraries import imported
from spectra.training.meta_peft.adapter_configs import checked_tasks, head_names, peft_prefix, task_configs
from spectra.training.meta_peft.adapter_files import read_adapter, save_adapter
from spectra.training.meta_peft.adapter_making import largest_ranks, refuse_adapted, refuse_quantized, rehearsed, with_adapters
from spectra.training.meta_peft.base_weights import WEIGHTS, read_tensors, save_base
from spectra.training.meta_peft.outlines import around, outline


class TaskAdapters:
    """Adapters of tasks over one base.

    Args:
        model: The base. As peft does, the layers that are adapted are replaced in it.
        peft_config: Of peft, for all tasks or by task; tasks may differ in rank. ``None``: no adapters. It is not changed.
        tasks: Names: letters, digits, ``_`` and ``-``.
        head: Whose the output layer is. ``"per_task"``: each task has its own, which starts as a copy of the model's.
            ``"shared"``: there is one, trained with the base. ``"none"``: it is like any other layer of the base, so that
            peft's ``"all-linear"`` adapts it, too.
        head_modules: Names of the modules of the head. Default: ``score`` or ``classifier``, as for peft, with what ends so.
        base_trainable: Searched in the original names of the base's parameters: those in which it is found are trained, beside
            a shared head. Default: all. What has ``requires_grad`` off stays off.
        seed: Of the first values of adapters, which differ by task and do not depend on the other tasks.

    Attributes:
        model: What is trained: a model of peft, or the base itself where nothing belongs to a task.
        tasks: Their names.
        head: As above.
        head_modules: Names of the modules of the head that were found.
        has_adapters: Whether anything belongs to a task: an adapter or a head.
        peft_type: peft's word for the method; ``None`` without one.
        ranks: The rank of each task's adapter, the largest where layers differ; ``None`` for what has none.
        active: The task whose adapter computes; ``None`` before the first.
        outline: The base as it was, without its numbers, for :func:`~spectra.training.meta_peft.outlines.filled`.

    Raises:
        InputError: Names that cannot be, a base that cannot be retrained, or a configuration that does not fit it. The model
            has not been changed then.
    """

    def __init__(
        self,
        model: nn.Module,
        peft_config: Any,
        tasks: Sequence[str],
        *,
        head: str,
        head_modules: Sequence[str] | None = None,
        base_trainable: str | None = None,
        seed: int = 0,
    ) -> None:
        refuse_adapted(model)
        refuse_quantized(model)
        self.head, self.head_modules = str(head), head_names(model, head, head_modules)
        own_heads = self.head_modules if head == "per_task" else ()
        self.tasks = checked_tasks(tasks, model, peft_prefix(peft_config), own_heads)
        configs = task_configs(peft_config, self.tasks, head, self.head_modules)
        self.has_adapters = configs is not None
        self.outline = outline(model)
        trained = _trained(model, base_trainable, self.head_modules if head == "shared" else ())
        if configs:
            rehearsed(self.outline, configs, own_heads)

        self.active: str | None = None
        self._flags: tuple[str, bool, bool] | None = None
        modules = dict(model.named_modules(remove_duplicate=False))
        self.model: Any
        self.model, new = with_adapters(model, configs, seed=seed) if configs else (model, {})
        self._of_task = {task: _trained_for(self.model, task, new.get(task)) for task in self.tasks}
        self._base = _still_used(self.model, trained)
        self._keys = _keys_around(self.outline, modules, self.model)
        of_peft = {} if peft_config is None else configs or {}
        self.peft_type = next((_word(config.peft_type) for config in of_peft.values()), None)
        largest = largest_ranks(self.model) if of_peft else {}
        self.ranks = {task: largest.get(task, getattr(of_peft.get(task), "r", None)) for task in self.tasks}

    def activate(self, task: str, *, base: bool = True, adapter: bool = True) -> None:
        """Let a task's adapter and head compute, and say what is trained: those of no other task.

        Gradients that are there stay. Where nothing has to change, this costs a comparison.

        Args:
            task: Its name.
            base: Whether the base is trained.
            adapter: Whether the task's adapter and head are.

        Raises:
            InputError: No such task.
        """
        self._check(task)
        if self._flags == (task, base, adapter):
            return
        if self.has_adapters and task != self.active:
            self.model.set_adapter(task)
        self.active = task
        _require(self._base.values(), base)
        for other, parameters in self._of_task.items():
            _require(parameters.values(), adapter and other == task)
        self._flags = (task, base, adapter)

    def register_all(self) -> None:
        """Set ``requires_grad`` on all that is ever trained, for what looks at it once, as torch's DDP does."""
        for parameters in (self._base, *self._of_task.values()):
            _require(parameters.values(), True)
        self._flags = None

    @contextmanager
    def disabled(self) -> Iterator[None]:
        """Compute with the base alone, and the head that came with it.

        Yields:
            Nothing; afterwards all is as it was.
        """
        if not self.has_adapters:
            yield
            return
        model: Any = self.model
        before = [(parameter, parameter.requires_grad) for parameter in model.parameters()]
        try:
            with _without_prompts(model) if model.active_peft_config.is_prompt_learning else model.disable_adapter():
                yield
        finally:
            for parameter, was_trained in before:
                parameter.requires_grad_(was_trained)

    def task_parameters(self, task: str) -> dict[str, nn.Parameter]:
        """Return what is trained for one task: its adapter and head.

        Args:
            task: Its name.

        Returns:
            Parameters by their names in the model.

        Raises:
            InputError: No such task.
        """
        self._check(task)
        return dict(self._of_task[task])

    def base_parameters(self) -> dict[str, nn.Parameter]:
        """Return what is trained of the base, with a shared head.

        Returns:
            Parameters by their names in the model.
        """
        return dict(self._base)

    def base_state_dict(self) -> dict[str, Tensor]:
        """Return the base under its original names, without adapters and without heads of tasks.

        Returns:
            Exactly the keys of the model's state dict before; the tensors are the live ones, not copies.
        """
        state = self.model.state_dict()
        return {key: state[wrapped] for key, wrapped in self._keys.items()}

    def base_view(self) -> nn.Module:
        """Return the base under its original names, around the live parameters.

        Returns:
            A model of the class of the base, whose parameters and buffers are the very ones that are trained.
        """
        live = self.model.state_dict(keep_vars=True)
        return around(self.outline, {key: live[wrapped] for key, wrapped in self._keys.items()})

    def save(self, folder: str | Path) -> None:
        """Write the base, as ``from_pretrained`` reads it, and each adapter with its head into a folder of its own.

        Args:
            folder: New or existing.

        Raises:
            ResultsError: It cannot be written.
        """
        save_base(self.outline, self.base_state_dict(), folder, is_exact=True)
        for task in self.tasks if self.has_adapters else ():
            save_adapter(self.model, task, Path(folder) / task)

    def load(self, folder: str | Path) -> None:
        """Put what :meth:`save` wrote back into the live model, bit for bit.

        Args:
            folder: That it wrote.

        Raises:
            ResultsError: A file is missing, damaged, or of another model.
        """
        state = self.base_state_dict()
        stored = read_tensors(Path(folder) / WEIGHTS, state)
        tasks = self.tasks if self.has_adapters else ()
        adapters = {task: read_adapter(self.model, task, Path(folder) / task) for task in tasks}
        with torch.no_grad():
            for key, tensor in state.items():
                tensor.copy_(stored[key])
        for task, tensors in adapters.items():
            imported("peft").set_peft_model_state_dict(self.model, tensors, adapter_name=task)

    def _check(self, task: str) -> None:
        if task not in self._of_task:
            raise InputError(f"no task '{task}'.{did_you_mean(task, self.tasks)} There are: {', '.join(self.tasks)}.")


@contextmanager
def _without_prompts(model: Any) -> Iterator[None]:
    """Do what peft's ``disable_adapter`` does, which fails on classifiers, and leaves on the heads of tasks."""
    heads = [one for one in model.modules() if isinstance(one, imported("peft.utils").AuxiliaryTrainingWrapper)]
    model.forward = model.get_base_model().forward
    try:
        for one in heads:
            one.enable_adapters(False)
        yield
    finally:
        del model.forward
        for one in heads:
            one.enable_adapters(True)


def _trained(model: nn.Module, pattern: str | None, heads: Sequence[str]) -> set[int]:
    """Return the identities of the base's parameters that are to be trained."""
    try:
        found = re.compile("" if pattern is None else pattern).search
    except re.error as error:
        raise InputError(f"base_trainable: {pattern!r} is no regular expression ({error}).") from error
    in_head = tuple(f"{name}." for name in heads)
    trained = {
        id(parameter)
        for name, parameter in model.named_parameters()
        if parameter.requires_grad and (found(name) or name.startswith(in_head))
    }
    if not trained:
        names = ", ".join(name for name, _ in list(model.named_parameters())[:4])
        problem = (
            "every parameter has requires_grad off" if pattern is None else f"{pattern!r} is found in none that is trained"
        )
        raise InputError(f"base_trainable: {problem}, so that the base would stay as it is. Some parameters: {names}.")
    return trained


def _trained_for(model: Any, task: str, new: set[int] | None) -> dict[str, nn.Parameter]:
    if not new:
        return {}
    model.set_adapter(task)  # leaves off what a method never trains
    return {name: one for name, one in model.named_parameters() if id(one) in new and one.requires_grad}


def _still_used(model: nn.Module, trained: set[int]) -> dict[str, nn.Parameter]:
    """Leave out what only the head that came with the base has, where every task got its own."""
    wrapper = imported("peft.utils").ModulesToSaveWrapper
    copied = tuple(f"{name}.original_module." for name, module in model.named_modules() if isinstance(module, wrapper))
    everywhere = model.named_parameters(remove_duplicate=False)
    used = trained & {id(one) for name, one in everywhere if not name.startswith(copied)}
    return {name: one for name, one in model.named_parameters() if id(one) in used}


def _keys_around(empty: nn.Module, modules: Mapping[str, nn.Module], model: nn.Module) -> dict[str, str]:
    """Map the keys of the base's state dict to those of the model around it: peft keeps the modules, and moves them."""
    paths: dict[int, str] = {}
    for path, module in model.named_modules(remove_duplicate=False):
        paths.setdefault(id(module), path)
    keys = {}
    for key in empty.state_dict():
        path, _, name = key.rpartition(".")
        around = paths[id(modules[path])]
        keys[key] = f"{around}.{name}" if around else name
    return keys


def _require(parameters: Iterable[nn.Parameter], value: bool) -> None:
    for parameter in parameters:
        parameter.requires_grad_(value)


def _word(peft_type: Any) -> str:
    return str(getattr(peft_type, "value", peft_type))
