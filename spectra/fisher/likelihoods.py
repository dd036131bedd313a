"""Likelihoods of a batch: what the outputs of a model mean, checked sample by sample.

A target of -100 is none: padding, a prompt, a token that is not masked. A sample without any target is allowed: it adds 0.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from spectra.errors import InputError

NO_TARGET = -100  # as torch's cross-entropy and transformers' collators


@dataclass(frozen=True)
class Categorical:
    """A distribution over K classes at each of T positions of B samples, independent given the inputs.

    Attributes:
        logits: Shape ``(B, T, K)``, in the dtype the model gave: a float32 copy of them may be the largest tensor of a run.
        labels: Shape ``(B, T)``, int64, in ``[0, K)`` or -100. Each belongs to the logits at its position: next tokens are
            already shifted.
    """

    logits: Tensor
    labels: Tensor

    @property
    def num_targets(self) -> Tensor:
        """Positions with a target, shape ``(B,)``."""
        return (self.labels != NO_TARGET).sum(dim=1)


@dataclass(frozen=True)
class Gaussian:
    """Independent normal distributions around the outputs of a regression.

    Attributes:
        mean: Shape ``(B, D)``, float32 or float64.
        targets: Shape ``(B, D)``, of the same dtype.
        sigma: Their standard deviation. Default 1: the negative log-likelihood is half the squared error.
    """

    mean: Tensor
    targets: Tensor
    sigma: float = 1.0

    @property
    def num_targets(self) -> Tensor:
        """One per sample, shape ``(B,)``: its D numbers are one joint target."""
        return torch.ones(len(self.mean), dtype=torch.long, device=self.mean.device)


@dataclass(frozen=True)
class Custom:
    """Negative log-likelihoods from the user's own function, of which nothing else is known.

    Attributes:
        losses: Shape ``(B,)``, one per sample, float32 or float64, differentiable.
    """

    losses: Tensor

    @property
    def num_targets(self) -> Tensor:
        """One per sample, shape ``(B,)``."""
        return torch.ones(len(self.losses), dtype=torch.long, device=self.losses.device)


def categorical(logits: Tensor, labels: Tensor) -> Categorical:
    """Check logits and labels against each other.

    Args:
        logits: Shape ``(B, K)`` or ``(B, T, K)``. Single entries may be -inf: classes that are ruled out.
        labels: Integers, shape ``(B,)`` or ``(B, T)``; on any device.

    Returns:
        Both, with T = 1 for logits of two dimensions.

    Raises:
        InputError: Shapes that do not fit, a label that is no class, logits that are not finite.
    """
    shape = tuple(logits.shape)
    if len(shape) not in (2, 3):
        raise InputError(
            f"the logits have shape {shape}: expected (samples, classes) or (samples, positions, classes). "
            "For another layout pass loss=, which returns one negative log-likelihood per sample."
        )
    if len(shape) == 2:
        logits, labels = logits.unsqueeze(1), labels.unsqueeze(1) if labels.dim() == 1 else labels
    if labels.shape != logits.shape[:2]:
        raise InputError(
            f"labels of shape {tuple(labels.shape)} do not fit logits of shape {shape}: pass one label per row of logits, "
            "-100 where there is no target."
        )
    if shape[-1] < 2:
        raise InputError("the logits have a single class, whose probability is always 1: pass task='regression', or loss=.")
    labels = labels.to(logits.device)
    _check_labels(labels, num_classes=shape[-1])
    # The largest entry shows them all: NaN and infinity pass through it.
    _check_finite(logits.detach().amax(dim=2), "logits")
    return Categorical(logits, labels)


def gaussian(mean: Tensor, targets: Tensor) -> Gaussian:
    """Check the outputs and targets of a regression against each other.

    Args:
        mean: Shape ``(B, D)`` or ``(B,)``.
        targets: The same number of entries per sample; on any device.

    Returns:
        Both, in two dimensions, in the dtype of ``mean`` but float32 at least.

    Raises:
        InputError: Shapes that do not fit, values that are not finite.
    """
    shapes = tuple(mean.shape), tuple(targets.shape)
    mean = mean.unsqueeze(1) if mean.dim() == 1 else mean
    targets = targets.unsqueeze(1) if targets.dim() == 1 else targets
    if mean.dim() != 2 or mean.shape != targets.shape:
        raise InputError(
            f"outputs of shape {shapes[0]} and targets of shape {shapes[1]}: a regression needs (samples, numbers) twice."
        )
    mean = _at_least_float32(mean)
    targets = targets.to(mean)
    _check_finite(mean, "outputs")
    _check_finite(targets, "targets")
    return Gaussian(mean, targets)


def custom(losses: object, num_samples: int | None) -> Custom:
    """Check what a loss function returned.

    Args:
        losses: Anything; right is a tensor of shape ``(B,)``.
        num_samples: B, if it is known.

    Returns:
        The losses, in float32 at least.

    Raises:
        InputError: Not one finite loss per sample.
    """
    if not isinstance(losses, Tensor) or losses.dim() != 1 or len(losses) != (num_samples or len(losses)):
        got = f"shape {tuple(losses.shape)}" if isinstance(losses, Tensor) else f"a {type(losses).__name__}"
        batch = f" for a batch of {num_samples}" if num_samples else ""
        raise InputError(f"the loss function returned {got}{batch}: return one loss per sample, a tensor of shape (samples,).")
    _check_finite(losses, "losses")
    return Custom(_at_least_float32(losses))


def _check_labels(labels: Tensor, *, num_classes: int) -> None:
    is_wrong = (labels != NO_TARGET) & ((labels < 0) | (labels >= num_classes))
    if is_wrong.any():
        sample, position = is_wrong.nonzero()[0].tolist()
        raise InputError(
            f"sample {sample} of the batch has the label {int(labels[sample, position])}, but the model has classes in "
            f"[0, {num_classes}); -100 means no target. Do the labels belong to this model?"
        )


def _check_finite(values: Tensor, what: str) -> None:
    """Name the first sample of values of shape (B, ...) that has a NaN or an infinity."""
    is_finite = values.detach().isfinite()
    if not is_finite.all():
        sample = int((~is_finite).nonzero()[0, 0])
        raise InputError(
            f"sample {sample} of the batch: its {what} are not finite. Look at its inputs; a model in float16 may overflow "
            "where bfloat16 does not."
        )


def _at_least_float32(values: Tensor) -> Tensor:
    return values if values.dtype == torch.float64 else values.float()
