"""The two steps of the Gram route on an accelerator: the product and the symmetric eigensolver, by torch."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError

if TYPE_CHECKING:
    import torch

CPU = "cpu"


def check_device(device: str) -> str:
    """Check that torch can compute on a device.

    Args:
        device: ``"cpu"`` (NumPy, without torch) or a device of torch's, such as ``"cuda"`` or ``"cuda:1"``.

    Returns:
        The same name.

    Raises:
        InputError: Not a device, or one that is not there.
    """
    if device == CPU:
        return device
    import torch

    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError, NotImplementedError, ImportError) as error:
        reason = str(error).splitlines()[0]
        raise InputError(f"device: cannot compute on '{device}' ({reason}). Use 'cpu', or a device that is there.") from None
    return device


def gram_product(blocks: Iterable[NDArray[Any]], device: str) -> NDArray[Any]:
    """Add up the Gram matrices of blocks of rows.

    Args:
        blocks: At least one, of shape ``(rows, n)``; their dtype, float32 or float64, is the arithmetic of the product.
        device: Where to compute.

    Returns:
        Shape ``(n, n)``, of the blocks' dtype, on the host.
    """
    import torch

    gram: torch.Tensor | None = None
    for block in blocks:
        rows = torch.from_numpy(np.ascontiguousarray(block)).to(device)
        if shortens_float32():  # the user's choice, and 10 bits: alpha would lose three digits
            rows = rows.double()
        gram = rows.T @ rows if gram is None else gram.addmm_(rows.T, rows)
    assert gram is not None
    return np.asarray(gram.to(dtype=torch.from_numpy(block[:0]).dtype).cpu().numpy())


def shortens_float32() -> bool:
    """Tell whether torch's matrix products of float32 numbers on CUDA may keep fewer bits.

    Returns:
        The user's choice, whichever of torch's settings it was made by.
    """
    import torch

    matmul = torch.backends.cuda.matmul
    # torch 2.9's setting; once somebody has used it, reading the older one raises.
    chosen = getattr(matmul, "fp32_precision", None)
    return bool(matmul.allow_tf32) if chosen is None else chosen not in ("ieee", "none")


def symmetric_eigenvalues(grams: Sequence[NDArray[Any]], device: str) -> list[NDArray[np.float64]]:
    """Solve for the eigenvalues of symmetric matrices of equal size, in float64.

    Args:
        grams: Shape ``(n, n)`` each.
        device: Where to compute; one without float64 (Apple's) computes in float32.

    Returns:
        Shape ``(n,)`` each, ascending, float64, on the host.
    """
    import torch

    dtype = torch.float32 if torch.device(device).type == "mps" else torch.float64
    stack = torch.from_numpy(np.stack(grams)).to(device=device, dtype=dtype)
    return list(torch.linalg.eigvalsh(stack).cpu().double().numpy())
