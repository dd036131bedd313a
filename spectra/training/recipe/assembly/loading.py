"""The model of a run: its checkpoint, its task, and a head for the classes of the data."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch

from spectra.errors import InputError
from spectra.sources import demo, hub
from spectra.training.libraries import imported, in_one_line
from spectra.training.pretrained import Checkpoint, Pretrained, find_checkpoint, load_model
from spectra.training.recipe.parts import ModelPart, Recipe

CLASSIFICATION = "sequence-classification"

_LABELLED = (CLASSIFICATION, "token-classification", "regression")
_WITH_CLASSES = (CLASSIFICATION, "token-classification")
# What is predicted in these are the texts themselves.
_PRETRAINING = ("masked-lm", "causal-lm")


@dataclass(frozen=True)
class RunModel:
    """A model that is loaded.

    Attributes:
        model: On its device, in evaluation mode.
        tokenizer: Of the model.
        notes: What to know of its training.
        measured: What to know before trusting what is measured on it now.
    """

    model: Any
    tokenizer: Any
    notes: tuple[str, ...]
    measured: tuple[str, ...]

    @property
    def config(self) -> Any:
        """Of the model."""
        return self.model.config


def run_checkpoint(recipe: Recipe) -> tuple[Checkpoint, tuple[str, ...]]:
    """Find the model and its task. Where data have labels and the checkpoint is for none, the task is to classify texts.

    Args:
        recipe: What is asked for.

    Returns:
        The checkpoint, and what to know of the choice.

    Raises:
        InputError: As ``find_checkpoint``.
        SourceError: As there.
    """
    part = recipe.model
    location = _location(part)
    has_labels = recipe.data.label_column is not None
    try:
        found = find_checkpoint(location, part.task, trust_remote_code=part.trust_remote_code)
    except InputError:
        if part.task is not None or not has_labels:
            raise
        found = None  # a bare encoder
    notes: tuple[str, ...] = ()
    if part.task is None and has_labels and (found is None or found.task not in _LABELLED):
        found = find_checkpoint(location, CLASSIFICATION, trust_remote_code=part.trust_remote_code)
        notes = (f"The task is {CLASSIFICATION}: the data have labels, and '{found.name}' is for no task with labels.",)
    assert found is not None, "found at first or at second try"
    return (found if part.revision is None else dataclasses.replace(found, name=part.name)), notes


def pretraining_checkpoint(checkpoint: Checkpoint) -> Checkpoint | None:
    """Find the head that a model was pretrained with, where its task here needs a new one.

    Args:
        checkpoint: As a model for its task.

    Returns:
        The same as a model of masked or of next tokens; ``None`` where it has its head for the task, or none for these.
    """
    if checkpoint.has_head or checkpoint.adapter is not None:
        return None
    try:
        found = find_checkpoint(checkpoint.location, trust_remote_code=checkpoint.trust_remote_code)
    except InputError:  # a bare encoder
        return None
    return dataclasses.replace(found, name=checkpoint.name) if found.task in _PRETRAINING else None


def has_classes(task: str) -> bool:
    """Say whether labels of a task are classes."""
    return task in _WITH_CLASSES


def run_model(recipe: Recipe, checkpoint: Checkpoint, classes: Sequence[str], device: torch.device) -> RunModel:
    """Load the model; classes that it knows by number only get the names that the data give them.

    Args:
        recipe: What is asked for.
        checkpoint: Of the model.
        classes: Names of the classes of the data.
        device: Where it is trained.

    Returns:
        The model and its tokenizer.

    Raises:
        SourceError: As ``load_model``.
    """
    loaded = load_model(checkpoint, classes=classes, dtype=recipe.model.dtype, device="cpu", seed=recipe.seed)
    _name_classes(loaded.model.config, classes)
    notes = (*_notes(checkpoint, loaded, recipe.seed), *_of_precision(loaded))
    return RunModel(loaded.model.to(device), loaded.tokenizer, notes, loaded.notes)


def _name_classes(config: Any, classes: Sequence[str]) -> None:
    has_names = not all(str(name).startswith("LABEL_") for name in (config.id2label or {}).values())
    if classes and not has_names and len(classes) == config.num_labels and not all(name.isdigit() for name in classes):
        config.id2label = dict(enumerate(classes))
        config.label2id = {name: number for number, name in enumerate(classes)}


def _notes(checkpoint: Checkpoint, loaded: Pretrained, seed: int) -> tuple[str, ...]:
    if checkpoint.has_head or not loaded.notes:
        return loaded.notes
    return (f"'{checkpoint.name}' has no head for {checkpoint.task}: a new one was drawn at random (seed {seed}).",)


def _of_precision(loaded: Pretrained) -> tuple[str, ...]:
    dtypes = {parameter.dtype for parameter in loaded.model.parameters() if parameter.requires_grad}
    low = next((dtype for dtype in (torch.float16, torch.bfloat16) if dtype in dtypes), None)
    if low is None:
        return ()
    name = str(low).removeprefix("torch.")
    return (f"Weights are trained in {name}, which loses small steps. With model.dtype: float32 it does not.",)


def _location(part: ModelPart) -> str:
    """Return what to load; a certain revision of a hub id is taken to the cache first."""
    if part.revision is None or part.name == demo.NAME or not hub.is_hub_id(part.name):
        return part.name
    download: Any = imported("huggingface_hub").snapshot_download
    with in_one_line(f"cannot have revision '{part.revision}' of '{part.name}'", "Check model.revision, or go online."):
        return str(download(part.name, revision=part.revision))
