"""What the formats have in common: how a weight in quantized storage is found, described and refused.

A format is a module with a function ``find(codes, checkpoint)`` that tells what stands in the place of a tensor with codes,
or ``None`` for a tensor that is none of its own.
"""

from __future__ import annotations

import dataclasses
import re
from bisect import bisect_left
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

from numpy.typing import NDArray

from spectra.errors import SourceError
from spectra.printable import named
from spectra.sources.quantized.arithmetic import FloatArray, whole
from spectra.sources.tensors import StoredTensor

_INGREDIENT = re.compile(r"scale|zero|g_idx|absmax|quant_map|quant_state|SCB|weight_format|weight_shape|workspace")

# What is read when tensors are listed is a shape or a few settings: hundreds of bytes. And no setting is a larger number.
_MOST_LISTED, _LARGEST = 2**16, 2**31

_MOST_OF_A_MODULE = 1000

_LONGEST_METHOD, _LONGEST_REASON = 40, 600  # characters: what a file says goes into reasons

_COMPLETE = "codes alone are not weights: get the complete checkpoint"


class RefusedError(Exception):
    """A weight cannot be dequantized; the message follows the format's name and the word 'storage'."""


@dataclass(frozen=True)
class Checkpoint:
    """What a format may look at.

    Attributes:
        tensors: Every tensor, by name.
        settings: The ``quantization_config`` of the model's configuration; empty without one.
        is_live: The tensors are those of a live module, where a library may have rearranged them for its kernels.
    """

    tensors: Mapping[str, StoredTensor]
    settings: Mapping[str, Any] = field(default_factory=dict)
    is_live: bool = False

    @property
    def method(self) -> str:
        """``quant_method`` in lower case, or an empty string."""
        return str(self.settings.get("quant_method") or "").lower()[:_LONGEST_METHOD]

    @cached_property
    def has_scales(self) -> bool:
        """Whether any weight comes with scales of its own, so that one without them lacks its."""
        return any(name == "scaled_fp8" or name.endswith(("_scale_inv", "_scale", ".scale_weight")) for name in self.tensors)

    @cached_property
    def _in_order(self) -> list[str]:
        return sorted(self.tensors)

    def under(self, prefix: str) -> list[str]:
        """Find the tensors of a module, without a look at all others: there may be a hundred thousand.

        Args:
            prefix: What their names begin with.

        Returns:
            Their names. None for an empty prefix in a model of more than a thousand tensors, which is no single module.
        """
        if not prefix and len(self.tensors) > _MOST_OF_A_MODULE:
            return []
        first, last = (bisect_left(self._in_order, prefix + end) for end in ("", "\U0010ffff"))
        return self._in_order[first:last]

    def need(self, name: str) -> StoredTensor:
        """Return a tensor without which a weight cannot be dequantized.

        Args:
            name: Its name.

        Returns:
            The tensor.

        Raises:
            RefusedError: It is not there.
        """
        if name not in self.tensors:
            raise RefusedError(f"without its '{name}'; {_COMPLETE}")
        return self.tensors[name]

    def first(self, *names: str) -> StoredTensor | None:
        """Return the first tensor that is there.

        Args:
            *names: In order of preference.

        Returns:
            The tensor, or ``None``.
        """
        return next((self.tensors[name] for name in names if name in self.tensors), None)

    def listed(self, name: str) -> NDArray[Any]:
        """Read a tensor of a few numbers when tensors are listed: the weight's shape, which nothing else tells.

        Args:
            name: Its name.

        Returns:
            Its numbers, flat.

        Raises:
            RefusedError: It is not there or cannot be read.
        """
        tensor = self.need(name)
        if tensor.unreadable:
            raise RefusedError(f"whose '{name}' cannot be read ({tensor.unreadable}); load the model with its weights")
        if not 0 < tensor.size <= _MOST_LISTED:
            raise RefusedError(f"whose '{name}' has {tensor.size} numbers where a few are known; check the files")
        return whole(tensor).reshape(-1)


