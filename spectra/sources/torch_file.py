"""Tensors of a file written by ``torch.save``: unpickled with ``weights_only=True``, so that no code can run."""

from __future__ import annotations

import pickle
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from spectra.errors import SourceError
from spectra.printable import named
from spectra.sources.file_checks import file_size, reading
from spectra.sources.names import name_fault
from spectra.sources.tensors import StoredTensor
from spectra.sources.torch_tensor import dtype_name, row_reader, storage_format, storage_key, unreadable

SUFFIXES = (".pt", ".pth", ".th", ".bin", ".ckpt")

# Where training scripts keep the weights beside optimizer and scheduler; tried in this order.
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model")


def read_tensors(path: Path) -> tuple[list[StoredTensor], bool]:
    """List the tensors of a torch file.

    Args:
        path: Written by ``torch.save``; zip files are memory-mapped, so that a tensor is read when it is needed.

    Returns:
        The tensors in the order of the state dict, and whether it stood under a key such as ``state_dict``.

    Raises:
        SourceError: Not a torch file, damaged, needs code to load, or without tensors.
    """
    state, nested = _state_dict(_load(path), path)
    size = file_size(path)
    seen: dict[Any, str] = {}
    tensors = []
    for name, tensor in state.items():
        if fault := name_fault(name):
            raise SourceError(f"'{path}' is damaged: {fault}. Save the state dict again.")
        key = storage_key(tensor)
        tied_to = seen.setdefault(key, name) if key is not None else name
        tensors.append(
            StoredTensor(
                name=name,
                shape=tuple(tensor.shape),
                dtype=dtype_name(tensor),
                read=row_reader(partial(_while_whole, path, size, tensor)),
                tied_to=None if tied_to == name else tied_to,
                unreadable=unreadable(tensor) or _more_than_stored(tensor, size),
                quantized=storage_format(tensor),
            )
        )
    return tensors, nested


def _while_whole(path: Path, size: int, tensor: Any) -> Any:
    """Look at the file's size before each block: to touch a mapped page that is gone ends the process."""
    if file_size(path) < size:
        raise SourceError(f"'{path}' became shorter while it was read. Do not write to a checkpoint under analysis.")
    return tensor


def _more_than_stored(tensor: Any, size: int) -> str | None:
    """Refuse a tensor that a small file makes large: by a stride of 0, or by a memory that no bytes of the file fill."""
    if storage_format(tensor) not in ("", "torch") or tensor.numel() == 0:
        return None
    stored = tensor.untyped_storage().nbytes()
    if stored <= size and tensor.numel() * tensor.element_size() <= stored:
        return None
    return f"{tensor.numel()} numbers of which the file stores fewer: save its contiguous() copy"


def _load(path: Path) -> Any:
    import torch

    from spectra.sources import torch_archive  # with pickletools, of which an analysis of safetensors has no use

    is_zip = torch_archive.check(path)
    try:
        with reading(path), warnings.catch_warnings():  # torch's remarks on formats would stand beside the one line of ours
            warnings.simplefilter("ignore", UserWarning)
            # Memory mapping needs the zip format; files from before torch 1.6 are one pickle and are read whole.
            return torch.load(path, weights_only=True, map_location="cpu", mmap=is_zip)
    except pickle.UnpicklingError as error:
        if torch_archive.names_code(path):
            raise SourceError(
                f"'{path}' cannot be loaded without running code stored in it ({_cause(error)}), and Spectra never runs such "
                "code. Save the state dict alone, best as safetensors, on a machine that trusts the file."
            ) from error
        raise SourceError(f"'{path}' is damaged or not written by torch.save. Check what the file is.") from error
    except SourceError:
        raise
    except Exception as error:
        # Whatever torch's unpickler raises on bytes of a stranger, struct.error and AssertionError among it; a TorchScript
        # archive says so itself.
        first_line = named(str(error).splitlines()[0]) if str(error) else type(error).__name__
        raise SourceError(
            f"'{path}' is damaged or not a state dict written by torch.save ({first_line}). Check what the file is."
        ) from error


def _cause(error: pickle.UnpicklingError) -> str:
    for line in str(error).splitlines():
        if "GLOBAL" in line:
            return named(
                line.strip().removeprefix("WeightsUnpickler error: ").split(" was not an allowed")[0][:110].rstrip(" .")
            )
    return "weights_only loading refused it"


def _state_dict(loaded: Any, path: Path) -> tuple[dict[str, Any], bool]:
    if not isinstance(loaded, Mapping):
        raise SourceError(f"'{path}' holds a {type(loaded).__name__}, not a state dict. Save model.state_dict().")
    for key in _STATE_DICT_KEYS:
        inner = loaded.get(key)
        if isinstance(inner, Mapping) and (tensors := _tensors_of(inner)):
            return tensors, True
    tensors = _tensors_of(loaded)
    elsewhere = any(isinstance(value, Mapping) and _tensors_of(value) for value in loaded.values())
    if not tensors or (elsewhere and all(tensor.dim() < 2 for tensor in tensors.values())):
        keys = ", ".join(named(repr(key)) for key in list(loaded)[:8])
        raise SourceError(
            f"'{path}' holds no weights at its top level or under {', '.join(_STATE_DICT_KEYS)}; "
            f"its keys are: {keys or 'none'}. Save model.state_dict()."
        )
    return tensors, False


def _tensors_of(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    import torch

    return {str(name): value for name, value in mapping.items() if isinstance(value, torch.Tensor)}
