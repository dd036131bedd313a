"""A model as it lies in a folder: its configuration and the names and shapes of its weights, of which none is read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from spectra.errors import SourceError
from spectra.sources import demo, hub
from spectra.sources.adapter_folder import CONFIG as ADAPTER_CONFIG
from spectra.sources.adapter_folder import adapter_folder
from spectra.sources.checkpoint import open_path
from spectra.sources.file_checks import read_json
from spectra.training.recipe.checking.findings import Findings
from spectra.training.recipe.parts import Recipe

REMEDY = "Give a folder that save_pretrained wrote, model and tokenizer, or a hub id."

# What a class is for, by the end of its name, as the tables of transformers say; a test compares them.
_HEADS = {
    "FlaubertWithLMHeadModel": "masked-lm",
    "ForSequenceClassification": "sequence-classification",
    "ForTokenClassification": "token-classification",
    "ForMaskedLM": "masked-lm",
    "ForCausalLM": "causal-lm",
    "LMHeadModel": "causal-lm",
    "ModelWithLMHead": "causal-lm",
    "BertGenerationDecoder": "causal-lm",
    "EncoderDecoderModel": "seq2seq",
    "MarianMTModel": "seq2seq",
    "ForTextToText": "seq2seq",
}
# Modules of heads, which a checkpoint need not have yet: peft's names for them, and those beside them.
HEADS = ("score", "classifier", "pre_classifier", "dense", "out_proj", "lm_head")
_GENERATION = "ForConditionalGeneration"
_OF_TOKENIZERS = ("tokenizer*", "vocab*", "*.model", "merges.txt")
_POSITIONS = "max_position_embeddings"
# Whose configuration calls positions so; that of T5 has the word, too, and T5 takes any length.
_WITH_N_POSITIONS = ("gpt2", "gpt_bigcode", "gptj", "codegen", "ctrl", "openai-gpt")


@dataclass(frozen=True)
class StoredModel:
    """A model on disk.

    Attributes:
        name: As the recipe has it.
        folder: Of the model; of an adapter that of its base.
        adapter: The adapter's folder, or ``None``.
        config: What ``config.json`` says.
    """

    name: str
    folder: Path
    adapter: Path | None
    config: Mapping[str, Any]

    @property
    def architecture(self) -> str | None:
        """Name of the class that was saved."""
        return next(iter(self.config.get("architectures") or []), None)

    @property
    def task(self) -> str | None:
        """What it was trained for, as far as the name of its class says; ``None`` for a bare encoder, and for an adapter."""
        name = self.architecture or ""
        if self.adapter is not None:
            return None
        if name.endswith(_GENERATION):
            return "seq2seq" if self.config.get("is_encoder_decoder") else "causal-lm"
        task = next((task for ending, task in _HEADS.items() if name.endswith(ending)), None)
        is_number = self.config.get("problem_type") == "regression" or self.num_labels == 1
        return "regression" if task == "sequence-classification" and is_number else task

    @property
    def num_labels(self) -> int:
        """Labels of its head; a configuration that does not say has two."""
        return len(self.config.get("id2label") or (0, 1))

    @property
    def label2id(self) -> dict[str, int]:
        """Names of its labels."""
        names = self.config.get("id2label") or {number: f"LABEL_{number}" for number in range(2)}
        return {str(name): int(number) for number, name in names.items()}

    @property
    def positions(self) -> int | None:
        """Most tokens that model and tokenizer take; ``None`` where there is no limit, or it is not said."""
        nested = self.config.get("text_config")
        config = nested if isinstance(nested, Mapping) else self.config
        own = config.get(_POSITIONS)
        if own is None and config.get("model_type") in _WITH_N_POSITIONS:
            own = config.get("n_positions")
        if not isinstance(own, int) or own < 1:
            return None
        most = read_json(self.folder / "tokenizer_config.json").get("model_max_length")
        return min(own, int(most)) if isinstance(most, int | float) else own

    @cached_property
    def shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the matrices, by the name of the module each is the weight of; read from the headers of files.

        Raises:
            SourceError: The weights cannot be read.
        """
        tensors = open_path(self.folder, name=self.name, location=str(self.folder)).tensors
        return {tensor.name.removesuffix(".weight"): tensor.shape for tensor in tensors if len(tensor.shape) == 2}

    @property
    def has_safetensors(self) -> bool:
        """Whether weights can be listed without torch."""
        return any(self.folder.glob("*.safetensors"))


def tail(name: str) -> str:
    """Return the end of a path, from its first numbered part on: what stands before changes with the head of a model.

    Args:
        name: Of a module.

    Returns:
        ``layer.0.output`` of ``bert.encoder.layer.0.output``; of a path without a number its last part.

    Example:
        >>> tail("bert.encoder.layer.0.output"), tail("bert.pooler.dense")
        ('layer.0.output', 'dense')
    """
    parts = name.split(".")
    first = next((place for place, part in enumerate(parts) if part.isdigit() and place), None)
    return parts[-1] if first is None else ".".join(parts[first - 1 :])


def stored_model(recipe: Recipe, found: Findings) -> StoredModel | None:
    """Look at a recipe's model.

    Args:
        recipe: The recipe.
        found: What is wrong is added.

    Returns:
        The model; ``None`` for a hub id, and for one that cannot be read.
    """
    with found.of("model", "name"):
        folder = _folder(recipe.model.name)
        return None if folder is None else _opened(recipe.model.name, folder)
    return None


def _folder(name: str) -> Path | None:
    if name == demo.NAME:
        return demo.verified_folder()
    path = Path(name).expanduser()
    if path.is_dir():
        return path
    if path.exists():
        raise SourceError(f"'{name}' is a file. Give the folder that holds it with its configuration and tokenizer.")
    if hub.is_hub_id(name):
        return None
    raise SourceError(f"no folder '{name}'. Check the path, or give a hub id such as 'org/name'.")


def _opened(name: str, folder: Path) -> StoredModel | None:
    adapter = adapter_folder(folder)
    if adapter is not None:
        base = str(read_json(adapter / ADAPTER_CONFIG).get("base_model_name_or_path") or "")
        folder = Path(base).expanduser()
        if not base or not folder.is_dir():
            if hub.is_hub_id(base):
                return None
            raise SourceError(
                f"adapter '{name}' needs its base model '{base}', which is no folder here and not in the hub cache. Correct "
                "the path in its configuration."
            )
    if not (folder / "config.json").is_file():
        raise SourceError(f"'{folder}' has no config.json. {REMEDY}")
    config = read_json(folder / "config.json")
    if not any(any(place.glob(pattern)) for place in {folder, adapter or folder} for pattern in _OF_TOKENIZERS):
        raise SourceError(f"'{folder}' has no tokenizer. {REMEDY}")
    model = StoredModel(name, folder, adapter, config)
    if model.has_safetensors:
        model.shapes  # noqa: B018 - reads headers: shards that are missing are named now
    return model
