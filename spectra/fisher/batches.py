"""Batches as transformers models and plain modules take them: how many samples, some of them alone, and which they are."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any, TypeVar

import torch
from torch import Tensor

from spectra.errors import InputError
from spectra.fisher.provenance import tensors_in

_COUNTED_BY = ("labels", "input_ids", "inputs_embeds", "pixel_values", "input_values", "input_features")

SAMPLE_WEIGHT = "sample_weight"  # no input of the model: says nothing about the samples, see sample_weights.py

_Item = TypeVar("_Item")


def num_samples_of(batch: Any) -> int:
    """Count the samples of a batch.

    Args:
        batch: A mapping of tensors, or a pair ``(inputs, targets)``.

    Returns:
        The length of the labels, or else of the inputs, along the first dimension.

    Raises:
        InputError: No tensor tells, or there is no sample.
    """
    if isinstance(batch, Mapping):
        batch = {name: value for name, value in batch.items() if name != SAMPLE_WEIGHT}
        named = [batch[name] for name in _COUNTED_BY if isinstance(batch.get(name), Tensor)]
    else:
        named = list(tensors_in(batch[1])) if isinstance(batch, tuple | list) and len(batch) == 2 else []
    tensor = next((tensor for tensor in (*named, *tensors_in(batch)) if tensor.ndim > 0), None)
    if tensor is None:
        raise InputError(
            f"a batch of type {type(batch).__name__} holds no tensor: pass mappings of tensors as the model takes them, or "
            "pairs (inputs, targets)."
        )
    if len(tensor) == 0:
        raise InputError("a batch holds no sample: leave empty batches out.")
    return len(tensor)


def check_batches(batches: Any) -> None:
    """Refuse what is no series of batches.

    Args:
        batches: What the caller passed.

    Raises:
        InputError: One batch alone, or nothing that can be gone through.
    """
    if isinstance(batches, Mapping | Tensor):
        raise InputError("batches is a single batch: pass a list of batches, [batch].")
    if not isinstance(batches, Iterable):
        raise InputError(f"batches is a {type(batches).__name__}: pass a list of batches, or a DataLoader.")


def samples(batch: Any, start: int, stop: int) -> Any:
    """Cut some samples out of a batch; padding stays as it is.

    Args:
        batch: As above.
        start: First sample.
        stop: The one after the last.

    Returns:
        The same structure; tensors that do not begin with the batch are left whole.
    """
    size = num_samples_of(batch)
    return mapped(batch, lambda tensor: tensor[start:stop] if tensor.ndim and tensor.shape[0] == size else tensor)


def picked(batch: Any, rows: Sequence[int]) -> Any:
    """Put samples of a batch together in another order.

    Args:
        batch: As above.
        rows: Which samples; some may come twice.

    Returns:
        The same structure; tensors that do not begin with the batch are left whole.
    """
    size = num_samples_of(batch)
    return mapped(batch, lambda tensor: tensor[list(rows)] if tensor.ndim and tensor.shape[0] == size else tensor)


def first_other(batch: Any) -> int:
    """Find the first sample whose inputs are not those of sample 0.

    Args:
        batch: As above, of two samples or more.

    Returns:
        Its place; 1 if all are alike.
    """
    size = num_samples_of(batch)
    inputs = {**batch, "labels": None} if isinstance(batch, Mapping) else batch[0]
    tensors = [tensor for tensor in tensors_in(inputs) if tensor.ndim and tensor.shape[0] == size]
    return next((n for n in range(1, size) if not all(torch.equal(one[0], one[n]) for one in tensors)), 1)


def mapped(batch: Any, change: Callable[[Tensor], Tensor]) -> Any:
    """Apply a function to every tensor of a batch.

    Args:
        batch: Mappings and sequences, nested.
        change: What to do.

    Returns:
        New mappings and sequences; everything that is no tensor as it was.
    """
    if isinstance(batch, Tensor):
        return change(batch)
    if isinstance(batch, Mapping):
        return {key: mapped(value, change) for key, value in batch.items()}
    if isinstance(batch, list | tuple):
        values = [mapped(value, change) for value in batch]
        return type(batch)(*values) if hasattr(batch, "_fields") else type(batch)(values)  # the first is a namedtuple
    return batch


def chained_fingerprint(before: str, batch: Any) -> str:
    """Add a batch to the fingerprint of those before it.

    Args:
        before: SHA-256 in hex; empty at the start.
        batch: The next batch.

    Returns:
        SHA-256 over both, in hex: a running one that can be stored.
    """
    digest = hashlib.sha256(before.encode())
    for tensor in tensors_in(batch):
        host = tensor.detach().cpu().contiguous()
        digest.update(f"{host.dtype}{tuple(host.shape)}".encode())
        digest.update(host.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()


def flag_last(items: Iterable[_Item]) -> Iterator[tuple[_Item, bool]]:
    """Yield items with whether each is the last.

    Args:
        items: Any.

    Yields:
        Pairs.
    """
    iterator = iter(items)
    try:
        current = next(iterator)
    except StopIteration:
        return
    for following in iterator:
        yield current, False
        current = following
    yield current, True
