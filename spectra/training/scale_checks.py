"""What a controller of learning rates refuses: optimizers that it cannot multiply in, and numbers that are no multipliers."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from torch import Tensor
from torch.optim import Optimizer

from spectra.errors import InputError, did_you_mean
from spectra.training.parameter_groups import BASE, TARGETS, group_unit


def refuse_unscalable(optimizer: Optimizer) -> None:
    """Refuse an optimizer in which there is nothing to multiply.

    Args:
        optimizer: Any.

    Raises:
        InputError: No unit, or a group without a learning rate.
    """
    if all(group_unit(group, target) == BASE for group in optimizer.param_groups for target in TARGETS):
        raise InputError(
            "optimizer: no group belongs to a unit. Split them with split_parameter_groups, or make the optimizer from "
            "build_parameter_groups."
        )
    without = [number for number, group in enumerate(optimizer.param_groups) if group.get("lr") is None]
    if without:
        raise InputError(f"optimizer: group {without[0]} has no learning rate to multiply. Give {_kind(optimizer)} one.")


def refuse_missing_decay(optimizer: Optimizer) -> None:
    """Refuse an optimizer that knows no weight decay.

    Args:
        optimizer: Any.

    Raises:
        InputError: It does not.
    """
    if not any("weight_decay" in group for group in optimizer.param_groups):
        raise InputError(f"target: {_kind(optimizer)} has no weight decay. Use another optimizer or target.")


def refuse_meaningless_product(optimizer: Optimizer, of_learning_rate: bool) -> None:
    """Refuse to keep the product of learning rate and weight decay where that says nothing.

    Args:
        optimizer: Any. Adam and its like say that their decay is not decoupled; of others it is not known.
        of_learning_rate: It is the learning rate that is multiplied.

    Raises:
        InputError: It is not, or the decay goes through Adam's normalization.
    """
    if not of_learning_rate:
        raise InputError("keep_lr_times_wd: it belongs to multipliers of the learning rate. Set it with those.")
    if any(group.get("weight_decay") and group.get("decoupled_weight_decay") is False for group in optimizer.param_groups):
        raise InputError(
            f"keep_lr_times_wd: {_kind(optimizer)} adds its weight decay to the gradient, so that the product with the "
            "learning rate says nothing. Use AdamW, or leave the option out."
        )


def refuse_other_units(stored: Mapping[str, float], units: Sequence[str]) -> None:
    """Refuse multipliers that were saved for other units.

    Args:
        stored: Multiplier by unit.
        units: Of the optimizer.

    Raises:
        InputError: Units that are gone, or new; all of them are named.
    """
    gone = [f"'{unit}' is gone.{did_you_mean(unit, units)}" for unit in stored if unit not in units]
    new = [f"'{unit}' is new." for unit in units if unit not in stored]
    if gone or new:
        raise InputError(f"state: of other units: {' '.join(gone + new)} Pass strict=False to take what fits.")


def refuse_other_split(here: Sequence[Mapping[str, Any]], there: Sequence[Mapping[str, Any]]) -> None:
    """Refuse an optimizer's state whose groups belong to other units: loading would mix them up.

    Args:
        here: Groups of the optimizer.
        there: Groups in the state.

    Raises:
        InputError: They do.
    """
    units, stored = ([[group_unit(group, target) for target in TARGETS] for group in groups] for groups in (here, there))
    if units != stored:
        unlike = (number for number, pair in enumerate(zip(units, stored, strict=False)) if pair[0] != pair[1])
        first = next(unlike, min(len(units), len(stored)))
        raise InputError(
            f"state: of an optimizer whose groups were split otherwise, from group {first} on. Split them as they were then "
            "(the same policies in the same order), or start with a new optimizer: under a Trainer, without the checkpoint's "
            "optimizer.pt."
        )


def checked_scales(scales: Mapping[str, float], units: Sequence[str], *, allow_zero: bool) -> dict[str, float]:
    """Return the multiplier of every unit, 1 where none is given.

    Args:
        scales: Multiplier by unit.
        units: Of the optimizer.
        allow_zero: Zero is a multiplier.

    Returns:
        In the order of ``units``.

    Raises:
        InputError: Unknown units, or numbers that are no multipliers; all of them are named.
    """
    unknown = [unit for unit in scales if unit not in units]
    if unknown:
        raise InputError(
            f"scales: {len(unknown)} of {len(scales)} units have no parameter group: {', '.join(map(repr, unknown))}."
            f"{did_you_mean(unknown[0], units)} 'units()' lists those that have."
        )
    wrong = [f"'{unit}' ({scale!r})" for unit, scale in scales.items() if not _is_scale(scale, allow_zero)]
    if wrong:
        least = "at least 0" if allow_zero else "above 0"
        raise InputError(f"scales: expected finite multipliers {least}, got {', '.join(wrong)}. Correct them.")
    return {unit: float(scales.get(unit, 1.0)) for unit in units}


def separate_tensors(groups: Sequence[dict[str, Any]], keys: Iterable[str]) -> None:
    """Give each group tensors of its own: torch hands one default to all groups.

    Args:
        groups: Of an optimizer; changed in place.
        keys: Of the values that may be tensors.
    """
    seen = set()
    for group in groups:
        for key in keys:
            value = group.get(key)
            if isinstance(value, Tensor):
                if value.data_ptr() in seen:
                    group[key] = value.detach().clone()
                seen.add(value.data_ptr())


def _is_scale(value: object, allow_zero: bool) -> bool:
    if isinstance(value, bool) or not isinstance(value, int | float | np.integer | np.floating):
        return False
    return math.isfinite(value) and bool(value > 0 or (allow_zero and value == 0))


def _kind(optimizer: Optimizer) -> str:
    return type(optimizer).__name__
