"""Multipliers of learning rates and weight decays by unit, at work inside ``optimizer.step()`` only.

Written into a group's learning rate, a multiplier compounds: ``StepLR``, ``CosineAnnealingLR`` and others compute the next
value from the one they find. Here a hook before the step multiplies, and one after it puts the scheduler's value back, bit for
bit. So any scheduler goes on as if nothing were there, a step that mixed precision leaves out needs no care, and checkpoints
hold the scheduler's values.

Two limits. If ``step()`` raises an error and the run goes on, whatever of ours runs next (the next step, ``set``, ``restore``,
loading) puts the values back first, and ``state_dict`` holds them; but a scheduler that makes a step *before* that finds the
multiplied ones. ``with scale.applied(): optimizer.step()`` does not have this hole. And where an optimizer's ``step`` calls
that of its parent class, it finds the scheduler's values again once the parent has returned.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

from spectra.errors import InputError
from spectra.policies.drop_prob import chosen
from spectra.training.parameter_groups import (
    BASE,
    LEARNING_RATE,
    TARGETS,
    WEIGHT_DECAY,
    group_unit,
    split_parameter_groups,
    unwrapped_optimizer,
)
from spectra.training.scale_checks import (
    checked_scales,
    refuse_meaningless_product,
    refuse_missing_decay,
    refuse_other_split,
    refuse_other_units,
    refuse_unscalable,
    separate_tensors,
)

STATE_VERSION = 1

_KEYS = {LEARNING_RATE: "lr", WEIGHT_DECAY: "weight_decay"}  # in a parameter group


@dataclass(frozen=True)
class _TensorValue:
    """A value that is a tensor, its multiplier, and where the scheduler's value is kept while they are multiplied."""

    value: Tensor
    factor: Tensor
    saved: Tensor


