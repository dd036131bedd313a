"""compressed-tensors: int8 codes as they are, or two, four or eight bits packed along the input axis.

``W = (code - zero) * scale`` with a scale per tensor, output, group of inputs or block. ``int-quantized`` keeps ``weight``
as int8. ``pack-quantized`` keeps ``weight_packed``, int32 words with the lowest bits first, of codes moved up by
``2**(bits - 1)``, and the weight's shape in ``weight_shape``; zero points are packed likewise, down the output axis.
``weight_g_idx`` names the group of each input, where inputs were ordered by activation.

Three, five, six and seven bits are not read: versions of the library pack them in two ways. Its float8 weights are those of
``float8.py``, its four-bit floats those of ``float4.py``. Source: github vllm-project/compressed-tensors,
compressors/pack_quantized/{base,helpers}.py and quantization/lifecycle/forward_helpers.py.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np

from spectra.sources.quantized.arithmetic import FloatArray, expanded, scale_values, unpacked, whole
from spectra.sources.quantized.blocks import aligned, block_lengths, blocks_of
from spectra.sources.quantized.recipe import (
    Checkpoint,
    Found,
    Recipe,
    RefusedError,
    check_indices,
    damaged,
    found,
    whole_number,
)
from spectra.sources.quantized.settings import weight_arguments
from spectra.sources.tensors import StoredTensor

FORMAT = "compressed-tensors"

_BITS = (2, 4, 8)
_CHECK = "check the files and their config.json"


def find(codes: StoredTensor, checkpoint: Checkpoint) -> Found | None:
    """Recognise a weight: packed by its name, int8 by the configuration; see ``recipe``."""
    if codes.name.endswith("weight_packed") and codes.dtype == "int32":
        return found(codes, checkpoint, FORMAT, lambda: _packed(codes, checkpoint))
    if codes.name.endswith("weight") and codes.dtype == "int8" and checkpoint.method == FORMAT:
        return found(codes, checkpoint, FORMAT, lambda: _plain(codes, checkpoint))
    return None


def _plain(codes: StoredTensor, checkpoint: Checkpoint) -> Recipe:
    scales, zeros = checkpoint.need(f"{codes.name}_scale"), checkpoint.first(f"{codes.name}_zero_point")
    shape, blocks = _blocks(codes.shape, scales, checkpoint)
    if zeros is not None and math.prod(zeros.shape) != math.prod(scales.shape):
        raise RefusedError(f"with scales {scales.shape} and zero points {zeros.shape}; {_CHECK}")
    points = None if zeros is None else partial(_plain_zeros, zeros)
    read = partial(_read, codes.read, codes.shape, scales, points, shape, blocks, None)
    return Recipe(FORMAT, codes.name, codes.shape, "int8", read, (scales,) if zeros is None else (scales, zeros))


def _packed(codes: StoredTensor, checkpoint: Checkpoint) -> Recipe:
    name = codes.name.removesuffix("_packed")
    scales, sides = checkpoint.need(f"{name}_scale"), checkpoint.need(f"{name}_shape")
    zeros, order = checkpoint.first(f"{name}_zero_point"), checkpoint.first(f"{name}_g_idx")
    # Two numbers, and the only place that knows the weight's shape: read when tensors are listed.
    shape = tuple(whole_number(side, sides.name) for side in checkpoint.listed(sides.name).tolist())
    bits = _bits(codes, shape, checkpoint)
    scale_shape, blocks = _blocks(shape, scales, checkpoint)
    said = [arguments.get("symmetric", True) for arguments in weight_arguments(checkpoint.settings)]
    if said and all(symmetric is False for symmetric in said):
        checkpoint.need(f"{name}_zero_point")
    if zeros is not None and (zeros.dtype != "int32" or zeros.shape != (math.ceil(shape[0] * bits / 32), scale_shape[1])):
        raise RefusedError(f"with {zeros.dtype} zero points {zeros.shape} for a weight {shape} of {bits} bits; {_CHECK}")
    if order is not None:
        check_indices(order)
    if order is not None and order.shape != (shape[1],):
        raise RefusedError(f"whose '{order.name}' has shape {order.shape} for {shape[1]} inputs; {_CHECK}")
    points = None if zeros is None else partial(_packed_zeros, zeros, bits, shape[0])
    read = partial(_read, partial(_unpacked_rows, codes, bits, shape[1]), shape, scales, points, scale_shape, blocks, order)
    parts = tuple(part for part in (scales, sides, zeros, order) if part is not None)
    return Recipe(FORMAT, name, shape, f"int{bits}", read, parts)


def _bits(codes: StoredTensor, shape: tuple[int, ...], checkpoint: Checkpoint) -> int:
    named_bits = [arguments.get("num_bits") or 0 for arguments in weight_arguments(checkpoint.settings)]
    said = {whole_number(bits, "num_bits") for bits in named_bits} - {0}
    if len(shape) != 2 or len(codes.shape) != 2 or codes.shape[0] != shape[0]:
        raise RefusedError(f"of words {codes.shape} for a weight {shape}, where one row of words per output is known; {_CHECK}")
    fitting = [bits for bits in _BITS if math.ceil(shape[1] * bits / 32) == codes.shape[1] and (not said or bits in said)]
    if len(fitting) != 1:
        expected = sorted(said) if said else _BITS
        raise RefusedError(f"of words {codes.shape} for a weight {shape}: not of {expected} bits as they are known; {_CHECK}")
    return fitting[0]


def _blocks(shape: tuple[int, ...], scales: StoredTensor, checkpoint: Checkpoint) -> tuple[tuple[int, ...], tuple[int, ...]]:
    scale_shape = aligned(shape, scales.shape)
    known = block_lengths(checkpoint.settings)
    if not known and len(scale_shape) == 2 and scale_shape[1] and shape[1] % scale_shape[1] == 0:
        known = [(1, shape[1] // scale_shape[1])]  # the format has no shorter last group (_process_group)
    return scale_shape, blocks_of(shape, scale_shape, known)


def _unpacked_rows(codes: StoredTensor, bits: int, inputs: int, start: int, stop: int) -> FloatArray:
    words = np.ascontiguousarray(codes.read(start, stop).T)
    return np.ascontiguousarray(unpacked(words, bits, inputs).T).astype(np.float32) - np.float32(1 << (bits - 1))


def _plain_zeros(zeros: StoredTensor, shape: tuple[int, ...]) -> FloatArray:
    return whole(zeros).reshape(shape).astype(np.float32)


def _packed_zeros(zeros: StoredTensor, bits: int, outputs: int, shape: tuple[int, ...]) -> FloatArray:
    return unpacked(whole(zeros), bits, outputs).reshape(shape).astype(np.float32) - np.float32(1 << (bits - 1))


def _read(
    rows: Callable[[int, int], FloatArray],
    shape: tuple[int, ...],
    scales: StoredTensor,
    points: Callable[[tuple[int, ...]], FloatArray] | None,
    scale_shape: tuple[int, ...],
    blocks: tuple[int, ...],
    order: StoredTensor | None,
    start: int,
    stop: int,
) -> FloatArray:
    weight = rows(start, stop).astype(np.float32)
    group = None if order is None else whole(order).astype(np.int64)
    if group is not None and (group == -1).all():  # how the library says that inputs are in order
        group = None
    if group is not None and group.size and not 0 <= int(group.min()) <= int(group.max()) < scale_shape[1]:
        raise damaged(order.name if order else "", "names groups that have no scale")

    def of_entries(numbers: FloatArray) -> FloatArray:
        if group is None:
            return expanded(numbers, blocks, shape, start, stop)
        return numbers[start:stop, group] if scale_shape[0] > 1 else numbers[:, group]

    if points is not None:
        weight -= of_entries(points(scale_shape))
    weight *= of_entries(scale_values(scales).reshape(scale_shape))
    return weight
