"""bitsandbytes: int8 with a scale per row, and four-bit codes with a scale per block of consecutive numbers.

int8: ``weight`` holds the codes, ``SCB`` the largest magnitude of each row: ``W = codes * SCB[:, None] / 127``.

Four bits: ``weight`` holds ``(bytes, 1)`` codes, two to a byte and the first in the high half, of the weight in row-major
order; ``W = quant_map[code] * absmax[position // blocksize]``. ``quant_state.bitsandbytes__nf4`` (or ``fp4``) is JSON as
bytes: shape and block sizes. With double quantization ``absmax`` holds codes itself:
``nested_quant_map[absmax] * nested_absmax[block // nested_blocksize] + nested_offset``.

Products are float32; the library rounds them to the layer's compute dtype, a relative difference of at most 2^-9 (bfloat16).

Sources: github bitsandbytes-foundation/bitsandbytes, bitsandbytes/functional.py (``QuantState``, ``dequantize_4bit``),
bitsandbytes/backends/default/ops.py (order of halves, last block shorter) and bitsandbytes/nn/modules.py
(``Linear8bitLt``, ``maybe_rearrange_weight``: the only ``weight_format`` is 0, by rows).
"""

from __future__ import annotations

import json
import math
from functools import partial
from typing import Any

import numpy as np

from spectra.printable import named
from spectra.sources.quantized.arithmetic import FloatArray, whole
from spectra.sources.quantized.recipe import Checkpoint, Found, Recipe, RefusedError, found, whole_number
from spectra.sources.tensors import StoredTensor

FORMAT = "bitsandbytes"

_STATE = ".quant_state.bitsandbytes__"


def find(codes: StoredTensor, checkpoint: Checkpoint) -> Found | None:
    """Recognise a weight by its companions ``SCB``, ``quant_state`` or ``absmax``; see ``recipe``."""
    layer = codes.name.removesuffix("weight")
    if any(f"{codes.name}{_STATE}{kind}" in checkpoint.tensors for kind in ("nf4", "fp4")):
        return found(codes, checkpoint, FORMAT, lambda: _four_bits(codes, checkpoint))
    if layer != codes.name and checkpoint.first(f"{layer}SCB", f"{layer}weight_format") is not None:
        return found(codes, checkpoint, FORMAT, lambda: _eight_bits(codes, checkpoint))
    if f"{codes.name}.absmax" in checkpoint.tensors:
        return found(codes, checkpoint, FORMAT, lambda: _four_bits(codes, checkpoint))
    if checkpoint.method == FORMAT and len(codes.shape) == 2 and codes.dtype in ("int8", "uint8"):
        recipe = _eight_bits if codes.dtype == "int8" else _four_bits
        return found(codes, checkpoint, FORMAT, lambda: recipe(codes, checkpoint))
    return None


def _eight_bits(codes: StoredTensor, checkpoint: Checkpoint) -> Recipe:
    layer = codes.name.removesuffix("weight")
    scales, layout = checkpoint.need(f"{layer}SCB"), checkpoint.first(f"{layer}weight_format")
    if codes.dtype != "int8" or len(codes.shape) != 2 or math.prod(scales.shape) != codes.shape[0]:
        raise RefusedError(
            f"of {codes.dtype} codes {codes.shape} with {math.prod(scales.shape)} scales, where int8 and one scale a row are "
            "known; check the files"
        )
    arrangement = 0 if layout is None else checkpoint.listed(layout.name)[0]
    if arrangement != 0:
        raise RefusedError(
            f"with weight_format {arrangement}: only 0, codes by rows, is known; save it again with a later version"
        )
    parts = (scales,) if layout is None else (scales, layout)
    return Recipe(f"{FORMAT}_int8", codes.name, codes.shape, "int8", partial(_read_int8, codes, scales), parts)


def _read_int8(codes: StoredTensor, scales: StoredTensor, start: int, stop: int) -> FloatArray:
    weight = codes.read(start, stop).astype(np.float32)
    weight *= (whole(scales).reshape(-1, 1)[start:stop] / 127.0).astype(np.float32)
    return weight


