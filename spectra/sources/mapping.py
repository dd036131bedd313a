"""A mapping of names to arrays or tensors: a state dict in memory."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

from spectra.errors import InputError
from spectra.sources.names import unwrapped_names
from spectra.sources.quantized import dequantized
from spectra.sources.tensors import Source, StoredTensor


def open_mapping(mapping: Mapping[str, Any]) -> Source:
    """List the tensors of a mapping.

    Args:
        mapping: Names to NumPy arrays or torch tensors; other values are an error.

    Returns:
        The source, in the order of the mapping.

    Raises:
        InputError: A value that is neither array nor tensor.
    """
    mapping = {str(name): value for name, value in mapping.items()}
    tensors: list[StoredTensor] = []
    seen: dict[Any, str] = {}
    wrong = {name: type(value).__name__ for name, value in mapping.items() if not hasattr(value, "shape")}
    if wrong:
        name, kind = next(iter(wrong.items()))
        raise InputError(
            f"model: {len(wrong)} of {len(mapping)} values are neither arrays nor tensors, '{name}' ({kind}) among them. "
            "Pass a mapping of names to weights, such as model.state_dict()."
        )
    for name, value in mapping.items():
        tensor = _stored(name, value)
        key = _storage_key(value)
        first = seen.setdefault(key, name) if key is not None else name
        tensors.append(dataclasses.replace(tensor, tied_to=None if first == name else first))
    old = [tensor.name for tensor in tensors]
    new = dict(zip(old, unwrapped_names(old), strict=True))
    renamed = [dataclasses.replace(t, name=new[t.name], tied_to=new[t.tied_to] if t.tied_to else None) for t in tensors]
    return Source("mapping", f"mapping of {len(tensors)} tensors", "mapping", tuple(dequantized(renamed, {})))


def _stored(name: str, value: Any) -> StoredTensor:
    if hasattr(value, "detach"):
        from spectra.sources.torch_tensor import dtype_name, row_reader, storage_format, unreadable

        return StoredTensor(
            name,
            tuple(value.shape),
            dtype_name(value),
            row_reader(lambda: value),
            unreadable=unreadable(value),
            quantized=storage_format(value),
        )
    array = np.asarray(value)
    wide: np.dtype[Any] = np.dtype(np.float64 if array.dtype.name == "float64" else np.float32)  # of either byte order
    if array.dtype.kind in "iub":  # codes of a quantized weight, perhaps: as they are
        wide = array.dtype.newbyteorder("=")
    rows = np.atleast_1d(array)
    return StoredTensor(name, array.shape, array.dtype.name, lambda start, stop: rows[start:stop].astype(wide, copy=False))


def _storage_key(value: Any) -> tuple[Any, ...] | None:
    if hasattr(value, "detach"):
        from spectra.sources.torch_tensor import storage_key

        return storage_key(value)
    interface = np.asarray(value).__array_interface__
    return (interface["data"][0], interface["shape"], interface["strides"], interface["typestr"]) if np.size(value) else None
