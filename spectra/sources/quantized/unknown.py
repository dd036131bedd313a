"""Codes in a format that is not read: refused, and their scales kept from passing for weights."""

from __future__ import annotations

from spectra.sources.quantized.recipe import Checkpoint, Found, Recipe, RefusedError, found
from spectra.sources.tensors import StoredTensor

# int64 and bool are indices and masks; uint32 and uint64 no library packs into, in torch.
_CODES = ("int8", "uint8", "int16", "int32")

_KNOWN = "GPTQ, AWQ, bitsandbytes, float8, mxfp4, nvfp4 and compressed-tensors"


def find(codes: StoredTensor, checkpoint: Checkpoint) -> Found | None:
    """Recognise codes by the configuration, or by HQQ's name for them.

    Args:
        codes: Any tensor that no other format has recognised.
        checkpoint: Where it comes from.

    Returns:
        A refused weight, or ``None`` if this is not one.
    """
    is_named = codes.name.endswith((".qweight", ".W_q"))
    if not is_named and (not checkpoint.settings or len(codes.shape) < 2 or codes.dtype not in _CODES):
        return None
    form = checkpoint.method or ("hqq" if codes.name.endswith(".W_q") else "quantized")
    refused = found(codes, checkpoint, form, _refuse)
    layer = f"{codes.name.rpartition('.')[0]}."
    others = (name for name in checkpoint.tensors if name.startswith(layer) and name != codes.name)
    return Found(refused.weight, tuple(name for name in others if name.removeprefix(layer) not in ("bias", "weight")))


def _refuse() -> Recipe:
    raise RefusedError(f"of a kind that is not read ({_KNOWN} are): codes are not weights; analyse a dequantized copy")
