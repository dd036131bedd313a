"""Regions of a model by its Fisher information: the whole, and the halves of high and of low scores."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from spectra.errors import InputError, did_you_mean
from spectra.results.fisher import Fisher
from spectra.results.words import counted

REGIONS = ("whole", "top", "bottom")

#: What moves, by name of the parameter: the entries of a mask, or all of them where it is ``None``.
Region = Mapping[str, Tensor | None]


class SurfaceLevel(StrEnum):
    """What is divided into halves."""

    TENSOR = "tensor"
    """Tensors by their mean Fisher information: as many in either half, however large, as in the published study."""
    PARAMETER = "parameter"
    """Single parameters by their Fisher information: as many in either half."""


def regions_of(fisher: Fisher, level: SurfaceLevel | str = "tensor", wanted: Sequence[str] = REGIONS) -> dict[str, Region]:
    """Find the whole and, if asked for, the top and the bottom half of the parameters that a Fisher information knows.

    Equal scores are ordered as the parameters are. Of an odd number the bottom half is the smaller one. At the level of
    parameters this holds one copy of the values while it works, and two masks of a byte for each parameter.

    Args:
        fisher: With values for the level of parameters.
        level: ``"tensor"`` or ``"parameter"``.
        wanted: Some of ``REGIONS``.

    Returns:
        The whole, asked for or not, and both halves if one of them is asked for.

    Raises:
        InputError: An unknown level or region, or no region; a score that is not finite, nothing to divide, or values that
            were not kept.
    """
    _check("level", [level], list(SurfaceLevel))
    _check("region", wanted, REGIONS)
    if not wanted:
        raise InputError(f"no region is asked for. Pass some of: {', '.join(REGIONS)}.")
    names = [tensor.name for tensor in fisher.tensors if tensor.num_params]
    regions: dict[str, Region] = {"whole": dict.fromkeys(names)}
    if {"top", "bottom"}.isdisjoint(wanted):
        return regions
    wrong = [tensor.name for tensor in fisher.tensors if not np.isfinite(tensor.trace)]
    if wrong:
        raise InputError(f"the Fisher information of '{wrong[0]}' is not finite, so that it has no rank. Measure it again.")
    halves = _halves_of_parameters(fisher, names) if level == SurfaceLevel.PARAMETER else _halves_of_tensors(fisher, names)
    return regions | dict(zip(("top", "bottom"), halves, strict=True))


def _check(what: str, words: Sequence[str], known: Sequence[str]) -> None:
    for word in words:
        if word not in known:
            raise InputError(f"unknown {what} '{word}'.{did_you_mean(word, known)} Known: {', '.join(known)}.")


def _halves_of_tensors(fisher: Fisher, names: list[str]) -> tuple[Region, Region]:
    if len(names) < 2:
        raise InputError(
            f"the Fisher information knows {counted(len(names), 'tensor')}, two halves need 2. Pass level='parameter'."
        )
    means = {tensor.name: tensor.mean for tensor in fisher.tensors}
    ascending = sorted(names, key=means.__getitem__)
    bottom = set(ascending[: len(names) // 2])
    return dict.fromkeys(name for name in names if name not in bottom), dict.fromkeys(name for name in names if name in bottom)


def _halves_of_parameters(fisher: Fisher, names: list[str]) -> tuple[Region, Region]:
    if any(name not in fisher.values for name in names):
        raise InputError("level='parameter' needs the values of the Fisher information: measure it with keep='values'.")
    num_params = sum(tensor.num_params for tensor in fisher.tensors)
    if num_params < 2:
        raise InputError(
            f"the Fisher information knows {counted(num_params, 'parameter')}, two halves need 2. Measure more of the model."
        )
    low = _lowest(fisher.values, names, num_params)
    top = {name: ~mask for name, mask in low.items() if not mask.all()}
    return top, {name: mask for name, mask in low.items() if mask.any()}


def _lowest(values: Mapping[str, NDArray[np.floating]], names: list[str], num_params: int) -> dict[str, Tensor]:
    """Mark exactly half of all entries, the lowest; of those that equal the highest of them, the first."""
    threshold, num_ties = _threshold(values, names, num_params)
    masks = {}
    for name in names:
        value = values[name]
        flat = value.reshape(-1)
        mask = flat < threshold
        ties = np.flatnonzero(flat == threshold)[:num_ties]
        mask[ties] = True
        num_ties -= len(ties)
        masks[name] = torch.from_numpy(mask.reshape(value.shape))
    return masks


def _threshold(values: Mapping[str, NDArray[np.floating]], names: list[str], num_params: int) -> tuple[np.floating, int]:
    """The highest of the lowest half, and how many of that half equal it."""
    flat = np.empty(num_params, np.result_type(*{values[name].dtype for name in names}))
    start = 0
    for name in names:  # one by one: values of a saved Fisher are read when asked for, and all of them are held once only
        value = values[name]
        flat[start : start + value.size] = value.reshape(-1)
        start += value.size
    count = num_params // 2
    flat.partition(count - 1)
    threshold = flat[count - 1]
    return threshold, count - int(np.count_nonzero(flat[:count] < threshold))
