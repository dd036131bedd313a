"""Magnitude pruning: the weights of a layer that are nearest to zero."""

from __future__ import annotations

from torch import Tensor

from spectra.training.pruning.lowest import at_least_float32, lowest, num_to_prune


def magnitude_mask(weight: Tensor, sparsity: float) -> Tensor:
    """Keep the largest weights of a layer, by their absolute value.

    Args:
        weight: Any shape, any floating-point dtype.
        sparsity: Share of the weights to prune, in [0, 1]; their number is the nearest whole one. Weights that are zero come
            first, and of equal ones those that stand first.

    Returns:
        Booleans of the weight's shape, true for what is kept, as in ``torch.nn.utils.prune``.

    Example:
        >>> import torch
        >>> magnitude_mask(torch.tensor([[3.0, -0.1], [0.0, 0.1]]), 0.5)
        tensor([[ True, False],
                [False,  True]])
    """
    count = num_to_prune(weight, sparsity)
    return ~lowest(at_least_float32(weight).abs().reshape(1, -1), count).reshape(weight.shape)
