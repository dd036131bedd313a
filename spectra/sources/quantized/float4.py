"""Four-bit floating point, two to a byte and the first in the low half, with a scale per group of inputs.

=====================  ==========================  ============================  ===============================================
layout                 codes                       scales                        weight
=====================  ==========================  ============================  ===============================================
gpt-oss (mxfp4)        ``x_blocks`` (E, n, G, 16)  ``x_scales`` (E, n, G)        ``x`` (E, 32 G, n): value * 2^(scale - 127)
compressed (mxfp4)     ``weight_packed``           ``weight_scale``, bytes       value * 2^(scale - 127), groups of 32
compressed (nvfp4)     ``weight_packed``           ``weight_scale``, float8      value * scale / ``weight_global_scale``, of 16
ModelOpt (nvfp4)       ``weight``, bytes           ``weight_scale``, float8      value * scale * ``weight_scale_2``, of 16
=====================  ==========================  ============================  ===============================================

gpt-oss multiplies from the left: its stacked experts are ``(in, out)`` matrices, as transformers keeps them. Sources: github
openai/gpt-oss, gpt_oss/torch/weights.py; github huggingface/transformers, integrations/mxfp4.py
(``convert_moe_packed_tensors``); github vllm-project/compressed-tensors, compressors/{nvfp4,mxfp4}/base.py and
nvfp4/helpers.py; github NVIDIA/TensorRT-Model-Optimizer, modelopt/torch/quantization/qtensor/nvfp4_tensor.py.
"""

from __future__ import annotations

import math
from functools import partial

import numpy as np
from numpy.typing import NDArray

from spectra.sources.quantized.arithmetic import FloatArray, scale_values, whole
from spectra.sources.quantized.recipe import Checkpoint, Found, Recipe, RefusedError, found
from spectra.sources.small_floats import values_of
from spectra.sources.tensors import StoredTensor

_DTYPE = "float4_e2m1fn"
_MX, _NV = ("mxfp4", 32), ("nvfp4", 16)  # name and length of a group
_CHECK = "check the files"


def find(codes: StoredTensor, checkpoint: Checkpoint) -> Found | None:
    """Recognise a weight by the names and dtypes of its codes and scales; see ``recipe``."""
    if codes.dtype != "uint8":
        return None
    if codes.name.endswith("_blocks") and len(codes.shape) == 4:
        return found(codes, checkpoint, _MX[0], lambda: _stack(codes, checkpoint))
    name = codes.name.removesuffix("_packed")
    has_global = f"{name}_global_scale" in checkpoint.tensors or f"{name}_scale_2" in checkpoint.tensors
    if codes.name.endswith("weight_packed") or (codes.name.endswith("weight") and has_global):
        scales = checkpoint.first(f"{name}_scale")
        form = _MX if scales is not None and scales.dtype == "uint8" else _NV
        return found(codes, checkpoint, form[0], lambda: _matrix(codes, name, form, checkpoint))
    return None


def _stack(codes: StoredTensor, checkpoint: Checkpoint) -> Recipe:
    name = codes.name.removesuffix("_blocks")
    scales = checkpoint.need(f"{name}_scales")
    experts, outputs, groups, half = codes.shape
    if scales.shape != codes.shape[:3] or scales.dtype != "uint8" or half * 2 != _MX[1]:
        raise RefusedError(f"of bytes {codes.shape} with {scales.dtype} scales {scales.shape}, which do not fit; {_CHECK}")
    read = partial(_read_stack, codes, scales)
    return Recipe(_MX[0], name, (experts, groups * _MX[1], outputs), _DTYPE, read, (scales,))


def _read_stack(codes: StoredTensor, scales: StoredTensor, start: int, stop: int) -> FloatArray:
    weight = _decoded(codes.read(start, stop))
    weight *= values_of("float8_e8m0fnu")[scales.read(start, stop)][..., None]
    experts, outputs, groups, length = weight.shape
    return np.ascontiguousarray(weight.reshape(experts, outputs, groups * length).transpose(0, 2, 1))


def _matrix(codes: StoredTensor, name: str, form: tuple[str, int], checkpoint: Checkpoint) -> Recipe:
    label, length = form
    scales = checkpoint.need(f"{name}_scale")
    divisor = checkpoint.first(f"{name}_global_scale")
    factor = checkpoint.first(f"{name}_scale_2")
    outer = divisor or factor
    if (label == _NV[0] and outer is None) or (divisor and factor):
        checkpoint.need(f"{name}_global_scale")
        raise RefusedError(f"with both '{name}_global_scale' and '_scale_2', and which one applies cannot be known; remove one")
    fits = len(codes.shape) == 2 and scales.shape == (codes.shape[0], codes.shape[1] * 2 // length)
    if not fits or codes.shape[1] * 2 % length or scales.dtype not in ("uint8", "float8_e4m3fn"):
        raise RefusedError(
            f"of bytes {codes.shape} with {scales.dtype} scales {scales.shape}, not groups of {length}; {_CHECK}"
        )
    if outer is not None and (label == _MX[0] or math.prod(outer.shape) != 1):
        raise RefusedError(f"with '{outer.name}' of shape {outer.shape}, which is not known; {_CHECK}")
    shape = (codes.shape[0], codes.shape[1] * 2)
    read = partial(_read_matrix, codes, scales, divisor, factor, length)
    return Recipe(label, name, shape, _DTYPE, read, (scales, outer) if outer else (scales,))


def _read_matrix(
    codes: StoredTensor,
    scales: StoredTensor,
    divisor: StoredTensor | None,
    factor: StoredTensor | None,
    length: int,
    start: int,
    stop: int,
) -> FloatArray:
    factors = scale_values(scales)[start:stop]
    if divisor is not None:
        factors = factors / whole(divisor).astype(np.float32).reshape(())
    if factor is not None:
        factors = factors * whole(factor).astype(np.float32).reshape(())
    weight = _decoded(codes.read(start, stop)).reshape(*factors.shape, length)
    return (weight * factors[:, :, None]).reshape(stop - start, codes.shape[1] * 2)


def _decoded(packed: NDArray[np.uint8]) -> FloatArray:
    codes = np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], packed.shape[-1] * 2)
    return values_of(_DTYPE)[codes]