def whole_number(value: object, what: str) -> int:
    """Check a number that a file names.

    Args:
        value: From a configuration, or stored as JSON.
        what: Its name there.

    Returns:
        The number; it may be negative.

    Raises:
        RefusedError: Anything else than a whole number, or one that is no setting.
    """
    if isinstance(value, bool) or not isinstance(value, int) or abs(value) > _LARGEST:
        raise RefusedError(f"whose {what} is {named(repr(value))}, where a whole number is known; check the files")
    return value


def check_indices(tensor: StoredTensor) -> None:
    """Refuse numbers that are no indices.

    Args:
        tensor: That names groups.

    Raises:
        RefusedError: Another dtype than those that torch indexes with.
    """
    if tensor.dtype not in ("int32", "int64"):
        raise RefusedError(f"whose '{tensor.name}' holds {tensor.dtype} numbers, where int32 is known; check the files")


@dataclass(frozen=True)
class Recipe:
    """How to get one weight back.

    Attributes:
        format: Name of the storage format.
        name: Of the weight.
        shape: Of the weight, as the layer computes with it.
        dtype: Of one stored number: ``"int4"``, ``"nf4"``, ``"float8_e4m3fn"``.
        read: ``read(start, stop)`` gives those rows as float32.
        parts: The tensors that ``read`` needs beside the codes.
    """

    format: str
    name: str
    shape: tuple[int, ...]
    dtype: str
    read: Callable[[int, int], FloatArray]
    parts: tuple[StoredTensor, ...]


@dataclass(frozen=True)
class Found:
    """A weight in quantized storage: what stands in the place of its codes, and what went into it.

    Attributes:
        weight: Readable, or unreadable with the reason.
        parts: Names of the other tensors of the weight.
    """

    weight: StoredTensor
    parts: tuple[str, ...]


def found(codes: StoredTensor, checkpoint: Checkpoint, form: str, recipe: Callable[[], Recipe]) -> Found:
    """Work a recipe out, or refuse it with its reason.

    Args:
        codes: The tensor that is replaced.
        checkpoint: Where it comes from.
        form: The format's name, for a refusal.
        recipe: Gives the recipe or raises ``RefusedError``.

    Returns:
        The weight. After a refusal everything of the layer that looks like an ingredient counts as a part of it.
    """
    try:
        made = recipe()
        _refuse_twins(made.name, codes, checkpoint)
    except RefusedError as refusal:
        weight = dataclasses.replace(codes, unreadable=f"{form} storage {refusal}"[:_LONGEST_REASON], quantized=form)
        return Found(weight, siblings(codes, checkpoint))
    missing = next((part.unreadable for part in (codes, *made.parts) if part.unreadable), None)
    weight = dataclasses.replace(
        codes,
        name=made.name,
        shape=made.shape,
        dtype=made.dtype,
        read=made.read,
        quantized=made.format,
        unreadable=missing,
    )
    return Found(weight, tuple(part.name for part in made.parts))


def _refuse_twins(name: str, codes: StoredTensor, checkpoint: Checkpoint) -> None:
    if name != codes.name and name in checkpoint.tensors:
        raise RefusedError(f"beside a plain '{name}': which of the two is used cannot be known; remove one")


def siblings(codes: StoredTensor, checkpoint: Checkpoint) -> tuple[str, ...]:
    """Name the tensors of a layer that no weight is made of alone: scales, zero points, tables.

    Args:
        codes: The tensor with the layer's codes.
        checkpoint: Where it comes from.

    Returns:
        Their names.
    """
    layer, dot, _ = codes.name.rpartition(".")
    of_layer = (name for name in checkpoint.under(layer + dot) if name.rpartition(".")[0] == layer)
    near = dict.fromkeys([*of_layer, *checkpoint.under(f"{codes.name}.")])
    return tuple(name for name in near if name != codes.name and _INGREDIENT.search(name.removeprefix(f"{layer}.")))


def damaged(name: str, what: str) -> SourceError:
    """Make the error for stored numbers that contradict their format, which only reading them shows.

    Args:
        name: Of the tensor.
        what: What is wrong with it.

    Returns:
        The error.
    """
    return SourceError(f"'{name}' {what}: the checkpoint is damaged or not what it says. Download or copy it again.")
