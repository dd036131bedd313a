"""Losses that are means over a batch, under a trainer that takes them for sums over a step."""

from __future__ import annotations

from typing import Any

from spectra.fisher.tasks import without_peft


def divide_by_batches(trainer: Any) -> None:
    """Have a trainer divide the loss by the batches of a step, and not multiply it by the processes.

    transformers leaves the division to every model whose ``forward`` takes further options, and language models divide by the
    tokens of the step. Classifiers, encoders and models with encoder and decoder take the mean of each batch whatever they are
    told: with n batches or processes in a step, losses and gradients come out n times as large (transformers 5.23). Nothing is
    changed for language models.

    Args:
        trainer: Of transformers; not training yet.
    """
    base: Any = without_peft(trainer.model)
    generates = getattr(base, "can_generate", None)
    if generates is None or not generates() or base.config.is_encoder_decoder:
        trainer.model_accepts_loss_kwargs = False
