"""A pretrained transformers model with its tokenizer, for a task: what ``spectra fisher`` and ``spectra surface`` measure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, SourceError, did_you_mean
from spectra.esd.accelerator import CPU, check_device
from spectra.results.words import counted
from spectra.sources import demo, hub
from spectra.sources.adapter_folder import CONFIG as ADAPTER_CONFIG
from spectra.sources.adapter_folder import adapter_folder
from spectra.sources.file_checks import read_json
from spectra.training.libraries import imported, in_one_line, quiet
from spectra.training.text_batches import padding_id

if TYPE_CHECKING:
    from torch import nn

DTYPES = ("auto", "float32", "bfloat16", "float16", "float64")

# Task: transformers' class that makes a model for it, and the table of the models that are one. In the order in which an
# architecture is looked up: BART's sequence-to-sequence model stands among the masked language models too.
_CLASSES = {
    "causal-lm": ("AutoModelForCausalLM", "MODEL_FOR_CAUSAL_LM_MAPPING_NAMES"),
    "seq2seq": ("AutoModelForSeq2SeqLM", "MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES"),
    "masked-lm": ("AutoModelForMaskedLM", "MODEL_FOR_MASKED_LM_MAPPING_NAMES"),
    "sequence-classification": ("AutoModelForSequenceClassification", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES"),
    "token-classification": ("AutoModelForTokenClassification", "MODEL_FOR_TOKEN_CLASSIFICATION_MAPPING_NAMES"),
    "regression": ("AutoModelForSequenceClassification", "MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES"),
}
TEXT_TASKS = tuple(_CLASSES)

# peft's word for the task an adapter was trained for.
_TASK_TYPES = {
    "SEQ_2_SEQ_LM": "seq2seq",
    "CAUSAL_LM": "causal-lm",
    "SEQ_CLS": "sequence-classification",
    "TOKEN_CLS": "token-classification",
}


# Of the model's vocabulary that its tokenizer knows: our choice; vocabularies are padded, but not doubled.
_SMALLEST_SHARE = 0.5

_REMEDY = "Give a folder that save_pretrained wrote, model and tokenizer, or a hub id."

# Where peft keeps the module of the base that an adapter brings its own copy of.
_REPLACED = ".original_module."


@dataclass(frozen=True)
class Checkpoint:
    """Where a model is and what it is for; nothing but its configuration is loaded.

    Attributes:
        name: What results call it: the last part of its path, or the hub id.
        location: The folder or hub id that transformers loads; of an adapter its base's.
        config: Of the model.
        task: One of :data:`TEXT_TASKS`.
        has_head: Whether the checkpoint is of a model for this task.
        adapter: The adapter's folder, or ``None``.
        trust_remote_code: Whether code that comes with the model may run.
    """

    name: str
    location: str
    config: Any
    task: str
    has_head: bool
    adapter: Path | None
    trust_remote_code: bool


@dataclass(frozen=True)
class Pretrained:
    """A model that is loaded.

    Attributes:
        model: In evaluation mode, on its device. Of an adapter only what it trains has ``requires_grad``.
        tokenizer: Of the model.
        notes: What to know before trusting what is measured on it.
    """

    model: nn.Module
    tokenizer: Any
    notes: tuple[str, ...]


def find_checkpoint(model: str, task: str | None = None, *, trust_remote_code: bool = False) -> Checkpoint:
    """Find a model and its task without reading its weights; those of a hub id are downloaded if they are not in the cache.

    Args:
        model: A folder that transformers or peft (LoRA) saved, a hub id, or ``"demo"``.
        task: One of :data:`TEXT_TASKS`. Default: what the checkpoint was trained for, as its configuration says.
        trust_remote_code: Run code that comes with the model.

    Returns:
        The checkpoint.

    Raises:
        InputError: An unknown task, one that the model has no head for, or none where the configuration tells none.
        SourceError: No model there, or one that transformers does not know.
        MissingPackageError: transformers is not installed.
    """
    _check_word("task", task, (None, *TEXT_TASKS))
    transformers = imported("transformers")
    name, location, folder = _located(model)
    adapter, task_of_adapter = adapter_folder(folder), None
    if adapter is not None:
        location, task_of_adapter = _base_of(adapter, model)
    with in_one_line(f"'{model}': transformers cannot read its configuration", _REMEDY), quiet():
        config = transformers.AutoConfig.from_pretrained(location, trust_remote_code=trust_remote_code)
    of_config = _task_of(config)
    task = task or task_of_adapter or of_config
    if task is None:
        architecture = next(iter(config.architectures or []), "no known architecture")
        known = ", ".join(TEXT_TASKS)
        raise InputError(f"'{model}' is {architecture}, which has no head for a task on text. Give one (--task): {known}.")
    if of_config != task and config.model_type not in _models_for(task) and not trust_remote_code:
        raise InputError(
            f"'{model}': transformers has no {config.model_type} model for task '{task}'. Choose another (--task)."
        )
    if task == "causal-lm" and _is_encoder(config):
        raise InputError(
            f"'{model}' is an encoder: it sees the token that task 'causal-lm' has to predict. Choose another (--task)."
        )
    return Checkpoint(name, location, config, task, of_config == task, adapter, trust_remote_code)


def load_model(
    checkpoint: Checkpoint, *, classes: Sequence[str] = (), dtype: str = "auto", device: str = "auto", seed: int = 0
) -> Pretrained:
    """Load a model and its tokenizer.

    Args:
        checkpoint: Of :func:`find_checkpoint`.
        classes: Names of the classes of a head that has to be made, because the checkpoint has none for the task.
        dtype: One of :data:`DTYPES`; ``"auto"``: as stored.
        device: A device of torch's, or ``"auto"``: a GPU where there is one.
        seed: Of parameters that the checkpoint lacks.

    Returns:
        The model. Parameters that the checkpoint lacks are named in the notes.

    Raises:
        InputError: An unknown dtype, or a device that is not there.
        SourceError: The weights or the tokenizer are missing, damaged or of another model.
        MissingPackageError: transformers, or peft for an adapter, is not installed.
    """
    _check_word("dtype", dtype, DTYPES)
    transformers = imported("transformers")
    import torch

    device = ("cuda" if torch.cuda.is_available() else CPU) if device == "auto" else check_device(device)
    tokenizer = _tokenizer(checkpoint)
    head = {} if checkpoint.has_head else _head(checkpoint.task, classes)
    with torch.random.fork_rng(devices=[]), quiet(), in_one_line(f"cannot load '{checkpoint.name}'", _REMEDY):
        torch.manual_seed(seed)
        model, found = getattr(transformers, _CLASSES[checkpoint.task][0]).from_pretrained(
            checkpoint.location,
            dtype=dtype if dtype == "auto" else getattr(torch, dtype),
            output_loading_info=True,
            ignore_mismatched_sizes=True,  # refused below, in words
            trust_remote_code=checkpoint.trust_remote_code,
            **head,
        )
        fresh = _fresh(checkpoint, model, found)
        if model.config.pad_token_id is None:  # classifiers look for the last token before it
            model.config.pad_token_id = padding_id(tokenizer)
        if checkpoint.adapter is not None:
            model = imported("peft").PeftModel.from_pretrained(model, checkpoint.adapter, is_trainable=True)
    names = [name for name, parameter in model.named_parameters() if id(parameter) in fresh and _REPLACED not in name]
    return Pretrained(model.eval().to(device), tokenizer, (_random_head(names, seed),) if names else ())


def _located(model: str) -> tuple[str, str, Path]:
    """Return what results call a model, what transformers loads, and the folder where its files are."""
    if model == demo.NAME:
        folder = demo.verified_folder()
        return demo.MODEL_NAME, str(folder), folder
    path = Path(model).expanduser()
    if path.is_dir():
        return path.resolve().name, str(path), path
    if path.exists():
        raise SourceError(f"'{model}' is a file. Give the folder that holds it with its configuration and tokenizer.")
    if hub.is_hub_id(model):
        return model, model, hub.local_folder(model)
    raise SourceError(f"no folder '{model}'. Check the path, or give a hub id such as 'org/name'.")


def _base_of(adapter: Path, name: str) -> tuple[str, str | None]:
    """Return where an adapter's base is, and the task the adapter was trained for."""
    config = read_json(adapter / ADAPTER_CONFIG)
    base = str(config.get("base_model_name_or_path") or "")
    path = Path(base).expanduser()
    folder = (
        path if base and path.is_dir() else hub.cached_folder(base, config.get("revision")) if hub.is_hub_id(base) else None
    )
    if folder is None:
        download = (
            f" Download it first: hf download {base}" if hub.is_hub_id(base) else " Correct the path in its configuration."
        )
        raise SourceError(
            f"adapter '{name}' needs its base model '{base}', which is no folder here and not in the hub cache.{download}"
        )
    if adapter_folder(folder) is not None:
        raise SourceError(f"adapter '{name}' stands on '{base}', which is an adapter itself. Merge that one with peft first.")
    return str(folder), _TASK_TYPES.get(str(config.get("task_type")))