def _four_bits(codes: StoredTensor, checkpoint: Checkpoint) -> Recipe:
    kind = "fp4" if f"{codes.name}{_STATE}fp4" in checkpoint.tensors else "nf4"
    packed = checkpoint.need(f"{codes.name}{_STATE}{kind}")
    absmax, table = checkpoint.need(f"{codes.name}.absmax"), checkpoint.need(f"{codes.name}.quant_map")
    state = _state(packed, checkpoint)
    is_nested = absmax.dtype == "uint8"
    names = ("nested_absmax", "nested_quant_map") if is_nested else ()
    nested = [checkpoint.need(f"{codes.name}.{name}") for name in names]
    needed = ["shape", "blocksize"] + (["nested_blocksize", "nested_offset"] if is_nested else [])
    lacking = [key for key in needed if state.get(key) is None]
    if lacking:
        raise RefusedError(f"whose '{packed.name}' does not say {', '.join(lacking)}; get the complete checkpoint")
    _check_numbers(state, packed.name)
    shape = tuple(state["shape"])
    count, blocks = math.prod(shape), -(-math.prod(shape) // state["blocksize"])
    fits = codes.shape == (-(-count // 2), 1) and math.prod(absmax.shape) == blocks and math.prod(table.shape) == 16
    if is_nested:
        fits &= math.prod(nested[0].shape) == -(-blocks // state["nested_blocksize"])
        fits &= math.prod(nested[1].shape) == 256
    if not fits or codes.dtype != "uint8" or len(shape) < 2:
        raise RefusedError(
            f"of {codes.dtype} {codes.shape} with {math.prod(absmax.shape)} scales, which does not hold a weight {shape} in "
            f"blocks of {state['blocksize']} as bytes; check the files, and store codes as uint8"
        )
    read = partial(_read_four_bits, codes, absmax, table, nested, state, shape)
    return Recipe(f"{FORMAT}_{kind}", codes.name, shape, kind, read, (packed, absmax, table, *nested))


def _state(packed: StoredTensor, checkpoint: Checkpoint) -> dict[str, Any]:
    if packed.dtype != "uint8":
        raise RefusedError(f"whose '{packed.name}' holds {packed.dtype} numbers, where bytes are known; check the files")
    try:
        state = json.loads(checkpoint.listed(packed.name).astype(np.uint8).tobytes())
    except (ValueError, RecursionError):
        state = None
    if not isinstance(state, dict):
        raise RefusedError(f"whose '{packed.name}' is no JSON object; download or copy it again")
    return state


def _check_numbers(state: dict[str, Any], name: str) -> None:
    sides = state["shape"] if isinstance(state["shape"], list) else [state["shape"]]
    sizes = [state[key] for key in ("blocksize", "nested_blocksize") if state.get(key) is not None]
    offset = state.get("nested_offset") or 0.0
    if min((whole_number(side, name) for side in sides), default=0) < 0 or min(whole_number(s, name) for s in sizes) < 1:
        raise RefusedError(f"whose '{name}' has negative sides, or blocks of no length; check the files")
    if not isinstance(offset, int | float) or not abs(offset) < 1e30:
        raise RefusedError(
            f"whose '{name}' has a nested_offset of {named(repr(offset))}, where a number is known; check the files"
        )


def _read_four_bits(
    codes: StoredTensor,
    absmax: StoredTensor,
    table: StoredTensor,
    nested: list[StoredTensor],
    state: dict[str, Any],
    shape: tuple[int, ...],
    start: int,
    stop: int,
) -> FloatArray:
    row, blocksize = math.prod(shape[1:]), state["blocksize"]
    first, last = start * row, stop * row
    halves = codes.read(first // 2, -(-last // 2)).reshape(-1, 1)
    numbers = np.concatenate([halves >> 4, halves & 15], axis=1).reshape(-1)[first % 2 :][: last - first]
    weight: FloatArray = whole(table).reshape(-1).astype(np.float32, copy=False)[numbers]
    block = np.arange(first, last) // blocksize
    weight *= _scales(absmax, nested, state)[block]
    return weight.reshape(stop - start, *shape[1:])


def _scales(absmax: StoredTensor, nested: list[StoredTensor], state: dict[str, Any]) -> FloatArray:
    scales = whole(absmax).reshape(-1)
    if not nested:
        return scales.astype(np.float32, copy=False)
    outer, table = (whole(tensor).reshape(-1).astype(np.float32, copy=False) for tensor in nested)
    block = np.arange(len(scales)) // state["nested_blocksize"]
    return np.asarray(table[scales] * outer[block] + np.float32(state["nested_offset"]))
