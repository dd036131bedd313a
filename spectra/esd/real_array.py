"""What users pass as a matrix or a spectrum, as an array of real numbers: NumPy, torch on any device, nested lists."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError

if TYPE_CHECKING:
    import torch


def real_array(value: Any, name: str) -> NDArray[Any]:
    """Turn a value into an array of floating-point numbers, without losing a digit of them.

    Args:
        value: A NumPy array, a torch tensor of any dtype and device, or nested sequences.
        name: Of the argument, for messages.

    Returns:
        The array, of its own dtype where that is a floating-point one of NumPy's; else float32 or float64, which hold it.

    Raises:
        InputError: Complex numbers, no numbers, or a tensor that is not dense.

    Example:
        >>> real_array([[1, 2], [3, 4]], "matrix").dtype
        dtype('float64')
    """
    # A torch tensor, without importing torch for those who pass arrays.
    array = np.asarray(_from_torch(value, name) if hasattr(value, "detach") else value)
    if array.dtype.kind not in "fiub":
        raise InputError(
            f"{name}: expected real numbers, got dtype {array.dtype}. Pass real and imaginary parts by themselves."
        )
    return array if array.dtype.kind == "f" else array.astype(np.float64)


def _from_torch(tensor: torch.Tensor, name: str) -> NDArray[Any]:
    try:
        tensor = tensor.detach().cpu().resolve_conj()
        if tensor.is_floating_point():
            tensor = tensor.double() if tensor.element_size() == 8 else tensor.float()  # NumPy has no bfloat16
        return np.asarray(tensor.numpy())
    except (TypeError, RuntimeError) as error:  # sparse, quantized, or a shape without numbers
        raise InputError(f"{name}: not a dense tensor of numbers ({str(error).splitlines()[0]})") from None
