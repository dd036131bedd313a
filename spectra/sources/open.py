"""One door for whatever a user calls a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, SourceError
from spectra.sources.tensors import Source

if TYPE_CHECKING:
    import torch

    Model = str | os.PathLike[str] | torch.nn.Module | Mapping[str, Any]


def open_source(model: Model) -> Source:
    """List the tensors of a model without loading them.

    Args:
        model: Path of a checkpoint folder or file, a hub id, ``"demo"``, a live ``nn.Module``, or a mapping of names to
            arrays or tensors.

    Returns:
        The source.

    Raises:
        SourceError: Nothing there, damaged, or not a kind that is read.
        InputError: Not one of the above types.
    """
    if isinstance(model, str | os.PathLike):
        return _open_location(os.fspath(model), is_text=isinstance(model, str))
    if isinstance(model, Mapping):
        from spectra.sources.mapping import open_mapping

        return open_mapping(model)
    if hasattr(model, "named_modules"):
        from spectra.sources.module import open_module

        return open_module(model)
    raise InputError(f"model: expected a path, a hub id, an nn.Module or a mapping of tensors, got {type(model).__name__}.")


def _open_location(location: str, *, is_text: bool) -> Source:
    from spectra.sources import checkpoint, demo, hub

    if is_text and location == demo.NAME:
        return checkpoint.open_path(demo.verified_folder(), name=demo.MODEL_NAME, location=demo.NAME)
    if not location:
        raise SourceError("the name of the model is empty. Give a checkpoint's folder or file, a hub id, or 'demo'.")
    path = Path(location).expanduser()
    try:
        exists = path.exists()
    except OSError as error:  # a name too long, a folder without permission
        raise SourceError(f"cannot look at '{location}': {error.strerror or error}. Check the path.") from error
    if exists:
        return checkpoint.open_path(path, name=path.resolve().name, location=location)
    if is_text and hub.is_hub_id(location):
        return checkpoint.open_path(hub.local_folder(location), name=location.split("/")[-1], location=location)
    raise SourceError(f"no file or folder '{location}'. Check the path, or give a hub id such as 'org/name'.")
