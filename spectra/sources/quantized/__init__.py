"""Quantized storage: codes, scales and tables that together are a weight, turned back into one row block at a time.

=====================  ==================================================  ==========================================
``quantized``          recognised by                                       dtype
=====================  ==================================================  ==========================================
``gptq``               ``qweight``, ``qzeros``, ``scales``                 ``int2``, ``int3``, ``int4``, ``int8``
``awq``                the same names, other shapes or ``quant_method``    ``int4``
``bitsandbytes_int8``  ``SCB`` beside an int8 ``weight``                   ``int8``
``bitsandbytes_nf4``   ``weight.quant_state.bitsandbytes__nf4``            ``nf4``; likewise ``fp4``
``mxfp4``, ``nvfp4``   ``*_blocks``; bytes with group scales               ``float4_e2m1fn``
``compressed-tensors`` ``weight_packed``; int8 ``weight`` and its config   ``int2``, ``int4``, ``int8``
``float8``             dtype, ``*_scale_inv`` or ``*_scale``               ``float8_e4m3fn`` and its kin
=====================  ==================================================  ==========================================

Tensors of torch and its extensions that dequantize themselves are those of ``sources/torch_tensor.py``. A weight lacking an
ingredient, or in a variant that is not known, is refused with the reason: its codes are never numbers to analyse.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from spectra.sources.quantized import awq, bitsandbytes, compressed_tensors, float4, float8, gptq, unknown
from spectra.sources.quantized.recipe import Checkpoint, Found
from spectra.sources.quantized.settings import quantization_settings
from spectra.sources.tensors import StoredTensor

__all__ = ["dequantized", "quantization_settings"]

# AWQ before GPTQ, which has the same names; formats with float8 scales before float8; whatever is left last.
_FORMATS = (bitsandbytes, awq, gptq, float4, compressed_tensors, float8, unknown)


def dequantized(tensors: Sequence[StoredTensor], config: Mapping[str, Any], *, is_live: bool = False) -> list[StoredTensor]:
    """Put weights in the place of their codes.

    Args:
        tensors: Of one model, under their final names.
        config: The model's configuration, whose ``quantization_config`` settles what names and shapes leave open.
        is_live: The tensors are those of a module in memory, where kernels may have rearranged packed codes.

    Returns:
        The tensors in the same order. Codes have become the weight they stand for, with ``quantized`` set, read as
        float32, or unreadable with the reason; what else went into a weight names it in ``part_of``.
    """
    checkpoint = Checkpoint({tensor.name: tensor for tensor in tensors}, quantization_settings(config), is_live)
    weights: dict[str, Found] = {}
    part_of: dict[str, str] = {}
    for form in _FORMATS:
        for tensor in tensors:
            if tensor.name in weights or tensor.name in part_of or tensor.quantized or tensor.part_of:
                continue
            weight = form.find(tensor, checkpoint)
            if weight is not None:
                weights[tensor.name] = weight
                for part in weight.parts:  # what a refused layer has beside it may be a weight by itself
                    if part not in weights:
                        part_of.setdefault(part, weight.weight.name)
    return [_replaced(tensor, weights, part_of) for tensor in tensors]


def _replaced(tensor: StoredTensor, weights: Mapping[str, Found], part_of: Mapping[str, str]) -> StoredTensor:
    if tensor.name in part_of:
        return dataclasses.replace(tensor, part_of=part_of[tensor.name])
    new = weights[tensor.name].weight if tensor.name in weights else tensor
    if new.tied_to is not None and new.tied_to in weights:
        return dataclasses.replace(new, tied_to=weights[new.tied_to].weight.name)
    return new
