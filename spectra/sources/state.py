"""State dicts: the tensors of a model as they are stored, by their own names, and written back to a file."""

from __future__ import annotations

import os
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spectra.errors import InputError, SourceError
from spectra.sources.names import unwrapped_names
from spectra.sources.tensors import Source

if TYPE_CHECKING:
    import torch

    from spectra.sources.open import Model


def stored_state(model: Model, source: Source) -> tuple[dict[str, Any], dict[str, str]]:
    """Give every tensor of a model under the name it is stored by.

    Args:
        model: What the source was opened from. Files are loaded whole.
        source: The opened model.

    Returns:
        The tensors: those of a module or mapping are its own. And their names, by those that the source knows them by.

    Raises:
        SourceError: No tensor in the files of the source.
    """
    nested = False
    if isinstance(model, Mapping):
        state = {str(name): value for name, value in model.items()}
    elif hasattr(model, "state_dict"):
        state = dict(model.state_dict())
    else:
        state, nested = _loaded(source)
    return state, dict(zip(unwrapped_names(list(state), nested=nested), state, strict=True))


def _loaded(source: Source) -> tuple[dict[str, Any], bool]:
    """Load the files of a source with the formats' own packages: integers and other dtypes come through as they are."""
    state: dict[str, Any] = {}
    nested = False
    for file in source.files:
        if source.format == "safetensors":
            from safetensors.torch import load_file

            state |= load_file(file)
        else:
            found, nested = _state_in(file, {tensor.name for tensor in source.tensors})
            state |= found
    if not state:
        raise SourceError(f"'{source.location}' has no files to load. Pass the model or its state dict.")
    return state, nested


def _state_in(file: Path, known: set[str]) -> tuple[dict[str, Any], bool]:
    """Find the state dict of a torch file, at the top or under a key: the mapping with the tensors of the source."""
    import torch

    with warnings.catch_warnings():  # remarks on old formats
        warnings.simplefilter("ignore", UserWarning)
        loaded = torch.load(file, weights_only=True, map_location="cpu")
    best: dict[str, Any] = {}
    most, is_nested = 0, False
    for inner in (loaded, *(value for value in loaded.values() if isinstance(value, Mapping))):
        tensors = {str(name): value for name, value in inner.items() if isinstance(value, torch.Tensor)}
        common = len(known & set(unwrapped_names(list(tensors), nested=inner is not loaded)))
        if common > most:
            best, most, is_nested = tensors, common, inner is not loaded
    return best, is_nested


def write_state(state: Mapping[str, Any], file: Path) -> None:
    """Write a state dict as a safetensors file that appears whole or not at all.

    Args:
        state: Names to torch tensors or NumPy arrays. Those that share their memory are written once; the metadata gives
            the name that stands for each other one, as ``safetensors.torch.save_model`` does.
        file: Replaced if it exists.

    Raises:
        InputError: A value that is no tensor with numbers.
        SourceError: The file cannot be written.
    """
    values, tied = _untied(state)
    temporary = file.with_name(f".{file.name}.{os.getpid()}.tmp")
    try:
        _write(values, temporary, {"format": "pt", **tied})
        os.replace(temporary, file)
    except OSError as error:
        raise SourceError(f"cannot write '{file}': {error.strerror or error}. Free space or choose another folder.") from error
    finally:
        temporary.unlink(missing_ok=True)


def _untied(state: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, str]]:
    """Split a state dict into tensors and the names that stand for other names' memory."""
    values: dict[str, Any] = {}
    tied: dict[str, str] = {}
    seen: dict[Any, str] = {}
    for name, value in state.items():
        key, reason = _memory_of(value)
        if reason:
            raise InputError(f"'{name}' cannot be written: {reason}. Leave it out, or give its numbers.")
        first = seen.setdefault(key, name) if key is not None else name
        if first == name:
            values[name] = value
        else:
            tied[name] = first
    return values, tied


def _memory_of(value: Any) -> tuple[Any, str]:
    """Return what is equal for two names of the same numbers in memory, and why there are no numbers, if there are none."""
    if hasattr(value, "detach"):
        from spectra.sources.torch_tensor import storage_format, storage_key, unreadable

        return storage_key(value), unreadable(value) or (f"{storage_format(value)} storage" if storage_format(value) else "")
    if not isinstance(value, np.ndarray | np.generic):
        return None, f"a {type(value).__name__}, neither array nor tensor"
    interface = value.__array_interface__
    key = (interface["data"], interface["shape"], interface["strides"], interface["typestr"])
    return key if isinstance(value, np.ndarray) and value.size else None, ""


def _write(values: Mapping[str, Any], file: Path, metadata: dict[str, str]) -> None:
    from safetensors import SafetensorError

    try:
        if any(hasattr(value, "detach") for value in values.values()):
            from safetensors.torch import save_file

            save_file({name: _standalone(value) for name, value in values.items()}, file, metadata)
        else:
            from safetensors.numpy import save_file as save_arrays

            save_arrays({name: np.asarray(value, order="C") for name, value in values.items()}, file, metadata)
    except SafetensorError as error:
        raise OSError(str(error)) from error


def _standalone(value: Any) -> torch.Tensor:
    """Return a tensor that is all of its storage, as safetensors wants it."""
    import torch

    tensor = value.detach() if hasattr(value, "detach") else torch.from_numpy(np.array(value))
    whole = tensor.untyped_storage().nbytes() == tensor.numel() * tensor.element_size()
    return tensor.contiguous() if whole else tensor.contiguous().clone()
