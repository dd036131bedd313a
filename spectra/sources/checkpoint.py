"""A checkpoint on disk: one file, or a folder with one file or with shards and their index."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectra.errors import SourceError
from spectra.printable import named
from spectra.sources import safetensors_file, torch_file
from spectra.sources.file_checks import check_inside, file_size, is_plain_name, read_json
from spectra.sources.names import model_order, unwrapped_names
from spectra.sources.quantized import dequantized, quantization_settings
from spectra.sources.tensors import Source, StoredTensor

_SAFETENSORS = "model.safetensors"
_TORCH = "pytorch_model.bin"
_OF_A_MODEL = re.compile(r"(model|pytorch_model)(-\d+-of-\d+)?\.(safetensors|bin)")

# Where AutoGPTQ and AutoAWQ kept their settings before transformers' config.json had a place for them.
_QUANTIZATION_FILES = {"quantize_config.json": "gptq", "quant_config.json": "awq"}


def open_path(path: Path, *, name: str, location: str) -> Source:
    """List the tensors of a file or folder.

    Args:
        path: An existing file or folder.
        name: Short name of the model.
        location: What the user gave.

    Returns:
        The source.

    Raises:
        SourceError: No weights there, shards missing, or a file that cannot be read.
    """
    if path.is_dir():
        return _open_folder(path, name, location)
    # Beside a weights file of this name its model's configuration belongs to it.
    config = _configuration(path.parent) if _OF_A_MODEL.fullmatch(path.name) else {}
    return _open_file(path, name=path.stem if path.stem != "model" else name, location=location, config=config)


def _open_folder(folder: Path, name: str, location: str) -> Source:
    config = _configuration(folder)
    for single in (_SAFETENSORS, _TORCH):
        if (folder / single).is_file():
            check_inside(folder, folder / single)
            return _open_file(folder / single, name=name, location=location, config=config)
        if (folder / f"{single}.index.json").is_file():
            return _open_shards(folder / f"{single}.index.json", name=name, location=location, config=config)
    candidates = sorted(folder.glob("*.safetensors")) or sorted(
        file for file in folder.iterdir() if file.suffix in torch_file.SUFFIXES and file.is_file()
    )
    if len(candidates) == 1:
        check_inside(folder, candidates[0])
        return _open_file(candidates[0], name=name, location=location, config=config)
    if candidates:
        names = ", ".join(f"'{named(file.name)}'" for file in candidates[:6])
        raise SourceError(
            f"folder '{folder}' holds {len(candidates)} weight files and no index that says how they belong together: "
            f"{names}{', …' if len(candidates) > 6 else ''}. Give one of them, or add an index file."
        )
    raise SourceError(
        f"folder '{folder}' holds no weights: looked for {_SAFETENSORS}, {_TORCH}, their index files and other "
        f"*.safetensors and {', '.join('*' + suffix for suffix in torch_file.SUFFIXES)} files. Give the checkpoint's folder."
    )


def _configuration(folder: Path) -> dict[str, Any]:
    config = read_json(folder / "config.json")
    if quantization_settings(config):
        return config
    for name, method in _QUANTIZATION_FILES.items():
        settings = read_json(folder / name)
        if settings:
            return {**config, "quantization_config": {"quant_method": method, **settings}}
    return config


def _open_shards(index: Path, *, name: str, location: str, config: Mapping[str, Any]) -> Source:
    weight_map = _weight_map(index)
    files = sorted(set(weight_map.values()))
    missing = [file for file in files if not (index.parent / file).is_file()]
    if missing:
        raise SourceError(
            f"'{index}' names {len(missing)} of {len(files)} shards that are not there: "
            f"{', '.join(map(named, missing[:4]))}{', …' if len(missing) > 4 else ''}. Download the missing files into the "
            "same folder."
        )
    tensors: dict[str, StoredTensor] = {}
    for file in files:
        check_inside(index.parent, index.parent / file)
        for tensor in read_file(index.parent / file)[0]:
            if weight_map.get(tensor.name, file) != file:
                continue  # a tensor that several shards hold is the one of the shard that the index names
            if tensor.name in tensors:
                raise SourceError(
                    f"'{index}' does not list '{named(tensor.name)}', which several of its shards hold: which one counts "
                    "cannot be known. Download the checkpoint again."
                )
            tensors[tensor.name] = tensor
    lost = sorted(set(weight_map) - set(tensors))
    if lost:
        raise SourceError(
            f"'{index}' lists {len(lost)} tensors that its shards do not hold, '{named(lost[0])}' among them. Download them "
            "again."
        )
    paths = [index.parent / file for file in files]
    return _source(list(tensors.values()), name=name, location=location, config=config, files=paths)


def _weight_map(index: Path) -> dict[str, str]:
    """Read which tensor lies in which file, and check that the files can only be shards beside the index."""
    weight_map = read_json(index, unique=True).get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map or not all(isinstance(file, str) for file in weight_map.values()):
        raise SourceError(f"'{index}' has no 'weight_map' of tensor names to files. Download or copy it again.")
    files = sorted(set(weight_map.values()))
    outside = [file for file in files if not is_plain_name(file)]
    if outside:
        raise SourceError(f"'{index}' names files outside its folder: '{named(outside[0])}'. Shards belong beside their index.")
    kinds = {Path(file).suffix == ".safetensors" for file in files}
    if len(kinds) > 1:
        raise SourceError(f"'{index}' names both safetensors and other files as shards. Download the checkpoint again.")
    return weight_map


def _open_file(file: Path, *, name: str, location: str, config: Mapping[str, Any]) -> Source:
    tensors, nested = read_file(file)
    return _source(tensors, name=name, location=location, config=config, files=[file], nested=nested)


def read_file(file: Path) -> tuple[list[StoredTensor], bool]:
    """List the tensors of one weights file, under their names in it.

    Args:
        file: A safetensors or torch file.

    Returns:
        The tensors, and whether they stood under a key such as ``state_dict``.

    Raises:
        SourceError: Not such a file, or one that cannot be read.
    """
    file_size(file)  # before its kind: a pipe is none
    if file.suffix == ".safetensors":
        return safetensors_file.read_tensors(file), False
    if file.suffix in torch_file.SUFFIXES:
        return torch_file.read_tensors(file)
    raise SourceError(f"'{file}' is not a kind of file that is read. Known: .safetensors, {', '.join(torch_file.SUFFIXES)}.")


def _source(
    tensors: list[StoredTensor],
    *,
    name: str,
    location: str,
    config: Mapping[str, Any],
    files: list[Path],
    nested: bool = False,
) -> Source:
    """Put names right, then what depends on them: the order of safetensors, which keep none, and ties."""
    old = [tensor.name for tensor in tensors]
    new = dict(zip(old, unwrapped_names(old, nested=nested), strict=True))
    renamed = list(tensors)
    if any(before != after for before, after in new.items()):
        renamed = [
            dataclasses.replace(tensor, name=new[tensor.name], tied_to=new[tensor.tied_to] if tensor.tied_to else None)
            for tensor in tensors
        ]
    is_safetensors = files[0].suffix == ".safetensors"
    if is_safetensors:
        renamed.sort(key=lambda tensor: model_order(tensor.name))
    weights = tuple(dequantized(_tied_by_config(renamed, config), config))
    return Source(name, location, "safetensors" if is_safetensors else "torch", weights, config, tuple(files))


def _tied_by_config(tensors: list[StoredTensor], config: Mapping[str, Any]) -> list[StoredTensor]:
    """Mark an output layer that the configuration ties to the input embedding, where a file holds both."""
    if config.get("tie_word_embeddings") is not True:
        return tensors
    embedding = next(
        (t for t in tensors if t.name.endswith(("embed_tokens.weight", "wte.weight", "word_embeddings.weight"))), None
    )
    return [
        dataclasses.replace(tensor, tied_to=embedding.name)
        if embedding and not tensor.tied_to and tensor.name == "lm_head.weight" and tensor.shape == embedding.shape
        else tensor
        for tensor in tensors
    ]
