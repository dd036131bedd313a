"""Where a tensor of a forward pass comes from: parameters alone, or the batch.

* An *expression* is a parameter, or was computed from parameters alone: a transposed weight, a position embedding, a weight
  norm.
* A *batched* tensor was computed from the batch. Its first dimension runs over the samples, or samples times tokens, in this
  order.
* A *mixed* tensor is a batched one whose rows were chosen by the data (the tokens an expert gets): they belong to no one
  sample.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional

MARK = "_spectra_provenance"


class Provenance(Enum):
    """What a tensor that depends on the batch is."""

    BATCHED = "batched"
    MIXED = "mixed"


@dataclass(frozen=True, eq=False)
class Expression:
    """A tensor computed from parameters alone.

    Attributes:
        tensor: The value; its graph leads back to the parameters.
        sources: Names of the parameters.
        is_selection: Its entries are entries of one parameter, each at most once: squares may be added up before going back.
    """

    tensor: Tensor
    sources: tuple[str, ...]
    is_selection: bool


def tensors_in(value: Any) -> Iterator[Tensor]:
    """Yield the tensors in nested mappings and sequences.

    Args:
        value: Anything.

    Yields:
        The tensors.
    """
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from tensors_in(inner)
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from tensors_in(inner)


def mark(value: Any, provenance: Provenance) -> None:
    """Write on the tensors in a value what they are.

    Args:
        value: A tensor, or mappings and sequences of them, nested.
        provenance: What they are.
    """
    for tensor in tensors_in(value):
        setattr(tensor, MARK, provenance)


def chooses_rows(func: Any, args: Any, kwargs: Any) -> bool:
    """Say whether an operation picks entries along the first dimension by an index that is a tensor.

    Args:
        func: Any function of torch's.
        args: Its arguments.
        kwargs: Its named arguments.

    Returns:
        Whether the rows of its result may belong to any sample.
    """
    if func is Tensor.__getitem__:
        index = args[1]
        first = index[0] if isinstance(index, tuple) and index else index
        if not isinstance(first, Tensor | list):
            return False
        rows = args[0].shape[0] if args[0].ndim else 0
        # One row after the other, (rows,) or (rows, 1, ...), is no choice.
        return not (isinstance(first, Tensor) and first.ndim and first.shape[0] == first.numel() == rows and _counts_up(first))
    if func in _ALONG_A_DIMENSION:
        dim = kwargs.get("dim", args[1] if len(args) > 1 else 0)
        return bool(isinstance(dim, int) and args[0].ndim and dim % args[0].ndim == 0)
    return func in _FLATTENING


def is_in_place(func: Any) -> bool:
    """Say whether an operation writes into its first argument.

    Args:
        func: Any function of torch's.

    Returns:
        By the name of the function, as torch's are named.
    """
    name = getattr(func, "__name__", "")
    return func is Tensor.__setitem__ or (name.endswith("_") and not name.endswith("__")) or name.startswith("__i")


def _counts_up(index: Tensor) -> bool:
    return index.dtype != torch.bool and bool((index.flatten() == torch.arange(len(index), device=index.device)).all())


def named(*names: str) -> set[Any]:
    """Return the functions of these names in torch, torch.Tensor and torch.nn.functional.

    Args:
        *names: Some may be missing in some places.

    Returns:
        The functions, as a torch-function mode meets them.
    """
    homes = (torch, Tensor, functional)
    return {getattr(home, name) for home in homes for name in names if callable(getattr(home, name, None))}


def _getters(*names: str) -> set[Any]:
    return {getattr(Tensor, name).__get__ for name in names}


# Answers about a tensor that are no tensors.
ATTRIBUTES = _getters(
    "shape", "dtype", "device", "ndim", "is_cuda", "requires_grad", "layout", "is_leaf", "grad_fn", "is_cpu", "is_meta"
) | named(
    "size", "dim", "numel", "nelement", "stride", "is_contiguous", "is_floating_point", "is_complex", "element_size", "__len__",
    "data_ptr", "storage_offset", "get_device", "register_hook", "__hash__", "__repr__", "requires_grad_",
)  # fmt: skip
# Of all but the first argument only type, device or shape enters.
BY_TYPE_ONLY = named(
    "type_as", "expand_as", "view_as", "reshape_as", "zeros_like", "ones_like", "empty_like", "new_zeros", "new_ones"
)
SELECTIONS = named(
    "t", "transpose", "permute", "view", "reshape", "flatten", "unflatten", "narrow", "select", "squeeze", "unsqueeze",
    "contiguous", "chunk", "split", "unbind", "movedim", "swapaxes", "swapdims", "adjoint", "clone", "float", "double", "half",
    "bfloat16", "to", "type", "cpu", "cuda", "tensor_split", "type_as", "view_as", "reshape_as",
) | _getters("T", "mT")  # fmt: skip
PUTS_ROWS_BACK = named(
    "index_add", "index_add_", "index_copy", "index_copy_", "index_put", "index_put_", "scatter", "scatter_", "scatter_add",
    "scatter_add_", "scatter_reduce", "scatter_reduce_", "masked_scatter", "masked_scatter_",
) | {Tensor.__setitem__}  # fmt: skip
_ALONG_A_DIMENSION = named(
    "index_select", "gather", "take_along_dim", "sort", "argsort", "topk", "unique_consecutive", "flip", "roll"
)
_FLATTENING = named("masked_select", "take", "nonzero", "unique", "argwhere")
