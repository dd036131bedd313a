r"""Wanda: weights by what they contribute to the layer's output on real inputs, compared within each output.

Source: Sun, Liu, Bair and Kolter (2023), *A simple and effective pruning approach for large language models*, arXiv 2306.11695.
"""

from __future__ import annotations

import torch
from torch import Tensor

from spectra.errors import InputError
from spectra.training.pruning.lowest import at_least_float32, lowest, num_to_prune


def wanda_mask(weight: Tensor, input_norms: Tensor, sparsity: float) -> Tensor:
    r"""Keep the weights that matter most to each output: those with the largest :math:`|W_{ij}| \cdot \|X_j\|_2`.

    Args:
        weight: Shape ``(outputs, inputs)``, any floating-point dtype. A GPT-2 ``Conv1D`` weight has to be transposed.
        input_norms: Shape ``(inputs,)``: the Euclidean norm of each input over all tokens, on any scale.
        sparsity: Share of the weights to prune, in [0, 1]. Their number is the nearest whole one and divided evenly among the
            outputs: where it does not divide, the first ones lose one weight more. Within an output weights that are zero
            come first, and of equal scores those that stand first.

    Returns:
        Booleans of the weight's shape, true for what is kept.

    Raises:
        InputError: Another shape than these, or norms that are negative, NaN or infinite.

    Example:
        >>> import torch
        >>> wanda_mask(torch.tensor([[3.0, 1.0], [1.0, 0.5]]), torch.tensor([1.0, 4.0]), 0.5)
        tensor([[False,  True],
                [False,  True]])
    """
    if weight.ndim != 2 or input_norms.shape != weight.shape[1:]:
        raise InputError(
            f"wanda: expected a weight of shape (outputs, inputs) and as many input norms as inputs, got "
            f"{tuple(weight.shape)} and {tuple(input_norms.shape)}."
        )
    if not bool((torch.isfinite(input_norms) & (input_norms >= 0)).all()):
        raise InputError("wanda: input norms have to be finite and not negative. Look for NaN in the layer's inputs.")
    each, more = divmod(num_to_prune(weight, sparsity), len(weight))
    norms = input_norms.to(weight.device, torch.promote_types(weight.dtype, torch.float32))
    # Zeros first: with inputs that are zero the others score as low.
    scores = (at_least_float32(weight).abs() * norms).masked_fill(weight == 0, -1.0)
    return ~torch.cat([lowest(scores[:more], each + 1), lowest(scores[more:], each)])
