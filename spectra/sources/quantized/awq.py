"""AWQ: four-bit codes with a scale and a zero point per group of inputs and output, in the layouts of two kernels.

``W[o, i] = scales[g, o] * (code[i, o] - zero[g, o])`` with ``g = i // group_size``; zero points are stored as they are.

=========  ====================  ==============================  ==========================  ===================
version    ``qweight``           ``qzeros``                      ``scales``                  nibbles of a word
=========  ====================  ==============================  ==========================  ===================
``gemm``   ``(in, out / 8)``     ``(groups, out / 8)``           ``(groups, out)``           0 2 4 6 1 3 5 7
``gemv``   ``(out, in / 8)``     ``(out, width)``, padded        ``(out, 8 * width)``        in order
=========  ====================  ==============================  ==========================  ===================

Version ``exllama`` is stored as ``gemm`` and rearranged when it is loaded. ``gemv_fast``, ``llm-awq`` and ``marlin`` are not
read. Sources: github casper-hansen/AutoAWQ, awq/modules/linear/gemm.py and gemv.py (``from_linear``, and
``calculate_zeros_width`` for the padding), awq/utils/packing_utils.py.
"""

from __future__ import annotations

from functools import partial

import numpy as np
from numpy.typing import NDArray

from spectra.sources.quantized.arithmetic import FloatArray, whole
from spectra.sources.quantized.recipe import Checkpoint, Found, Recipe, RefusedError, found, whole_number
from spectra.sources.tensors import StoredTensor

FORMAT = "awq"

_PER_WORD = 8
_CHECK = "check the files and their config.json"

# Place in a word of the columns 0 to 7: the inverse of the order 0 2 4 6 1 3 5 7 in which they are packed.
_PLACES = np.array([0, 4, 1, 5, 2, 6, 3, 7])


def find(codes: StoredTensor, checkpoint: Checkpoint) -> Found | None:
    """Recognise a weight by the name of its codes, and without a configuration by shapes unlike GPTQ's; see ``recipe``."""
    if not codes.name.endswith(".qweight"):
        return None
    scales = checkpoint.first(f"{codes.name.removesuffix('qweight')}scales")
    by_shape = scales is not None and len(scales.shape) == len(codes.shape) == 2 and _packs_outputs(codes, scales)
    if checkpoint.method != FORMAT and (checkpoint.method or not by_shape):
        return None
    return found(codes, checkpoint, FORMAT, lambda: _recipe(codes, checkpoint))


def _packs_outputs(codes: StoredTensor, scales: StoredTensor) -> bool:
    return codes.shape[1] * _PER_WORD == scales.shape[1] and codes.shape[0] >= scales.shape[0]


def _recipe(codes: StoredTensor, checkpoint: Checkpoint) -> Recipe:
    if checkpoint.is_live:
        raise RefusedError("of a live module, whose kernels may have rearranged the codes; analyse the checkpoint's folder")
    layer = codes.name.removesuffix("qweight")
    settings = checkpoint.settings
    version = str(settings.get("version") or settings.get("format") or settings.get("checkpoint_format") or "gemm").lower()
    bits = settings.get("bits", settings.get("w_bit", 4))
    if version not in ("gemm", "gemv", "exllama") or bits != 4:
        raise RefusedError(f"of version '{version}' with {bits} bits, which is not known; convert it to 'gemm' with 4 bits")
    scales, zeros = checkpoint.need(f"{layer}scales"), checkpoint.need(f"{layer}qzeros")
    shapes = (codes.shape, scales.shape, zeros.shape)
    if codes.dtype != "int32" or zeros.dtype != "int32" or any(len(shape) != 2 for shape in shapes):
        raise RefusedError(f"of {codes.dtype} words and shapes {shapes}, where int32 and two dimensions are known; {_CHECK}")
    if version == "gemv":
        out, inputs = codes.shape[0], codes.shape[1] * _PER_WORD
    else:
        inputs, out = codes.shape[0], codes.shape[1] * _PER_WORD
    group_size = _group_size(inputs, scales.shape[0], checkpoint, version)
    groups = inputs // group_size
    if version == "gemv":
        width = zeros.shape[1]
        fits = zeros.shape[0] == out and scales.shape == (out, width * _PER_WORD) and width * _PER_WORD >= groups
        read = partial(_read_gemv, codes, scales, zeros, group_size)
    else:
        fits = zeros.shape == (groups, out // _PER_WORD) and scales.shape == (groups, out)
        read = partial(_read_gemm, codes, scales, zeros, group_size)
    if not fits or inputs % group_size:
        raise RefusedError(f"whose shapes {shapes} do not fit together in groups of {group_size} inputs; {_CHECK}")
    return Recipe(FORMAT, f"{layer}weight", (out, inputs), "int4", read, (scales, zeros))


def _group_size(inputs: int, groups: int, checkpoint: Checkpoint, version: str) -> int:
    said = checkpoint.settings.get("group_size", checkpoint.settings.get("q_group_size"))
    if said is None and version == "gemv":
        raise RefusedError(
            "of version 'gemv' without a group_size in its config.json, and padded scales do not tell it; add it"
        )
    if said is None:
        return max(inputs // max(groups, 1), 1)
    size = whole_number(said, "group_size")
    return size if size > 0 else max(inputs, 1)


def _read_gemm(
    codes: StoredTensor, scales: StoredTensor, zeros: StoredTensor, group_size: int, start: int, stop: int
) -> FloatArray:
    # A row of the weight is a column of the codes: all words are read, an eighth of the weight, and few are unpacked.
    first = start // _PER_WORD
    words = slice(first, -(-stop // _PER_WORD))
    columns = slice(start - first * _PER_WORD, stop - first * _PER_WORD)
    points = _nibbles(whole(zeros)[:, words], _PLACES)[:, columns].astype(np.float32)
    factors = whole(scales)[:, start:stop].astype(np.float32, copy=False)
    weight = _nibbles(whole(codes)[:, words], _PLACES)[:, columns].astype(np.float32)  # (in, rows)
    group = np.arange(len(weight)) // group_size
    weight -= points[group]
    weight *= factors[group]
    return np.ascontiguousarray(weight.T)


def _read_gemv(
    codes: StoredTensor, scales: StoredTensor, zeros: StoredTensor, group_size: int, start: int, stop: int
) -> FloatArray:
    in_order = np.arange(_PER_WORD)
    weight = _nibbles(codes.read(start, stop), in_order).astype(np.float32)  # (rows, in)
    group = np.arange(weight.shape[1]) // group_size
    weight -= _nibbles(zeros.read(start, stop), in_order)[:, group]
    weight *= scales.read(start, stop)[:, group].astype(np.float32, copy=False)
    return weight


def _nibbles(words: NDArray[np.int32], places: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Unpack along the second axis, and put the columns of each word into order."""
    shifts = (4 * places).astype(np.uint32)
    numbers = ((words.view(np.uint32)[:, :, None] >> shifts) & np.uint32(15)).astype(np.uint8)
    return numbers.reshape(len(words), words.shape[1] * _PER_WORD)
