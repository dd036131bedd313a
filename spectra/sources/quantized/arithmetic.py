"""Arithmetic that several formats share: reading ingredients, spreading scales over blocks, taking numbers out of words."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.sources.small_floats import SCALE_DTYPE, values_of
from spectra.sources.tensors import StoredTensor

FloatArray = NDArray[np.float32]


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
