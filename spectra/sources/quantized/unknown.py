"""Codes in a format that is not read: refused, and their scales kept from passing for weights."""

from __future__ import annotations

import re

from spectra.sources.quantized.recipe import Checkpoint, Found, Recipe, RefusedError, found
from spectra.sources.tensors import StoredTensor

# int64 and bool are indices and masks; uint32 and uint64 no library packs into, in torch.
_CODES = ("int8", "uint8", "int16", "int32")

_NO_CODES = re.compile(r"bias|mask|position|index|ids")
_METHODS = ("gptq", "awq", "bitsandbytes", "fp8", "fbgemm_fp8", "compressed-tensors", "modelopt", "mxfp4", "quark")

_KNOWN = "GPTQ, AWQ, bitsandbytes, float8, mxfp4, nvfp4 and compressed-tensors"


def find(codes: StoredTensor, checkpoint: Checkpoint) -> Found | None:
    """Recognise codes by the configuration, or by HQQ's name for them; see ``recipe``."""
    is_named = codes.name.endswith((".qweight", ".W_q"))
    if not is_named and (not checkpoint.settings or len(codes.shape) < 2 or codes.dtype not in _CODES):
        return None
    if _NO_CODES.search(codes.name.rpartition(".")[2]):
        return None
    form = checkpoint.method or ("hqq" if codes.name.endswith(".W_q") else "quantized")
    refused = found(codes, checkpoint, form, _refuse)
    layer = "".join(codes.name.rpartition(".")[:2])
    others = [name.removeprefix(layer) for name in checkpoint.under(layer) if name != codes.name]
    # Some unknown methods keep tables in modules below the layer (VPTQ); of the known ones those would be other layers.
    parts = [
        name for name in others if name not in ("bias", "weight") and ("." not in name or checkpoint.method not in _METHODS)
    ]
    return Found(refused.weight, tuple(f"{layer}{name}" for name in parts))


def _refuse() -> Recipe:
    raise RefusedError(f"of a kind that is not read ({_KNOWN} are): codes are not weights; analyse a dequantized copy")
