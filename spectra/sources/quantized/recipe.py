"""What the formats have in common: how a weight in quantized storage is described, refused and put together again."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import SourceError
from spectra.sources.small_floats import SCALE_DTYPE, values_of
from spectra.sources.tensors import StoredTensor

FloatArray = NDArray[np.float32]

_INGREDIENT = re.compile(r"scale|zero|g_idx|absmax|quant_map|quant_state|SCB|weight_format|weight_shape|workspace")

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
        return str(self.settings.get("quant_method") or "").lower()

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
        return whole(tensor).reshape(-1)


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
        weight = dataclasses.replace(codes, unreadable=f"{form} storage {refusal}", quantized=form)
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
    layer = codes.name.rpartition(".")[0]
    near = (name for name in checkpoint.tensors if name.startswith(f"{codes.name}.") or name.rpartition(".")[0] == layer)
    return tuple(name for name in near if name != codes.name and _INGREDIENT.search(name.removeprefix(f"{layer}.")))


def whole(tensor: StoredTensor) -> NDArray[Any]:
    """Read a tensor that is an ingredient: small beside the weight.

    Args:
        tensor: Of any rank.

    Returns:
        Its numbers in its shape: integers as they are, every kind of floating point as float32 or float64.
    """
    return tensor.read(0, tensor.shape[0] if tensor.shape else 1).reshape(tensor.shape)


def scale_values(tensor: StoredTensor) -> FloatArray:
    """Read scales.

    Args:
        tensor: Floating point; or bytes, which the microscaling formats keep exponents of powers of two in.

    Returns:
        float32 numbers in the tensor's shape.
    """
    numbers = whole(tensor)
    return values_of(SCALE_DTYPE)[numbers] if tensor.dtype == "uint8" else numbers.astype(np.float32, copy=False)


def expanded(scales: NDArray[Any], blocks: Sequence[int], shape: Sequence[int], start: int, stop: int) -> NDArray[Any]:
    """Give every entry of some rows the scale of its block.

    Args:
        scales: One number per block, of the weight's rank.
        blocks: Length of a block along each axis.
        shape: Of the weight.
        start: First row.
        stop: Row after the last.

    Returns:
        An array that broadcasts to the rows.
    """
    ranges = [np.arange(start, stop), *(np.arange(side) for side in shape[1:])]
    for axis, (block, entries) in enumerate(zip(blocks, ranges, strict=True)):
        if scales.shape[axis] > 1:  # one block broadcasts
            scales = np.take(scales, entries // block, axis=axis)
    return scales


def blocks_of(shape: Sequence[int], scale_shape: Sequence[int], known: Sequence[Sequence[int]]) -> tuple[int, ...]:
    """Find the length of a block along each axis from the shapes of the weight and its scales.

    Args:
        shape: Of the weight.
        scale_shape: Of its scales, of the same rank.
        known: Block lengths of the last axes that the format or the configuration names; the last block may be ragged.

    Returns:
        One length per axis: 1 for a scale per entry, the whole side for one scale.

    Raises:
        RefusedError: No known block leads from one shape to the other, or two different ones do.
    """
    simple = [1 if count == side else side if count == 1 else 0 for side, count in zip(shape, scale_shape, strict=False)]
    if len(simple) == len(shape) == len(scale_shape) and all(simple):
        return tuple(simple)
    fitting = set()
    for block in known:
        lengths = [*([1] * (len(shape) - len(block))), *block]
        if len(scale_shape) == len(shape) == len(lengths):
            counts = [math.ceil(side / length) for side, length in zip(shape, lengths, strict=True)]
            if list(scale_shape) == counts:
                fitting.add(tuple(lengths))
    if len(fitting) != 1:
        said = f"of {' or '.join('x'.join(map(str, block)) for block in known)}" if known else "that the configuration names"
        raise RefusedError(
            f"whose scales {tuple(scale_shape)} do not divide the weight {tuple(shape)} into blocks {said}; check the files "
            "and their config.json"
        )
    return fitting.pop()


def unpacked(words: NDArray[Any], bits: int, count: int) -> NDArray[np.uint8]:
    """Take numbers of a few bits out of 32-bit words, along the first axis.

    The numbers lie in one stream of bits, the lowest first; a number may begin in one word and end in the next (3 bits).

    Args:
        words: int32, shape ``(num_words, n)``.
        bits: Of one number, at most 8.
        count: How many numbers the stream holds.

    Returns:
        Shape ``(count, n)``.
    """
    words = words.view(np.uint32)
    if 32 % bits == 0:  # several times faster than by position
        shifts = np.arange(0, 32, bits, dtype=np.uint32)[None, :, None]
        numbers = ((words[:, None, :] >> shifts) & np.uint32((1 << bits) - 1)).astype(np.uint8)
        return numbers.reshape(len(words) * (32 // bits), words.shape[1])[:count]
    first, shift = np.divmod(np.arange(count) * bits, 32)
    low = words[first] >> shift[:, None].astype(np.uint32)
    # The rest of a number that ends in the next word; shifted by 32 it is none of the number's bits.
    rest = words[np.minimum(first + 1, len(words) - 1)].astype(np.uint64) << (32 - shift)[:, None].astype(np.uint64)
    straddling: NDArray[np.uint8] = ((low | rest.astype(np.uint32)) & np.uint32((1 << bits) - 1)).astype(np.uint8)
    return straddling


def damaged(name: str, what: str) -> SourceError:
    """Make the error for stored numbers that contradict their format, which only reading them shows.

    Args:
        name: Of the tensor.
        what: What is wrong with it.

    Returns:
        The error.
    """
    return SourceError(f"'{name}' {what}: the checkpoint is damaged or not what it says. Download or copy it again.")
