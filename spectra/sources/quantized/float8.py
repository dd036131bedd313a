"""Eight-bit floating point with scales: one for the tensor, one per output, or one per block.

``W = value(code) * scale``: the names ``weight_scale_inv`` (DeepSeek, transformers' ``fp8``) and ``weight_scale``
(compressed-tensors, fbgemm, ModelOpt, Quark) both mean the factor that brings the weight back. Stacks of experts carry
their scales under ``gate_up_proj_scale_inv`` and the like, with the experts' axis first.

Sources: github deepseek-ai/DeepSeek-V3, inference/kernel.py (``weight_dequant``: blocks of 128 x 128, the last ones
shorter); github huggingface/transformers, integrations/finegrained_fp8.py (``_dequantize_fp8_weight``,
``Fp8Dequantize``: also a scale for the whole tensor, exponents of powers of two kept as bytes); github
vllm-project/compressed-tensors, quantization/lifecycle/forward_helpers.py (``_dequantize``, ``_process_block``).
"""

from __future__ import annotations

from functools import partial

import numpy as np

from spectra.sources.quantized.arithmetic import FloatArray, expanded, scale_values
from spectra.sources.quantized.blocks import aligned, block_lengths, blocks_of
from spectra.sources.quantized.recipe import Checkpoint, Found, Recipe, RefusedError, found, siblings
from spectra.sources.small_floats import FLOAT8_DTYPES
from spectra.sources.tensors import StoredTensor

FORMAT = "float8"

_BLOCK = (128, 128)  # of DeepSeek-V3, whose layout `weight_scale_inv` is; where no configuration says otherwise
_SUFFIXES = ("_scale_inv", "_scale")


def find(codes: StoredTensor, checkpoint: Checkpoint) -> Found | None:
    """Recognise a weight by its dtype; see ``recipe``."""
    if codes.dtype not in FLOAT8_DTYPES or len(codes.shape) < 2 or codes.name.endswith(_SUFFIXES):
        return None
    if not checkpoint.settings and not siblings(codes, checkpoint) and not checkpoint.has_scales:
        # No scale anywhere and no configuration that promises one: the weight was cast, and its codes are its values.
        return None
    return found(codes, checkpoint, FORMAT, lambda: _recipe(codes, checkpoint))


def _recipe(codes: StoredTensor, checkpoint: Checkpoint) -> Recipe:
    present = [suffix for suffix in _SUFFIXES if f"{codes.name}{suffix}" in checkpoint.tensors]
    if len(present) > 1:
        raise RefusedError(
            f"with both '{codes.name}_scale_inv' and '_scale', and which one applies cannot be known; remove one"
        )
    others = siblings(codes, checkpoint)
    if not present and others and not checkpoint.settings:
        raise RefusedError(f"beside '{others[0]}', whose meaning is not known; name the factors '{codes.name}_scale'")
    scales = checkpoint.need(f"{codes.name}{present[0] if present else '_scale_inv'}")
    shape = aligned(codes.shape, scales.shape)
    known = block_lengths(checkpoint.settings) or ([_BLOCK] if present == ["_scale_inv"] else [])
    blocks = blocks_of(codes.shape, shape, known)
    read = partial(_read, codes, scales, shape, blocks)
    return Recipe(FORMAT, codes.name, codes.shape, codes.dtype, read, (scales,))


def _read(
    codes: StoredTensor, scales: StoredTensor, shape: tuple[int, ...], blocks: tuple[int, ...], start: int, stop: int
) -> FloatArray:
    factors = expanded(scale_values(scales).reshape(shape), blocks, codes.shape, start, stop)
    return np.asarray(np.multiply(codes.read(start, stop), factors, dtype=np.float32))
