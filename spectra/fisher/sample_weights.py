"""Weights of single samples: factors of their squared gradients, under a key of the batch that the model never sees."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from spectra.errors import InputError
from spectra.fisher.batches import SAMPLE_WEIGHT, num_samples_of


def without_weights(batch: Any) -> tuple[Any, Tensor | None]:
    """Take the weights out of a batch.

    Args:
        batch: A mapping that may hold ``"sample_weight"``, or a pair ``(inputs, targets)``.

    Returns:
        What the model takes, and the weights, shape ``(B,)``; ``None`` if there are none.

    Raises:
        InputError: Not one finite weight from 0 on for each sample, naming the first that is wrong.
    """
    if not isinstance(batch, Mapping) or SAMPLE_WEIGHT not in batch:
        return batch, None
    rest = {name: value for name, value in batch.items() if name != SAMPLE_WEIGHT}
    return rest, _checked(batch[SAMPLE_WEIGHT], num_samples_of(batch))


def _checked(weights: Any, num_samples: int) -> Tensor:
    if not isinstance(weights, Tensor) or weights.shape != (num_samples,):
        got = f"shape {tuple(weights.shape)}" if isinstance(weights, Tensor) else f"type {type(weights).__name__}"
        raise InputError(
            f"'{SAMPLE_WEIGHT}' has {got} in a batch of {num_samples} samples: pass a tensor of shape ({num_samples},), one "
            "weight for each sample."
        )
    is_right = (weights >= 0) & weights.float().isfinite()  # float32 is what most losses are multiplied in
    if not is_right.all():
        sample = int((~is_right).nonzero()[0])
        raise InputError(
            f"sample {sample} of the batch has the weight {float(weights[sample]):g}: pass finite weights from 0 on as "
            f"'{SAMPLE_WEIGHT}'; 0 lets a sample add nothing."
        )
    return weights.detach()


def check_alike(*, is_weighted: bool, were_weighted: bool) -> None:
    """Refuse a batch with weights after batches without, and the other way round.

    Args:
        is_weighted: Whether this batch has weights.
        were_weighted: Whether those before it have.

    Raises:
        InputError: They differ.
    """
    if is_weighted != were_weighted:
        here, before = ("a", "none") if is_weighted else ("no", "one")
        raise InputError(
            f"the batch has {here} '{SAMPLE_WEIGHT}', those before it have {before}: give it to all batches, 1 where a sample "
            "has no weight of its own, or to none."
        )


def refuse_weights(batch: Any) -> None:
    """Refuse weights where they would reach the model, or be forgotten.

    Args:
        batch: As the model is about to take it.

    Raises:
        InputError: There are some, in the mapping or in the inputs of a pair.
    """
    places = (batch, *batch) if isinstance(batch, tuple | list) else (batch,)
    if any(isinstance(place, Mapping) and SAMPLE_WEIGHT in place for place in places):
        raise InputError(
            f"the batch has a '{SAMPLE_WEIGHT}' that cannot be used here. Leave it out; spectra.fisher and "
            "spectra.fisher_spectrum take it where the batch is a mapping and no pair."
        )


def note_of(num_samples: int, data: str) -> str:
    """Say that weights were used, so that it can be told of which samples after Fishers are merged.

    Args:
        num_samples: Samples averaged over.
        data: Their fingerprint.

    Returns:
        A sentence.
    """
    return f"squared gradients are multiplied by '{SAMPLE_WEIGHT}' ({num_samples:,} samples of data {data[:8]})"
