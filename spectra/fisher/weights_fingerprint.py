"""Telling weights from others, at a cost that does not grow with the model."""

from __future__ import annotations

from collections.abc import Iterable

from torch import Tensor

from spectra.fisher.batches import chained_fingerprint

_ENTRIES = 1000  # of each tensor: our choice; training moves nearly all of them


def weights_fingerprint(tensors: Iterable[Tensor]) -> str:
    """Hash about a thousand entries of each tensor, evenly spaced.

    Args:
        tensors: Parameters, in the order of the model. Names do not enter.

    Returns:
        SHA-256 in hex; empty for no tensors.
    """
    fingerprint = ""
    for tensor in tensors:
        flat = tensor.detach().flatten()
        fingerprint = chained_fingerprint(fingerprint, flat[:: max(1, len(flat) // _ENTRIES)].float())
    return fingerprint
