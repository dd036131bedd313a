"""Telling data sets apart by a few of their samples, and by all labels where these are at hand."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spectra.errors import InputError
from spectra.training.dcs.indexed import INDEX, IndexedDataset, check_places

LABELS = ("labels", "label", "label_ids")
_SPREAD = 61  # with the first, the middle and the last sample at most 64: our choice


def dataset_fingerprint(dataset: Any) -> str:
    """Hash the length of a data set and up to 64 samples: the first, the middle, the last and others evenly between.

    All of a sample counts, whatever the order of its keys; lists, arrays and tensors of equal numbers are equal (compared in
    int64 and float32). Samples that are drawn or changed at random differ each time, and so does their fingerprint. Labels of
    lists and of Hugging Face's data sets count all, so that corrected labels are told from those before.

    Args:
        dataset: As :class:`~spectra.training.dcs.indexed.IndexedDataset` takes it, or such a one.

    Returns:
        SHA-256 in hex.

    Raises:
        InputError: A stream, no sample, or a value that is neither text nor numbers.
    """
    check_places(dataset)
    length = len(dataset)
    digest = hashlib.sha256(f"{length} samples".encode())
    for place in looked_at(length):
        item = dataset[place]
        kept = {key: value for key, value in item.items() if key != INDEX} if isinstance(item, Mapping) else item
        _add(digest, kept, f"sample {place}")
    labels = all_labels(dataset.dataset if isinstance(dataset, IndexedDataset) else dataset)
    if labels is not None:
        _add(digest, labels, "labels")
    return digest.hexdigest()


def looked_at(length: int) -> list[int]:
    """Return the places of up to 64 samples: the first, the middle, the last and others evenly between.

    Args:
        length: Of the data set, above 0.
    """
    return sorted({0, length // 2, length - 1, *(k * length // _SPREAD for k in range(_SPREAD))})


def all_labels(dataset: Any) -> Any:
    """Read all labels if that is cheap: nothing is decoded, and there is one number or text for each sample.

    Args:
        dataset: A list, one of Hugging Face's, or any other.

    Returns:
        A list; ``None`` where they are not at hand.
    """
    if isinstance(dataset, list | tuple):
        first = dataset[0] if isinstance(dataset[0], Mapping) else {}
        columns = [[item.get(name) for item in dataset] for name in LABELS if name in first]
    else:
        is_plain = getattr(dataset, "_format_type", "custom") != "custom"  # no function between the table and the reader
        names = (getattr(dataset, "column_names", None) or ()) if is_plain else ()
        columns = [list(dataset[name]) for name in LABELS if name in names]
    return next((column for column in columns if all(np.ndim(label) == 0 for label in column)), None)


def _add(digest: Any, value: Any, where: str) -> None:
    """Hash a value so that no two values of different structure feed the same bytes."""
    if value is None or isinstance(value, str | bytes):
        digest.update(repr(value).encode())
    elif isinstance(value, Mapping):
        digest.update(f"{{{len(value)}".encode())
        for key in sorted(value):
            digest.update(repr(key).encode())
            _add(digest, value[key], f"{where}, '{key}'")
    elif (numbers := _numbers(value)) is not None:
        digest.update(f"{numbers.dtype}{numbers.shape}".encode())
        digest.update(np.ascontiguousarray(numbers).data)
    elif isinstance(value, list | tuple | np.ndarray):
        digest.update(f"[{len(value)}".encode())
        for inner in value:
            _add(digest, inner, where)
    else:
        raise InputError(f"{where} is of type {type(value).__name__}: expected texts and numbers. Take that column out.")


def _numbers(value: Any) -> NDArray[Any] | None:
    """Read a value as an array of numbers, unless it is something else, or a list of rows of different lengths."""
    if isinstance(value, Tensor):
        value = value.detach().cpu()
        value = (value.float() if value.is_floating_point() else value).numpy()
    try:
        array = np.asarray(value)
    except ValueError:  # rows of different lengths
        return None
    if array.dtype.kind in "biu":
        return array.astype(np.int64)
    with np.errstate(over="ignore"):
        return array.astype(np.float32) if array.dtype.kind == "f" else None
