"""An adapter that the peft library saved: ``adapter_config.json`` and the adapter's weights, without those of its base."""

from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from spectra.errors import SourceError
from spectra.printable import named
from spectra.sources import checkpoint, hub
from spectra.sources.adapter import BASE, DELTA, FACTORS, MERGED, Adapter, LowRankUpdate, arranged, low_rank_update, sort_parts
from spectra.sources.file_checks import check_inside, read_json
from spectra.sources.names import model_order, unwrapped_names
from spectra.sources.tensors import Source, StoredTensor

CONFIG = "adapter_config.json"
_WEIGHTS = ("adapter_model.safetensors", "adapter_model.bin")
_MODEL = re.compile(r"(model|pytorch_model)([.-].*)?\.(safetensors|bin)(\.index\.json)?")

# Options of peft's LoraConfig (0.21) under which the weight is not W + s B A, and how they are called.
_VARIANTS = {
    "use_qalora": "QA-LoRA",
    "use_bdlora": "block-diagonal LoRA",
    "arrow_config": "Arrow routing",
    "kasa_config": "KaSA",
    "monteclora_config": "MonteCLoRA",
    "alora_invocation_tokens": "activated LoRA",
    "layer_replication": "layer replication",
}
# Initialisations that take the adapter's first product out of the base's weights, so that it is no change of the base.
_CHANGING_THE_BASE = ("pissa", "olora", "corda", "loftq", "lora_ga")

# Numbers of r and lora_alpha beyond it are no settings.
_LARGEST = 1e12
_MOST_TRIES = 1e8  # steps of an expression: a second

# Finds the base model that an adapter names, of a revision, or None where it is not there.
FindBase = Callable[[str, str | None], Source | None]


def adapter_folder(path: Path) -> Path | None:
    """Find the adapter that a path means.

    Args:
        path: An existing file or folder.

    Returns:
        The adapter's folder, or ``None``. A folder that holds an adapter and a whole model is an adapter, as to transformers.
    """
    folder = path if path.is_dir() else path.parent
    if not (folder / CONFIG).is_file() or (path.is_file() and path.name not in _WEIGHTS):
        return None
    has_adapter = any((folder / name).is_file() for name in _WEIGHTS)
    has_model = any(_MODEL.fullmatch(file.name) for file in folder.iterdir())
    return folder if has_adapter or not has_model else None


def open_adapter(folder: Path, *, name: str, location: str, mode: str, base: Source | None, find_base: FindBase) -> Source:
    """List the tensors of an adapter in one of its modes.

    Args:
        folder: Of the adapter.
        name: Short name of the adapter.
        location: What the user gave.
        mode: ``"delta"``, ``"merged"``, ``"factors"`` or ``"base"``; see :mod:`spectra.sources.adapter`.
        base: The base model, where the user gave it.
        find_base: Looks for the base that the adapter names.

    Returns:
        The source.

    Raises:
        SourceError: Damaged, of a kind that is not read, or without the base that the mode needs.
    """
    config = read_json(folder / CONFIG)
    _check_kind(config, location, mode)
    file = next((folder / weights for weights in _WEIGHTS if (folder / weights).is_file()), None)
    if file is None:
        raise SourceError(
            f"folder '{folder}' has an {CONFIG} and no weights beside it: looked for {' and '.join(_WEIGHTS)}. Download or "
            "copy them too."
        )
    check_inside(folder, file)
    adapter = dataclasses.replace(_read(file, config, location), base_name=str(config.get("base_model_name_or_path") or ""))
    if base is None and (mode in (MERGED, BASE) or (mode == DELTA and adapter.saved)):
        base = _named_base(config, find_base)
        if base is None and mode != DELTA:
            raise SourceError(_missing_base(config, location, mode))
    if mode == FACTORS:
        base = None
    files = (file, *base.files) if base else (file,)
    return Source(
        name,
        location,
        "safetensors" if file.suffix == ".safetensors" else "torch",
        arranged(adapter, base, mode),
        base.config if base else {},
        files if base is None or base.files else (),  # of a base in memory no file tells whether it changed
        base=base.location if base else "",
        notes=base.notes if base else (),
    )


def _check_kind(config: Mapping[str, Any], location: str, mode: str) -> None:
    kind = config.get("peft_type")
    if kind != "LORA":
        raise SourceError(
            f"adapter '{location}' is of kind {named(kind)}, which is not read; LoRA is, with rank-stabilised scale and DoRA. "
            "Merge it with the peft library (merge_and_unload) and analyse the merged model."
        )
    variants = [words for option, words in _VARIANTS.items() if config.get(option)]
    if variants and mode != FACTORS:
        raise SourceError(
            f"adapter '{location}' uses {', '.join(variants)}: its weights are not W + s B A. lora='factors' analyses A and B."
        )
    start = str(config.get("init_lora_weights", "")).lower()
    if start.startswith(_CHANGING_THE_BASE) and mode in (DELTA, MERGED):
        raise SourceError(
            f"adapter '{location}' was initialised by '{named(start)}', which changed the base's weights as well, and not "
            "converted: B A is no change of that base. Save it with path_initial_model_for_weight_conversion, or use "
            "lora='factors'."
        )


def _named_base(config: Mapping[str, Any], find_base: FindBase) -> Source | None:
    base = config.get("base_model_name_or_path")
    return find_base(str(base), config.get("revision")) if base else None