def _task_of(config: Any) -> str | None:
    architecture = next(iter(config.architectures or []), None)
    task = next((task for task in TEXT_TASKS if architecture in _models_for(task).values()), None)
    if task != "sequence-classification":
        return task
    if config.problem_type == "multi_label_classification":
        raise InputError("the model gives several labels to a text (multi_label_classification), which is not read from files.")
    return "regression" if config.problem_type == "regression" or config.num_labels == 1 else task


def _is_encoder(config: Any) -> bool:
    """Whether a model that may be built as an encoder or as a decoder, such as BERT, is the former."""
    has_both = all(config.model_type in _models_for(task) for task in ("causal-lm", "masked-lm"))
    return has_both and not config.is_encoder_decoder and not getattr(config, "is_decoder", True)  # XLM has no such word


def _models_for(task: str) -> dict[str, str]:
    """Return transformers' classes for a task by the type of model."""
    from transformers.models.auto import modeling_auto

    return dict(getattr(modeling_auto, _CLASSES[task][1]))


def _tokenizer(checkpoint: Checkpoint) -> Any:
    adapter = checkpoint.adapter
    own = adapter is not None and any((adapter / name).is_file() for name in ("tokenizer.json", "tokenizer_config.json"))
    location = str(adapter) if own else checkpoint.location
    with quiet(), in_one_line(f"'{checkpoint.name}' has no tokenizer that transformers can load", _REMEDY):
        tokenizer = imported("transformers").AutoTokenizer.from_pretrained(
            location, trust_remote_code=checkpoint.trust_remote_code
        )
    num_words = getattr(checkpoint.config.get_text_config(), "vocab_size", None)
    if num_words and len(tokenizer) < _SMALLEST_SHARE * num_words:  # transformers makes an empty one where there are no files
        raise SourceError(
            f"'{checkpoint.name}' has a tokenizer of {len(tokenizer):,} tokens for a model of {num_words:,}: its files are "
            f"missing, or it is another model's. {_REMEDY}"
        )
    return tokenizer


