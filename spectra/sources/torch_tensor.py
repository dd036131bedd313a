"""A torch tensor as a stored tensor; shared by torch files, live modules and mappings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.sources.stored_rows import StoredRows

if TYPE_CHECKING:
    import torch


def dtype_name(tensor: torch.Tensor) -> str:
    """Return the dtype in torch's words, without ``torch.``.

    Args:
        tensor: Any tensor.

    Returns:
        For example ``"bfloat16"``.
    """
    return str(tensor.dtype).removeprefix("torch.")


def row_reader(get: Callable[[], torch.Tensor]) -> StoredRows:
    """Make the ``read`` of a stored tensor from a function that gives the tensor.

    Args:
        get: Called for every block; may compute the tensor (an effective weight).

    Returns:
        A reader of rows on the host: float32 or float64, and integers, which may be codes of a quantized weight, as they
        are; for a device the rows where they are, of their own dtype. A tensor that dequantizes itself is read dequantized; one
        without dimensions has one row.
    """

    def as_stored(start: int, stop: int) -> torch.Tensor:
        tensor = get().detach()
        if storage_format(tensor):
            tensor = tensor.dequantize()
        return (tensor if tensor.dim() else tensor.reshape(1))[start:stop]

    def widen(rows: torch.Tensor) -> NDArray[Any]:
        rows = rows.to("cpu")
        rows = rows.float() if rows.is_floating_point() and dtype_name(rows) != "float64" else rows
        return np.asarray(rows.contiguous().numpy())

    return StoredRows(as_stored, widen, as_stored)


def storage_format(tensor: torch.Tensor) -> str:
    """Name the quantized storage that a tensor undoes by itself.

    Args:
        tensor: Any tensor.

    Returns:
        ``"torch"`` for torch's own quantized tensors; the top package, such as ``"torchao"``, for a subclass with a
        ``dequantize`` of its own; empty for plain numbers.
    """
    import torch

    if tensor.is_quantized:
        return "torch"
    kind = type(tensor)
    has_own = getattr(kind, "dequantize", None) is not torch.Tensor.dequantize
    return kind.__module__.partition(".")[0] if has_own else ""


def unreadable(tensor: torch.Tensor) -> str | None:
    """Say why a tensor has no rows to read.

    Args:
        tensor: Any tensor.

    Returns:
        ``"meta"``, another reason in words, or ``None`` for ordinary tensors.
    """
    if tensor.device.type == "meta":
        return "meta"
    if "strided" not in str(tensor.layout):
        return "sparse storage: pass its to_dense()"
    return None


def storage_key(tensor: torch.Tensor) -> tuple[Any, ...] | None:
    """Identify the memory a tensor views, so that tied weights are found; ``None`` where there is none.

    Args:
        tensor: Any tensor.

    Returns:
        Equal for tensors that are the same numbers in the same place.
    """
    if unreadable(tensor) or tensor.numel() == 0:
        return None
    if storage_format(tensor):  # a wrapper of other tensors has no memory of its own
        return (id(tensor),)
    return (str(tensor.device), tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)
