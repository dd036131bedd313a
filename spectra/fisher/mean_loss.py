"""The loss of a model over fixed batches: one number, the same for any batch size."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from spectra.errors import InputError
from spectra.fisher.objectives import objectives
from spectra.fisher.outputs import outputs_of


@torch.no_grad()
def mean_loss(
    model: nn.Module, batches: Sequence[Any], task: str, loss: Callable[[nn.Module, Any], Tensor] | None = None
) -> tuple[float, int]:
    """Average the negative log-likelihood over all targets of all batches, each with the same weight.

    Args:
        model: Run as it is: its mode and device are the caller's.
        batches: As for :func:`spectra.fisher.outputs.outputs_of`.
        task: What the model predicts.
        loss: Takes the place of the task; a sample is a target then.

    Returns:
        The mean in nats, and the number of targets.

    Raises:
        InputError: No batches, or no targets in them; and what ``outputs_of`` refuses, ``"sample_weight"`` included.
    """
    total, num_targets = 0.0, 0
    for batch in batches:
        outputs = outputs_of(model, batch, task, loss)
        terms = objectives(outputs, kind="empirical", reduction="sequence_sum", num_draws=1, generator=torch.Generator())
        total += sum(float(term) for term in terms)
        num_targets += int(outputs.num_targets.sum())
    if num_targets == 0:
        raise InputError(f"there is no target in {len(batches)} batches, so that there is no loss. Pass batches with targets.")
    return total / num_targets, num_targets
