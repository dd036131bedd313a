"""GPTQ: integer codes packed along the input axis, with a scale and a zero point per group of inputs and output.

``W[o, i] = scales[g, o] * (code[i, o] - zero[g, o])`` with ``g = g_idx[i]``, and of shape

===========  ===========================  =======  ==============================================================
tensor       shape                        dtype    content
===========  ===========================  =======  ==============================================================
``qweight``  ``(in * bits / 32, out)``    int32    codes, one stream of bits down each column, lowest first
``qzeros``   ``(groups, out * bits/32)``  int32    zero points, likewise along each row
``scales``   ``(groups, out)``            float16
``g_idx``    ``(in,)``                    int32    group of each input; without it ``i // group_size``
===========  ===========================  =======  ==============================================================

Two versions of the format differ in the zero points: ``gptq`` stores them less one, ``gptq_v2`` as they are. The
configuration's ``checkpoint_format`` says which; where a GPTQ configuration is silent it is ``gptq``, which was there first.

Sources: github AutoGPTQ/AutoGPTQ, auto_gptq/nn_modules/qlinear/qlinear_cuda_old.py (``pack`` and the unpacking in
``forward``); github ModelCloud/GPTQModel, gptqmodel/utils/model.py (``convert_gptq_v1_to_v2_format_module``: what the two
versions are); github huggingface/transformers, utils/quantization_config.py (``GPTQConfig``: the default of
``checkpoint_format``).
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np

from spectra.sources.quantized.arithmetic import FloatArray, unpacked, whole
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
from spectra.sources.tensors import StoredTensor

FORMAT = "gptq"

# What AutoGPTQ writes. GPTQModel lays 5 to 7 bits out in planes, under the same names: not read.
_BITS = (2, 3, 4, 8)


def find(codes: StoredTensor, checkpoint: Checkpoint) -> Found | None:
    """Recognise a weight by the name of its codes; see ``recipe``."""
    if not codes.name.endswith(".qweight") or checkpoint.method not in ("", FORMAT):
        return None
    return found(codes, checkpoint, FORMAT, lambda: _recipe(codes, checkpoint))


def _recipe(codes: StoredTensor, checkpoint: Checkpoint) -> Recipe:
    if checkpoint.is_live:
        raise RefusedError("of a live module, whose kernels may have rearranged the codes; analyse the checkpoint's folder")
    layer = codes.name.removesuffix("qweight")
    scales, zeros = checkpoint.need(f"{layer}scales"), checkpoint.need(f"{layer}qzeros")
    order = checkpoint.first(f"{layer}g_idx")
    is_less_one = _zeros_are_stored_less_one(checkpoint)
    shapes = (codes.shape, scales.shape, zeros.shape)
    if codes.dtype != "int32" or zeros.dtype != "int32" or any(len(shape) != 2 for shape in shapes):
        raise RefusedError(f"of {codes.dtype} words and shapes {shapes}, where int32 and two dimensions are known; {_CHECK}")
    groups, out = scales.shape
    bits = _bits(zeros.shape[1] * 32, out, checkpoint)
    inputs = codes.shape[0] * 32 // bits
    if codes.shape != (inputs * bits // 32, out) or zeros.shape != (groups, out * bits // 32) or inputs * bits % 32:
        raise RefusedError(f"whose shapes {shapes} do not fit together at {bits} bits; {_CHECK}")
    group_size = _group_size(inputs, groups, order, checkpoint)
    parts = (scales, zeros) if order is None else (scales, zeros, order)
    read = partial(_read, codes, scales, zeros, order, bits, inputs, group_size, is_less_one)
    return Recipe(FORMAT, f"{layer}weight", (out, inputs), f"int{bits}", read, parts)


_CHECK = "check the files and their config.json"


def _zeros_are_stored_less_one(checkpoint: Checkpoint) -> bool:
    settings = checkpoint.settings
    version = str(settings.get("checkpoint_format") or settings.get("format") or (FORMAT if settings else "")).lower()
    if not version:
        raise RefusedError(
            "without a configuration, which says whether zero points are stored less one; keep the checkpoint's config.json "
            "or quantize_config.json beside it, and give the folder"
        )
    if version not in ("gptq", "gptq_v2") or settings.get("pack_dtype", "int32") != "int32" or settings.get("is_marlin_format"):
        raise RefusedError(f"of checkpoint_format '{version}', which is not known; convert it to 'gptq' or 'gptq_v2'")
    return version == "gptq"


def _bits(stream: int, out: int, checkpoint: Checkpoint) -> int:
    bits, rest = divmod(stream, max(out, 1))
    said = checkpoint.settings.get("bits")
    # GPTQModel's 'dynamic' gives single layers bits of their own.
    if rest or bits not in _BITS or (said not in (None, bits) and not checkpoint.settings.get("dynamic")):
        raise RefusedError(f"whose zero points take {stream / max(out, 1):g} bits where {said or _BITS} are expected; {_CHECK}")
    return bits


def _group_size(inputs: int, groups: int, order: StoredTensor | None, checkpoint: Checkpoint) -> int:
    if order is not None:
        check_indices(order)
        if order.shape != (inputs,):
            raise RefusedError(f"whose '{order.name}' has shape {order.shape} for {inputs} inputs; {_CHECK}")
        return 0
    if checkpoint.settings.get("desc_act"):
        raise RefusedError(
            "with desc_act and without its g_idx, which says the group of each input; get the complete checkpoint"
        )
    said = whole_number(checkpoint.settings.get("group_size") or -1, "group_size")
    group_size = said if said > 0 else max(inputs, 1)
    if math.ceil(inputs / group_size) != groups:
        raise RefusedError(f"with {groups} groups of {group_size} for {inputs} inputs; {_CHECK}")
    return group_size


def _read(
    codes: StoredTensor,
    scales: StoredTensor,
    zeros: StoredTensor,
    order: StoredTensor | None,
    bits: int,
    inputs: int,
    group_size: int,
    is_less_one: bool,
    start: int,
    stop: int,
) -> FloatArray:
    # A row of the weight is a column of the codes: all words are read, an eighth of the weight, and few are unpacked.
    rows = unpacked(np.ascontiguousarray(whole(codes)[:, start:stop]), bits, inputs)  # (in, rows)
    points = unpacked(np.ascontiguousarray(whole(zeros).T), bits, scales.shape[1])[start:stop].T.astype(np.float32)
    if is_less_one:
        if (points == (1 << bits) - 1).any():
            # A zero point of 0 less one: some programs borrow from the neighbour, some wrap, some read 2**bits.
            raise damaged(zeros.name, "has zero points that checkpoint_format 'gptq' cannot hold")
        points += 1
    factors = whole(scales)[:, start:stop].astype(np.float32, copy=False)
    group = np.arange(inputs) // group_size if order is None else whole(order).astype(np.int64)
    if group.size and not 0 <= int(group.min()) <= int(group.max()) < len(factors):
        raise damaged(order.name if order else scales.name, "names groups that have no scale")
    weight = rows.astype(np.float32)
    weight -= points[group]
    weight *= factors[group]
    return np.ascontiguousarray(weight.T)
