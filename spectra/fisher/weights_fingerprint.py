"""Telling weights from others, at a cost that does not grow with the model."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

import torch
from torch import Tensor

from spectra.fisher.batches import chained_fingerprint

_ENTRIES = 1000  # of each tensor: our choice; training moves nearly all of them


def weights_fingerprint(tensors: Iterable[Tensor]) -> str:
    """Hash about a thousand entries of each tensor, evenly spaced.

    Args:
        tensors: Parameters and buffers, in the order of the model. Names do not enter.

    Returns:
        SHA-256 in hex; empty for no tensors.
    """
    fingerprint = ""
    for tensor in tensors:
        for part in _real_parts(tensor.detach()):
            flat = part.flatten()
            fingerprint = chained_fingerprint(fingerprint, flat[:: max(1, len(flat) // _ENTRIES)].float())
    return fingerprint


def _real_parts(tensor: Tensor) -> Iterator[Tensor]:
    """Yield a tensor, or what it is made of: sparse ones have no flat form, complex ones no float32."""
    if tensor.is_meta:  # offloaded: its shape is all there is
        yield torch.tensor(tensor.shape)
    elif tensor.layout is not torch.strided:
        sparse = tensor.to_sparse(layout=torch.sparse_coo).coalesce()
        yield from (sparse.indices(), *_real_parts(sparse.values()))
    else:
        yield torch.view_as_real(tensor.resolve_conj()) if tensor.is_complex() else tensor
