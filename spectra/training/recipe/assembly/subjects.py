"""The models and data that the Fisher of a run is measured on; :mod:`.preparing` says which for what."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from torch import nn

from spectra.training.pretrained import Checkpoint
from spectra.training.recipe.assembly.datasets import Collate, Item, Tokenisation, batches_of
from spectra.training.recipe.assembly.loading import run_model
from spectra.training.recipe.parts import Recipe
from spectra.training.text_data import Examples


@dataclass(frozen=True)
class Subject:
    """A model and data that a Fisher is measured on.

    Attributes:
        recipe: Of the run.
        model: On its device, without an adapter of the run.
        name: What results call it.
        task: What it predicts.
        data: Items by place; of several tasks, these by task.
        collate: Makes a batch of items.
        notes: What to know before trusting what is measured.
    """

    recipe: Recipe
    model: nn.Module
    name: str
    task: str
    data: Any
    collate: Collate
    notes: tuple[str, ...]

    def batches(self, samples: int | None) -> Iterable[Item]:
        """Make batches of so many examples at most."""
        size, seed = self.recipe.training.per_device_train_batch_size, self.recipe.data.data_seed
        return batches_of(self.data, self.collate, batch_size=size, samples=samples, seed=seed)


def pretraining_subject(recipe: Recipe, checkpoint: Checkpoint, texts: Examples, device: Any) -> Subject:
    """Load a model with its pretraining head, and have it predict the training texts themselves.

    Args:
        recipe: Of the run.
        checkpoint: As a model for its pretraining task.
        texts: To train on; labels are not looked at.
        device: Where it is measured.

    Returns:
        The model and the texts.
    """
    loaded = run_model(recipe, checkpoint, (), device)
    pairs = texts.pairs if checkpoint.task == "masked-lm" else ()
    how = Tokenisation(loaded.tokenizer, loaded.config, checkpoint.task, recipe.data.max_length, recipe.data.data_seed)
    data = how.texts(Examples(texts.texts, texts.rows, pairs=pairs))
    return Subject(recipe, loaded.model, checkpoint.name, checkpoint.task, data, how.collator(), loaded.measured)
