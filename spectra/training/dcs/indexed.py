"""The place of every sample in its data set, carried along through loader and collator up to the loss.

A data set is wrapped so that each item says its place; a collator takes the places out before the model's own collator sees
the items, and puts them into the batch as one tensor; the training step takes that out again before it calls the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, MutableMapping, Sequence
from operator import index as whole_number
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset, IterableDataset

from spectra.errors import InputError
from spectra.fisher.batches import num_samples_of

INDEX = "sample_index"

# What only collators that join samples into one row put into a batch: transformers' and trl's names.
_OF_PACKED_ROWS = ("cu_seq_lens_q", "cu_seq_lens_k", "seq_idx", "seq_lengths")
_UNPACK = "Give each sample a row of its own: packing=False, padding_free=False, and a collator that pads."


class IndexedDataset(Dataset[dict[str, Any]]):
    """A data set whose items say where they are in it, as ``"sample_index"``.

    Args:
        dataset: With a length and items that are mappings: a list of dicts, one of torch's, or one of Hugging Face's. It is
            asked for several items at once where it can be (``__getitems__``).

    Raises:
        InputError: It has no length or no places (a stream), has several splits, or is empty.
    """

    def __init__(self, dataset: Any) -> None:
        check_places(dataset)
        self.dataset = dataset

    def __len__(self) -> int:
        return len(self.dataset)

    def __getitem__(self, index: int) -> dict[str, Any]:
        place = self._place(index)
        return _indexed(self.dataset[place], place)

    def __getitems__(self, indices: Sequence[int]) -> list[dict[str, Any]]:
        """Return several items: torch's loaders ask in this way.

        Args:
            indices: Places.

        Returns:
            The items, in that order.
        """
        places = [self._place(index) for index in indices]
        several = getattr(self.dataset, "__getitems__", None)
        items = several(places) if several else [self.dataset[place] for place in places]
        return [_indexed(item, place) for item, place in zip(items, places, strict=True)]

    def _place(self, index: int) -> int:
        """Count from the end where asked to, and refuse what is outside, as lists do."""
        return range(len(self))[whole_number(index)]


def check_places(dataset: Any) -> None:
    """Refuse data whose samples cannot be found again by a number.

    Args:
        dataset: Anything.

    Raises:
        InputError: A stream, several splits, or no sample.
    """
    if isinstance(dataset, Mapping):
        splits = ", ".join(f"'{name}'" for name in dataset)
        raise InputError(f"the data set is a mapping of {splits}: pass one split, such as dataset['train'].")
    has_places = hasattr(dataset, "__len__") and hasattr(dataset, "__getitem__")
    if isinstance(dataset, IterableDataset) or not has_places:
        raise InputError(
            f"a {type(dataset).__name__} is a stream: its samples have no fixed place that a weight could belong to. Pass a "
            "data set with a length and items by number, such as a list, or a Dataset loaded with streaming=False."
        )
    if len(dataset) == 0:
        raise InputError("the data set is empty: pass at least one sample.")


class IndexCollator:
    """A collator that carries places from the items to the batch.

    Args:
        collate: Makes a batch, a mapping of tensors, of items without places.
    """

    def __init__(self, collate: Callable[[list[dict[str, Any]]], Any]) -> None:
        self.collate = collate

    def __call__(self, features: Sequence[Mapping[str, Any]]) -> MutableMapping[str, Any]:
        """Make a batch.

        Args:
            features: Items of an :class:`IndexedDataset`; they are not changed.

        Returns:
            What the collator made, with ``"sample_index"``: int64, shape ``(B,)``.

        Raises:
            InputError: An item has no place, or a row of the batch is not one sample.
        """
        if any(INDEX not in item for item in features):
            raise InputError(_no_index("an item"))
        places = [int(item[INDEX]) for item in features]
        batch = self.collate([{key: value for key, value in item.items() if key != INDEX} for item in features])
        _check_rows(batch, len(places))
        batch[INDEX] = torch.tensor(places)
        return batch  # type: ignore[no-any-return]


def take_index(batch: MutableMapping[str, Any]) -> Tensor:
    """Take the places out of a batch, so that the model can be called with the rest.

    Args:
        batch: From an :class:`IndexCollator`; it is changed.

    Returns:
        The place of each sample, int64, shape ``(B,)``.

    Raises:
        InputError: There are none.
    """
    if INDEX not in batch:
        raise InputError(_no_index("the batch"))
    index: Tensor = batch.pop(INDEX)
    return index


def _no_index(what: str) -> str:
    return (
        f"{what} has no '{INDEX}', so that nobody knows whose weight it has. Wrap the data set in IndexedDataset and the "
        "collator in IndexCollator, and set remove_unused_columns=False: transformers drops the column otherwise."
    )


def _indexed(item: Any, place: int) -> dict[str, Any]:
    if not isinstance(item, Mapping):
        raise InputError(f"sample {place} is a {type(item).__name__}: expected a mapping, such as {{'input_ids': ..., ...}}.")
    if INDEX in item:
        raise InputError(f"sample {place} has a '{INDEX}' already. Wrap a data set once, and rename a column of that name.")
    return {**item, INDEX: place}


def _check_rows(batch: Any, num_samples: int) -> None:
    if not isinstance(batch, MutableMapping):
        raise InputError(
            f"the collator makes a {type(batch).__name__}: expected a mapping of tensors, as the model takes them."
        )
    packed = next((name for name in _OF_PACKED_ROWS if name in batch), None)
    if packed is not None:
        raise InputError(f"the batch is packed: '{packed}' says where samples begin inside a row. {_UNPACK}")
    rows = num_samples_of(batch)
    if rows != num_samples:
        raise InputError(f"the collator makes {rows} rows of {num_samples} samples: they are packed, or were cut up. {_UNPACK}")
    row = _first_restart(batch)
    if row is not None:
        raise InputError(f"position_ids of row {row} start again inside it: several samples are packed there. {_UNPACK}")


def _first_restart(batch: Mapping[str, Any]) -> int | None:
    """Find a row whose positions go back. Padding does not count, nor do positions with several axes (images, video)."""
    positions, mask = batch.get("position_ids"), batch.get("attention_mask")
    if not isinstance(positions, Tensor) or positions.ndim != 2:
        return None
    goes_back = positions[:, 1:] < positions[:, :-1]
    if isinstance(mask, Tensor) and mask.shape == positions.shape:
        goes_back = goes_back & (mask[:, 1:] != 0) & (mask[:, :-1] != 0)
    rows = goes_back.any(dim=1).nonzero()
    return int(rows[0]) if len(rows) else None
