"""Random directions in the space of weights, as large as the weights: filter normalization.

A plain Gaussian direction disturbs small weights much and large ones little. Here every row of the direction has the norm
of the same row of the weight, so that a step of length 1 is as large as the row itself, in every layer.

======================  =================================
parameter               rows
======================  =================================
two dimensions          output neurons, or embeddings
GPT-2 ``Conv1D``        output neurons: stored columns
convolution             output channels
more dimensions         rows of each stacked matrix
none or one             the whole vector, or it stands
======================  =================================

Source: Li et al. (2018), arXiv 1712.09913, section 4.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# As in the reference implementation of guided dropout; it keeps rows of zeros at zero.
_GUARD = 1e-10


def gaussian(shape: tuple[int, ...], seed: int, direction: int, index: int) -> Tensor:
    """Draw a standard normal tensor that depends on its arguments only, on no other draw and on no device.

    Args:
        shape: Of the parameter.
        seed: Of the surface.
        direction: 0 or 1.
        index: Of the parameter in the model.

    Returns:
        float32, on the CPU.
    """
    word = np.random.SeedSequence((seed, direction, index)).generate_state(1, np.uint64)[0]
    return torch.randn(shape, generator=torch.Generator().manual_seed(int(word)))


def filter_normalized(
    direction: Tensor, weight: Tensor, *, kind: str = "linear", transposed: bool = False, include_vectors: bool = True
) -> Tensor:
    r"""Give every row of a direction the norm of the same row of a weight.

    .. math:: d_r \leftarrow d_r \, \|w_r\| / (\|d_r\| + 10^{-10})

    Args:
        direction: Any floating point tensor.
        weight: Of the same shape; its device is that of the result.
        kind: Of the module that holds the weight, as in ``FisherTensor``; only ``"convolution"`` matters.
        transposed: The weight is stored as (in, out).
        include_vectors: Tensors of fewer than two dimensions are one row; otherwise their direction is zero, as in the
            published study.

    Returns:
        The direction, float32, or float64 for such weights. Rows of zeros get a direction of zeros.
    """
    dtype = torch.promote_types(weight.dtype, torch.float32)
    if weight.dim() < 2 and not include_vectors:
        return torch.zeros_like(weight, dtype=dtype)
    direction = direction.to(weight.device, dtype)
    scale = _row_norms(weight, kind, transposed) / (_row_norms(direction, kind, transposed) + _GUARD)
    return direction * scale.to(dtype)


def _row_norms(tensor: Tensor, kind: str, transposed: bool) -> Tensor:
    """Shape of the tensor with 1 along a row; float64, since float32 loses digits over long rows."""
    if tensor.dim() < 2:
        axes = tuple(range(tensor.dim()))
    elif kind == "convolution":
        axes = tuple(axis for axis in range(tensor.dim()) if axis != int(transposed))
    else:
        axes = (-2,) if transposed else (-1,)
    norms: Tensor = torch.linalg.vector_norm(tensor, dim=axes, keepdim=True, dtype=torch.float64)
    return norms
