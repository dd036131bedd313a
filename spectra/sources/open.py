"""One door for whatever a user calls a model."""

from __future__ import annotations

import os
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, SourceError, did_you_mean
from spectra.printable import named
from spectra.sources.adapter import MERGED, MODES
from spectra.sources.difference import difference
from spectra.sources.tensors import Source

if TYPE_CHECKING:
    import torch

    Model = str | os.PathLike[str] | torch.nn.Module | Mapping[str, Any]


def open_source(model: Model, *, base: Model | None = None, lora: str = "delta") -> Source:
    """List the tensors of a model, of what training changed in it, or of an adapter, without loading them.

    Args:
        model: Path of a checkpoint folder or file, a hub id, ``"demo"``, a live ``nn.Module``, or a mapping of names to
            arrays or tensors; or an adapter that the peft library saved or put into a live model.
        base: Any of these. For an adapter its base model; default: the one it names, where that is a path or in the hub
            cache. For another model the one to subtract: its weights are then differences.
        lora: What to list of an adapter: ``"delta"``, ``"merged"``, ``"factors"`` or ``"base"``; see
            :mod:`spectra.sources.adapter`.

    Returns:
        The source.

    Raises:
        SourceError: Nothing there, damaged, not a kind that is read, or of another architecture than its base.
        InputError: Not one of the above types, or a mode of adapters for a model that is none.
    """
    if lora not in MODES:
        raise InputError(f"lora: unknown mode {lora!r}.{did_you_mean(str(lora), MODES)} Known: {', '.join(MODES)}.")
    source, is_adapter = _opened(model, base, lora)
    if is_adapter:
        return source
    if lora != "delta":
        raise InputError(f"lora='{lora}' is for adapters, and '{source.location}' is none. Leave it out, or give the adapter.")
    if base is None:
        return source
    return difference(source, _whole(base))


def _whole(model: Model) -> Source:
    """Open a base: of an adapter the merged model."""
    return _opened(model, None, MERGED)[0]


def _opened(model: Model, base: Model | None, lora: str) -> tuple[Source, bool]:
    """Open a model, and tell whether it is an adapter, which the base and the mode have then been used for."""
    if isinstance(model, str | os.PathLike):
        return _open_location(os.fspath(model), base, lora, is_text=isinstance(model, str))
    if isinstance(model, Mapping):
        from spectra.sources.mapping import open_mapping

        return open_mapping(model), False
    if hasattr(model, "named_modules"):
        from spectra.sources.adapter_module import has_adapters, open_adapted
        from spectra.sources.module import open_module

        if not has_adapters(model):
            return open_module(model), False
        if base is not None:
            raise InputError("base: a live model with adapters holds its base already. Leave base out; lora chooses the part.")
        return open_adapted(model, lora), True
    raise InputError(f"model: expected a path, a hub id, an nn.Module or a mapping of tensors, got {type(model).__name__}.")


def _open_location(location: str, base: Model | None, lora: str, *, is_text: bool) -> tuple[Source, bool]:
    from spectra.sources import demo, hub

    if is_text and location == demo.NAME:
        return _open_path(demo.verified_folder(), demo.MODEL_NAME, demo.NAME, base, lora)
    if not location:
        raise SourceError("the name of the model is empty. Give a checkpoint's folder or file, a hub id, or 'demo'.")
    path, exists = _looked_up(location)
    if exists:
        return _open_path(path, path.resolve().name, location, base, lora)
    if is_text and hub.is_hub_id(location):
        return _open_path(hub.local_folder(location), location.split("/")[-1], location, base, lora)
    raise SourceError(f"no file or folder '{location}'. Check the path, or give a hub id such as 'org/name'.")


def _looked_up(location: str) -> tuple[Path, bool]:
    try:
        path = Path(location).expanduser()
        return path, path.exists()
    except OSError as error:  # a name too long, a folder without permission
        raise SourceError(f"cannot look at '{named(location)}': {error.strerror or error}. Check the path.") from error
    except RuntimeError as error:  # '~nobody'
        raise SourceError(f"cannot look at '{named(location)}': {error} Check the path.") from error


def _open_path(
    path: Path, name: str, location: str, base: Model | None, lora: str, adapters: tuple[Path, ...] = ()
) -> tuple[Source, bool]:
    """Open a file or folder, the base of the adapters that named it."""
    from spectra.sources import adapter_folder, checkpoint

    folder = adapter_folder.adapter_folder(path)
    if folder is None:
        return checkpoint.open_path(path, name=name, location=location), False
    given = _whole(base) if base is not None else None
    opened = adapter_folder.open_adapter(
        folder,
        name=name,
        location=location,
        mode=lora,
        base=given,
        find_base=partial(_named_base, (*adapters, folder.resolve())),
    )
    return opened, True


def _named_base(adapters: tuple[Path, ...], base: str, revision: str | None) -> Source | None:
    """Open the base that an adapter names, where it is at hand: nothing is downloaded that nobody asked for."""
    from spectra.sources import checkpoint, hub

    path, exists = _looked_up(base)
    if exists:
        # An adapter that names itself, or one that names it back, names no base.
        return None if path.resolve() in adapters else _open_path(path, path.resolve().name, base, None, MERGED, adapters)[0]
    folder = hub.cached_folder(base, revision) if hub.is_hub_id(base) else None
    return checkpoint.open_path(folder, name=base.split("/")[-1], location=base) if folder else None
