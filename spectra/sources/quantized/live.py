"""Where libraries keep what belongs to a quantized weight of a live module: outside its parameters and buffers.

Known by their attributes, so that no library is imported: bitsandbytes' ``quant_state`` and ``SCB`` on the weight (after
the first forward pass the latter on the layer's ``state``), HQQ's ``W_q`` with a ``dequantize`` method on the layer.
Sources: github bitsandbytes-foundation/bitsandbytes, bitsandbytes/nn/modules.py (``_save_to_state_dict`` of ``Linear4bit``
and ``Linear8bitLt``); github mobiusml/hqq, hqq/core/quantize.py (``HQQLinear``).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

HQQ_CODES = "W_q"


def companions(module: torch.nn.Module) -> dict[str, torch.Tensor]:
    """List what a state dict would hold beside a layer's own parameters and buffers.

    Args:
        module: Any module.

    Returns:
        Tensors under their names in the layer; empty for a layer that is not of bitsandbytes.
    """
    weight: Any = module._parameters.get("weight")
    state: Any = getattr(weight, "quant_state", None)
    if hasattr(state, "as_dict"):
        return {f"weight.{name}": tensor for name, tensor in state.as_dict(packed=True).items()}
    scales = getattr(weight, "SCB", None)
    if scales is None:
        scales = getattr(getattr(module, "state", None), "SCB", None)
    return {} if scales is None else {"SCB": scales}


def own_dequantize(module: torch.nn.Module) -> Callable[[], torch.Tensor] | None:
    """Return the method by which a layer gives its weight back, where the weight is no parameter.

    Args:
        module: Any module.

    Returns:
        HQQ's ``dequantize``, or ``None``.
    """
    dequantize: Callable[[], torch.Tensor] | None = getattr(module, "dequantize", None)
    return dequantize if HQQ_CODES in module._parameters | module._buffers and callable(dequantize) else None
