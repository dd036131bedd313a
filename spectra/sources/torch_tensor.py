"""A torch tensor as a stored tensor; shared by torch files, live modules and mappings."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

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


def row_reader(get: Callable[[], torch.Tensor]) -> Callable[[int, int], NDArray[Any]]:
    """Make the ``read`` of a stored tensor from a function that gives the tensor.

    Args:
        get: Called for every block; may compute the tensor (an effective weight).

    Returns:
        A reader of rows, float32 or float64, on the host.
    """

    def read(start: int, stop: int) -> NDArray[Any]:
        rows = get().detach()[start:stop].to("cpu")
        rows = rows if dtype_name(rows) == "float64" else rows.float()
        return np.asarray(rows.contiguous().numpy())

    return read


def unreadable(tensor: torch.Tensor) -> str | None:
    """Say why a tensor has no rows to read.

    Args:
        tensor: Any tensor.

    Returns:
        ``"meta"``, another reason in words, or ``None`` for ordinary tensors.
    """
    if tensor.device.type == "meta":
        return "meta"
    if tensor.is_quantized:
        return "quantized storage, which is not dequantized yet: codes are not weights"
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
    return (str(tensor.device), tensor.data_ptr(), tuple(tensor.shape), tuple(tensor.stride()), tensor.dtype)
