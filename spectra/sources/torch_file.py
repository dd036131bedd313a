"""Tensors of a file written by ``torch.save``: unpickled with ``weights_only=True``, so that no code can run."""

from __future__ import annotations

import io
import pickle
import pickletools
import warnings
import zipfile
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

from spectra.errors import SourceError
from spectra.sources.tensors import StoredTensor
from spectra.sources.torch_tensor import dtype_name, row_reader, storage_format, storage_key, unreadable

SUFFIXES = (".pt", ".pth", ".th", ".bin", ".ckpt")

# Where training scripts keep the weights beside optimizer and scheduler; tried in this order.
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model")

_IMPORTING_OPCODES = {"GLOBAL", "STACK_GLOBAL", "INST"}


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
    seen: dict[Any, str] = {}
    tensors = []
    for name, tensor in state.items():
        key = storage_key(tensor)
        tied_to = seen.setdefault(key, name) if key is not None else name
        tensors.append(
            StoredTensor(
                name=name,
                shape=tuple(tensor.shape),
                dtype=dtype_name(tensor),
                read=row_reader(partial(_itself, tensor)),
                tied_to=None if tied_to == name else tied_to,
                unreadable=unreadable(tensor),
                quantized=storage_format(tensor),
            )
        )
    return tensors, nested


def _itself(tensor: Any) -> Any:
    return tensor


def _load(path: Path) -> Any:
    import torch

    try:
        with warnings.catch_warnings():  # torch's remarks on formats would stand beside the one line of ours
            warnings.simplefilter("ignore", UserWarning)
            # Memory mapping needs the zip format; files from before torch 1.6 are one pickle and are read whole.
            return torch.load(path, weights_only=True, map_location="cpu", mmap=zipfile.is_zipfile(path))
    except pickle.UnpicklingError as error:
        if _names_code(path):
            raise SourceError(
                f"'{path}' cannot be loaded without running code stored in it ({_cause(error)}), and Spectra never runs such "
                "code. Save the state dict alone, best as safetensors, on a machine that trusts the file."
            ) from error
        raise SourceError(f"'{path}' is damaged or not written by torch.save. Check what the file is.") from error
    except OSError as error:
        raise SourceError(f"cannot read '{path}': {error.strerror or error}. Check the file and its permissions.") from error
    except (EOFError, RuntimeError, ValueError, KeyError, AttributeError, IndexError, TypeError) as error:
        # What torch's unpickler raises on bytes that are no pickle; a TorchScript archive says so itself.
        first_line = str(error).splitlines()[0][:120] if str(error) else type(error).__name__
        raise SourceError(
            f"'{path}' is damaged or not a state dict written by torch.save ({first_line}). Check what the file is."
        ) from error


def _names_code(path: Path) -> bool:
    """Look for what a pickle would import, without loading it: torch's refusal does not tell code from damage."""
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                (member,) = (name for name in archive.namelist() if name.endswith("data.pkl"))
                content = archive.read(member)
        else:
            content = path.read_bytes()
        stream = io.BytesIO(content)
        while stream.tell() < len(content):  # files from before torch 1.6 are several pickles one after the other
            if any(opcode.name in _IMPORTING_OPCODES for opcode, _, _ in pickletools.genops(stream)):
                return True
    except (ValueError, OSError, zipfile.BadZipFile):
        pass  # what follows is no pickle
    return False


def _cause(error: pickle.UnpicklingError) -> str:
    for line in str(error).splitlines():
        if "GLOBAL" in line:
            return line.strip().removeprefix("WeightsUnpickler error: ").split(" was not an allowed")[0][:110].rstrip(" .")
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
        keys = ", ".join(repr(key) for key in list(loaded)[:8])
        raise SourceError(
            f"'{path}' holds no weights at its top level or under {', '.join(_STATE_DICT_KEYS)}; "
            f"its keys are: {keys or 'none'}. Save model.state_dict()."
        )
    return tensors, False


def _tensors_of(mapping: Mapping[Any, Any]) -> dict[str, Any]:
    import torch

    return {str(name): value for name, value in mapping.items() if isinstance(value, torch.Tensor)}
