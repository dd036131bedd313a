"""Going through the training data with the place of every sample: in batches of training, and once through all of them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import ProgressCallback

from spectra.errors import InputError
from spectra.training.dcs.indexed import IndexCollator, take_index
from spectra.training.dcs.objective import inputs_of

# Places of samples, shape (B,); what the model is called with; labels.
Taken = tuple[Tensor, dict[str, Any], Tensor]


def taken_apart(trainer: Any, batch: dict[str, Any]) -> Taken:
    """Take a batch apart.

    Args:
        trainer: A ``DCSTrainer``.
        batch: With ``"sample_index"`` and labels; it is not changed.

    Returns:
        Places of the samples, what the model is called with, and labels.

    Raises:
        InputError: There is no index, or there are no labels.
    """
    rest = dict(batch)
    index = take_index(rest)
    name = next((name for name in (*trainer.label_names, "labels") if name in rest), None)
    if name is None:
        raise InputError("the training data have no labels: each item needs 'labels' (or 'label').")
    labels = rest.pop(name)
    return index, inputs_of(trainer.model, rest, labels), labels


def every_sample(trainer: Any) -> Iterator[Taken]:
    """Yield all training samples in order, each process its part, with the trainer's bar of progress.

    Args:
        trainer: A ``DCSTrainer``.

    Yields:
        Batches, taken apart.
    """
    with indexed(trainer), _nothing_left_out(trainer):
        loader = trainer.get_eval_dataloader(trainer.train_dataset)
    # The trainer's own bar; other callbacks would take this for a prediction, and report it.
    bars: list[Any] = [one for one in trainer.callback_handler.callbacks if isinstance(one, ProgressCallback)]
    for batch in loader:
        yield taken_apart(trainer, trainer._prepare_inputs(batch))
        for bar in bars:
            bar.on_prediction_step(trainer.args, trainer.state, trainer.control, eval_dataloader=loader)
    for bar in bars:
        bar.on_predict(trainer.args, trainer.state, trainer.control)


class WeightedBatches:
    """All training samples in order, each with its weight, as ``spectra.fisher`` takes them.

    Args:
        trainer: A ``DCSTrainer``.
        weights: Shape ``(N,)``; ``None``: samples have none.
    """

    def __init__(self, trainer: Any, weights: NDArray[np.float64] | None) -> None:
        self.trainer = trainer
        self.weights = weights

    def __iter__(self) -> Iterator[dict[str, Any]]:
        for index, inputs, labels in every_sample(self.trainer):
            batch = {**inputs, "labels": labels}
            if self.weights is not None:
                batch["sample_weight"] = torch.from_numpy(self.weights[index.cpu().numpy()])
            yield batch


@contextmanager
def indexed(trainer: Any) -> Iterator[None]:
    """Let loaders that are made meanwhile tell the place of every sample.

    Args:
        trainer: A ``DCSTrainer``.
    """
    plain = trainer.data_collator
    trainer.data_collator = IndexCollator(plain)
    try:
        yield
    finally:
        trainer.data_collator = plain


@contextmanager
def _nothing_left_out(trainer: Any) -> Iterator[None]:
    """Load all samples, by as many batches in each process, as all work in step; keep no workers: others are kept."""
    args, loading = trainer.args, trainer.accelerator
    before = args.dataloader_drop_last, args.dataloader_persistent_workers, loading.even_batches
    args.dataloader_drop_last, args.dataloader_persistent_workers, loading.even_batches = False, False, True
    try:
        yield
    finally:
        args.dataloader_drop_last, args.dataloader_persistent_workers, loading.even_batches = before