class OptimizerScale:
    """Multiplies learning rates and weight decays of an optimizer's groups by unit while it makes a step.

    Groups without the name of a unit, those that are added later among them, keep their values. The units of learning rates and
    weight decays may differ, see :func:`~spectra.training.parameter_groups.split_parameter_groups`. Learning rates that are
    tensors, as of compiled and captured steps, are changed in place, and so are their multipliers: a captured step follows
    :meth:`set`. Weight decays are numbers, which a captured step keeps.

    Args:
        optimizer: With groups that are split by unit; or accelerate's wrapper of one.

    Attributes:
        num_steps: Steps of the optimizer, without those that mixed precision or accumulation left out; and calls of
            :meth:`restore` that ended one by hand.

    Raises:
        InputError: No torch optimizer, one that has such a controller already, groups that are not split by unit, or a group
            without a learning rate.

    Example:
        >>> from spectra.training.parameter_groups import UNIT
        >>> weight = torch.nn.Parameter(torch.ones(1))
        >>> optimizer = torch.optim.SGD([{"params": [weight], UNIT: "layer.0"}], lr=0.25)
        >>> OptimizerScale(optimizer).set({"layer.0": 2.0})
        >>> weight.grad = torch.ones(1)
        >>> optimizer.step()
        >>> weight.item(), optimizer.param_groups[0]["lr"]
        (0.5, 0.25)
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self._optimizer = inner = unwrapped_optimizer(optimizer)
        refuse_unscalable(inner)
        if _at_work(inner) is not None:
            raise InputError(
                "optimizer: an OptimizerScale is at work on it. Set both targets with that one, or remove() it first."
            )
        self._scales: dict[str, dict[str, float]] = {target: {} for target in TARGETS}  # 1 for units that are not there
        self._keeps_product = False
        self._saved: list[tuple[dict[str, Any], str, Any]] = []  # while multiplied: group, key, the scheduler's value
        self._is_held = False  # by apply(): the hooks leave things alone
        self.num_steps = 0
        self._tensors: dict[tuple[int, str], _TensorValue] = {}  # by id of the group, and key
        self._users: set[str] = set()  # targets that somebody keeps up to date
        separate_tensors(inner.param_groups, _KEYS.values())
        self._handles = [
            inner.register_step_pre_hook(self._before_step),
            inner.register_step_post_hook(self._after_step),
            inner.register_state_dict_post_hook(self._with_own_values),
            inner.register_load_state_dict_pre_hook(self._before_loading),
            inner.register_load_state_dict_post_hook(self._after_loading),
        ]

    @classmethod
    def of(cls, optimizer: Optimizer) -> OptimizerScale:
        """Return the controller that is at work on an optimizer, or a new one.

        Args:
            optimizer: As for the class.

        Returns:
            The controller.
        """
        found = _at_work(unwrapped_optimizer(optimizer))
        return cls(optimizer) if found is None else found

    def units(self, target: str = LEARNING_RATE) -> tuple[str, ...]:
        """Return the names of the units that have a group.

        Args:
            target: ``learning_rate`` or ``weight_decay``.

        Returns:
            In the order of the groups.

        Raises:
            InputError: An unknown target.
        """
        chosen(target, TARGETS, "target")
        found = (group_unit(group, target) for group in self._optimizer.param_groups)
        return tuple(dict.fromkeys(unit for unit in found if unit != BASE))

    def claim(self, target: str) -> None:
        """Take the multipliers of a target over, until :meth:`release`.

        Args:
            target: ``learning_rate`` or ``weight_decay``.

        Raises:
            InputError: Somebody has them.
        """
        if target in self._users:
            raise InputError(f"optimizer: its {target} is balanced already. Remove the other one first.")
        self._users.add(target)

    def release(self, target: str) -> None:
        """Give the multipliers of a target up: they become 1, and the last to go removes the controller.

        Args:
            target: As claimed.
        """
        self.set({}, target=target)
        self._users.discard(target)
        if not self._users:
            self.remove()

    def set(self, scales: Mapping[str, float], *, target: str = LEARNING_RATE, keep_lr_times_wd: bool = False) -> None:
        """Set the multipliers from the next step on.

        Args:
            scales: Multiplier by unit; 1 for units that are not named.
            target: ``learning_rate``, whose multipliers are above 0, or ``weight_decay``, where 0 is one as well.
            keep_lr_times_wd: Divide weight decays by the multiplier of the learning rate. For decoupled decay, which works with
                the product of the two.

        Raises:
            InputError: An unknown target or unit, numbers that are no multipliers, an optimizer without weight decay, or
                ``keep_lr_times_wd`` where it means nothing. Nothing is changed then.
        """
        checked = checked_scales(scales, self.units(target), allow_zero=target == WEIGHT_DECAY)
        if target == WEIGHT_DECAY:
            refuse_missing_decay(self._optimizer)
        if keep_lr_times_wd:
            refuse_meaningless_product(self._optimizer, target == LEARNING_RATE)
        with self._changing():
            self._scales[target] = checked
            if target == LEARNING_RATE:
                self._keeps_product = keep_lr_times_wd

    def scales(self, target: str = LEARNING_RATE) -> dict[str, float]:
        """Return the multiplier of every unit.

        Args:
            target: ``learning_rate`` or ``weight_decay``.

        Returns:
            In the order of :meth:`units`.

        Raises:
            InputError: An unknown target.
        """
        units = self.units(target)
        return {unit: self._scales[target].get(unit, 1.0) for unit in units}

    def apply(self) -> None:
        """Multiply now, until :meth:`restore`: for engines that make a step without the optimizer's hooks."""
        if not self._is_held:
            self._put_back()
            self._is_held = True
            self._multiply()

    def restore(self) -> None:
        """Put the scheduler's values back; without multiplied ones nothing happens."""
        self.num_steps += self._is_held
        self._is_held = False
        self._put_back()

    @contextmanager
    def applied(self) -> Iterator[None]:
        """Multiply inside a ``with`` block, which ends with the scheduler's values whatever happens in it.

        Yields:
            Nothing.
        """
        was_held = self._is_held
        self.apply()
        try:
            yield
        finally:
            if not was_held:
                self.restore()

    def state_dict(self) -> dict[str, Any]:
        """Return the multipliers by target and unit, as plain values that JSON can hold."""
        scales = {target: self.scales(target) for target in TARGETS}
        return {"version": STATE_VERSION, "scales": scales, "keep_lr_times_wd": self._keeps_product}

    def load_state_dict(self, state: Mapping[str, Any], strict: bool = True) -> None:
        """Take the multipliers of another run.

        Args:
            state: Of its ``state_dict``.
            strict: Refuse a state of other units. Else units that are gone are left out, and new ones have multiplier 1.

        Raises:
            InputError: Another version, other units if strict, or numbers that are no multipliers. Nothing is changed then.
        """
        if state.get("version") != STATE_VERSION:
            raise InputError(
                f"state: of version {state.get('version')!r}, this is {STATE_VERSION}. Start with new multipliers."
            )
        loaded = {}
        for target in TARGETS:
            of_units, units = state["scales"][target], self.units(target)
            if strict:
                refuse_other_units(of_units, units)
            fitting = {unit: of_units[unit] for unit in units if unit in of_units}
            loaded[target] = checked_scales(fitting, units, allow_zero=target == WEIGHT_DECAY)
        with self._changing():
            self._scales = loaded
            self._keeps_product = bool(state["keep_lr_times_wd"])

    def remove(self) -> None:
        """Put the scheduler's values back and leave the optimizer alone; its groups stay split."""
        self._is_held = False
        self._put_back()
        for handle in self._handles:
            handle.remove()

    def _factor(self, group: Mapping[str, Any], target: str) -> float:
        factor = self._scales[target].get(group_unit(group, target), 1.0)
        if target == WEIGHT_DECAY and self._keeps_product:
            factor /= self._scales[LEARNING_RATE].get(group_unit(group), 1.0)
        return factor

    @torch.no_grad()
    def _multiply(self) -> None:
        for group in self._optimizer.param_groups:
            for target, key in _KEYS.items():
                value = group.get(key)
                if isinstance(value, Tensor):
                    kept = self._tensor_value(group, key, self._factor(group, target))
                    kept.saved.copy_(value)
                    value.mul_(kept.factor)
                    self._saved.append((group, key, kept.saved))
                elif value:  # None and zero: there is nothing to multiply
                    self._saved.append((group, key, value))
                    group[key] = value * self._factor(group, target)

    def _tensor_value(self, group: dict[str, Any], key: str, factor: float) -> _TensorValue:
        kept = self._tensors.get((id(group), key))
        if kept is None or kept.value is not group[key]:
            value = group[key]
            kept = _TensorValue(value, factor=torch.full_like(value, factor), saved=torch.empty_like(value))
            self._tensors[id(group), key] = kept
        return kept

    @torch.no_grad()
    def _put_back(self) -> None:
        while self._saved:
            group, key, value = self._saved.pop()
            if isinstance(value, Tensor):
                group[key].copy_(value)
            else:
                group[key] = value

    @contextmanager
    def _changing(self) -> Iterator[None]:
        """Let multipliers or groups be changed while nothing is multiplied, and bring them into force where they are held."""
        self._put_back()
        try:
            yield
        finally:
            self._bring_into_force()

    def _bring_into_force(self) -> None:
        for group in self._optimizer.param_groups:
            for target, key in _KEYS.items():
                if (id(group), key) in self._tensors:
                    self._tensors[id(group), key].factor.fill_(self._factor(group, target))
        if self._is_held:
            self._multiply()

    def _before_step(self, *_: object) -> None:
        if not self._is_held:
            self._put_back()  # of a step that raised an error
            self._multiply()

    def _after_step(self, optimizer: Optimizer, *_: object) -> None:
        if not self._is_held:  # else restore() counts
            # A gradient scaler calls fused optimizers even for a step that they are to skip; torch deletes the word for it
            # afterwards. Where there is none, nothing waits for the device.
            found_inf = getattr(optimizer, "found_inf", None)
            self.num_steps += found_inf is None or not bool(found_inf)
            self._put_back()

    def _with_own_values(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
        """Replace multiplied values in a state dict by the scheduler's."""
        own = {(id(group), key): value for group, key, value in self._saved}
        for group, packed in zip(optimizer.param_groups, state_dict["param_groups"], strict=True):
            for key in _KEYS.values():
                if (id(group), key) in own:
                    value = own[id(group), key]
                    packed[key] = value.clone() if isinstance(value, Tensor) else value

    def _before_loading(self, optimizer: Optimizer, state_dict: dict[str, Any]) -> None:
        refuse_other_split(optimizer.param_groups, state_dict["param_groups"])
        self._put_back()

    def _after_loading(self, optimizer: Optimizer) -> None:
        self._tensors.clear()
        separate_tensors(optimizer.param_groups, _KEYS.values())
        if self._is_held:
            self._multiply()


def split_for_target(optimizer: Optimizer, model: nn.Module, units: Mapping[str, str], target: str) -> None:
    """Split an optimizer's groups for a target, whether or not multipliers of the other one are at work on it.

    Args:
        optimizer: As for :func:`~spectra.training.parameter_groups.split_parameter_groups`, like the rest.
        model: Whose parameters it has.
        units: By name of the parameter.
        target: ``learning_rate`` or ``weight_decay``.
    """
    at_work = _at_work(unwrapped_optimizer(optimizer))
    # Not while values are multiplied: the parts would take these for the scheduler's.
    with nullcontext() if at_work is None else at_work._changing():
        split_parameter_groups(optimizer, model, units, target=target)


def _at_work(optimizer: Optimizer) -> OptimizerScale | None:
    owners = (getattr(hook, "__self__", None) for hook in optimizer._optimizer_step_pre_hooks.values())
    return next((owner for owner in owners if isinstance(owner, OptimizerScale)), None)