def _head(task: str, classes: Sequence[str]) -> dict[str, Any]:
    """Say what transformers has to know about a head that the checkpoint lacks."""
    if task == "regression":
        return {"num_labels": 1, "problem_type": "regression"}
    if not classes:
        return {}
    return {"id2label": dict(enumerate(classes)), "label2id": {name: index for index, name in enumerate(classes)}}


def _fresh(checkpoint: Checkpoint, model: nn.Module, found: dict[str, Any]) -> set[int]:
    """Return the identities of the parameters that the checkpoint lacks; they outlive the renaming by an adapter."""
    if found["mismatched_keys"]:
        name, stored, expected = sorted(found["mismatched_keys"])[0]
        raise SourceError(
            f"'{checkpoint.name}': '{name}' has shape {tuple(stored)}, and the model for task '{checkpoint.task}' needs "
            f"{tuple(expected)}. Choose the task of the checkpoint, or correct its config.json."
        )
    parameters = dict(model.named_parameters())
    missing = parameters.keys() & found["missing_keys"]
    if len(missing) == len(parameters):
        raise SourceError(
            f"'{checkpoint.name}' holds none of the weights its config.json describes. Give the whole checkpoint."
        )
    return {id(parameters[name]) for name in missing}


def _random_head(names: Sequence[str], seed: int) -> str:
    return (
        f"{counted(len(names), 'parameter')} of {counted(len({name.rpartition('.')[0] for name in names}), 'layer')} "
        f"({names[0]}, ...) are not in the checkpoint and were drawn at random (seed {seed}). The gradients of an untrained "
        "head say little about a trained model: fine-tune it first, or choose the task of the checkpoint."
    )


def _check_word(what: str, word: str | None, known: Sequence[str | None]) -> None:
    words = [known_word for known_word in known if known_word is not None]
    if word not in known:
        raise InputError(f"unknown {what} '{word}'.{did_you_mean(str(word), words)} Known: {', '.join(words)}.")