def _missing_base(config: Mapping[str, Any], location: str, mode: str) -> str:
    base = config.get("base_model_name_or_path")
    if not base:
        return (
            f"adapter '{location}' names no base model, and lora='{mode}' needs it: give the base's folder or id as base "
            "(--base)."
        )
    download = f", or download it first: hf download {base}" if hub.is_hub_id(str(base)) else "."
    return (
        f"adapter '{location}' was trained on '{named(base)}', which is no path of another model and not in the hub cache, and "
        f"lora='{mode}' needs it. Give its folder or id as base (--base){download}"
    )


def _read(file: Path, config: Mapping[str, Any], location: str) -> Adapter:
    tensors, nested = checkpoint.read_file(file)
    names = unwrapped_names([tensor.name for tensor in tensors], nested=nested)
    renamed = [dataclasses.replace(tensor, name=name, tied_to=None) for tensor, name in zip(tensors, names, strict=True)]
    parts, saved = sort_parts(renamed)
    unknown = next((tensor.name for tensor in saved if ".lora_" in tensor.name), None)
    if unknown:
        raise SourceError(f"'{file}' holds '{named(unknown)}', which is no part of an adapter that is read.")
    updates: dict[str, tuple[LowRankUpdate, ...]] = {}
    refused: dict[str, str] = {}
    of_refused: list[StoredTensor] = []
    for layer in sorted(parts, key=model_order):
        if len(parts[layer]) > 1:
            raise SourceError(
                f"'{file}' holds several adapters: {named(', '.join(parts[layer]))}. Save each into its own folder, as peft "
                "does."
            )
        (of_layer,) = parts[layer].values()
        reason = _reason_to_refuse(layer, of_layer, config)
        if reason:
            refused[layer] = reason
            of_refused += of_layer.values()
        else:
            updates[f"{layer}.weight"] = (_update(layer, of_layer, config),)
    tokens = [tensor for tensor in saved if "trainable_tokens" in tensor.name]
    for tensor in tokens:
        refused[re.split(r"\.(token_adapter|trainable_tokens)", tensor.name)[0]] = (
            "single trained tokens, which are not read yet"
        )
    whole = {tensor.name: tensor for tensor in saved if tensor not in tokens}
    return Adapter(location, updates, whole, refused, (*of_refused, *tokens))


def _reason_to_refuse(layer: str, parts: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> str | None:
    for parameter in _of_type(config, "target_parameters", list):
        module = str(parameter).rpartition(".")[0]
        if layer == module or layer.endswith("." + module):
            return f"an adapter of '{parameter}', a stack of matrices, which is not read yet"
    first, second = parts.get("A"), parts.get("B")
    if first and second and len(first.shape) == len(second.shape) > 2 and first.shape[0] > second.shape[1]:
        return "an adapter of a grouped convolution, which has no merged weight"
    return None


def _update(layer: str, parts: Mapping[str, StoredTensor], config: Mapping[str, Any]) -> LowRankUpdate:
    rank = _setting(config, "r", "rank_pattern", layer)
    scale = _setting(config, "lora_alpha", "alpha_pattern", layer) / (math.sqrt(rank) if config.get("use_rslora") else rank)
    update = low_rank_update(layer, parts, scale=scale, fan_in_fan_out=bool(config.get("fan_in_fan_out")))
    if update.first.shape[0] != rank:
        raise SourceError(
            f"'{layer}' has factors of rank {update.first.shape[0]} where {CONFIG} says {rank:g}: the scale is unknown. Copy "
            "the configuration that belongs to these weights."
        )
    return update


def _of_type(config: Mapping[str, Any], key: str, kind: type) -> Any:
    value = config.get(key) or kind()
    if not isinstance(value, kind):
        raise SourceError(f"{CONFIG}: {key} is {named(repr(value))}, expected a {kind.__name__}. Copy the whole configuration.")
    return value


def _setting(config: Mapping[str, Any], key: str, patterns: str, layer: str) -> float:
    """Look a number up as peft's ``get_pattern_key`` does: the first pattern that matches the end of the layer's path."""
    value: Any = config.get(key)
    for pattern, other in _of_type(config, patterns, dict).items():
        try:
            matches = _matches_end(pattern, layer)
        except re.error as error:
            what = f"{patterns} has '{named(pattern)}', which is no regular expression"
            raise SourceError(f"{CONFIG}: {what} ({error}). Copy the whole configuration.") from error
        if matches:
            value = other
            break
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    if not is_number or not abs(value) <= _LARGEST or (key == "r" and value <= 0):
        raise SourceError(
            f"{CONFIG}: {key} of '{named(layer)}' is {named(repr(value))}, expected a number. Copy the whole configuration."
        )
    return float(value)


def _matches_end(pattern: str, layer: str) -> bool:
    # Whole components at the end of the path, as (.*\.)?(pattern)$ matches them. An expression from a file may take time
    # without end: of repeated groups, (a+)+, exponential in the length of the path.
    plain = re.sub(r"\\.|\[[^]]*\]", "", pattern).replace("(?", "(")  # without what is escaped, and sets
    starts = [0, *(match.end() for match in re.finditer(r"\.", layer))]
    repeated, bars, groups = (len(re.findall(kind, plain)) for kind in (r"[*+?{]", r"\|", r"\("))
    tries = len(starts) * len(layer) ** min(repeated, 9) * (1 + bars / max(groups, 1)) ** min(groups, 30)
    if re.search(r"\)[*+{]", plain) or tries > _MOST_TRIES:
        raise re.error("repeated groups or too many repetitions are not read")
    compiled = re.compile(pattern)
    return any(compiled.fullmatch(layer, start) for start in starts)
