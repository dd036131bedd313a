"""What DCS asks of a batch: the loss of each sample, and how far the student's answer is from the teacher's.

One class for each kind of task. A model's own loss is never used: it is a mean over the batch.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from spectra.errors import InputError
from spectra.fisher.decoder_inputs import with_decoder_inputs
from spectra.fisher.tasks import task_of, without_peft
from spectra.training.dcs.config import DCSConfig
from spectra.training.dcs.discordances import discordance, token_discordance
from spectra.training.dcs.losses import (
    classification_losses,
    combine,
    distillation_losses,
    mean_by_sample,
    regression_losses,
    squared_distillation,
    supervised_tokens,
    token_losses,
    top_k_distillation,
)

SampleLoss = Callable[[Tensor, Tensor], Tensor]
_TOKEN_TASKS = ("causal-lm", "masked-lm", "seq2seq", "token-classification")
UNKNOWN = -1


@dataclass(frozen=True)
class TopK:
    """What is kept of a teacher's answer to the supervised tokens of a batch.

    Attributes:
        log_probs: Shape ``(M, k)``, float32, at the temperature of the distillation, largest first.
        ids: Shape ``(M, k)``: which words.
    """

    log_probs: Tensor
    ids: Tensor


@dataclass(frozen=True)
class Judged:
    """A batch as DCS sees it.

    Attributes:
        losses: Shape ``(B,)``, with gradients: task and distillation together.
        task_losses: Shape ``(B,)``, without gradients.
        discordance: Shape ``(B,)``, or ``None`` where nothing is compared.
        predicted: Shape ``(B,)``: the student's class, -1 where there is no such thing.
    """

    losses: Tensor
    task_losses: Tensor
    discordance: Tensor | None
    predicted: Tensor


class Objective(Protocol):
    """A kind of task."""

    @property
    def kind(self) -> str:
        """How answers are compared; one of the options' words."""

    def judge(self, logits: Tensor, labels: Tensor, teacher: Tensor | TopK | None) -> Judged:
        """Judge a batch.

        Args:
            logits: Of the student.
            labels: Of the batch.
            teacher: Its logits for the same batch, or what is kept of them; ``None`` without a teacher.
        """


def objective_for(
    model: nn.Module, config: DCSConfig, *, label_smoothing: float = 0.0, sample_loss: SampleLoss | None = None
) -> Objective:
    """Choose by a model's task.

    Args:
        model: A transformers model, with or without PEFT, or a module that returns logits.
        config: Options.
        label_smoothing: Of the trainer.
        sample_loss: Takes the place of the task's own loss: a function of logits and labels that returns ``(B,)``.

    Returns:
        What judges batches.

    Raises:
        InputError: The task is not known, or ``discordance`` is for another one.
    """
    task = _task(model)
    if task in _TOKEN_TASKS:
        _refuse(config, task, ("token",))
        if sample_loss is not None:
            raise InputError(f"sample_loss: it is not for the task {task!r} of this model. Leave it out.")
        return Tokens(config, task == "causal-lm", label_smoothing)
    if task == "regression":
        _refuse(config, task, ("r2",))
        return Regression(config, sample_loss)
    _refuse(config, task, ("argmax", "tv", "teacher_correct", "label"))
    return Classification(config, label_smoothing, sample_loss)


@dataclass(frozen=True)
class Classification:
    """One class for each sample."""

    config: DCSConfig
    label_smoothing: float = 0.0
    sample_loss: SampleLoss | None = None

    @property
    def kind(self) -> str:
        """As configured; by the most likely class by default."""
        return self.config.discordance or "argmax"

    def judge(self, logits: Tensor, labels: Tensor, teacher: Tensor | TopK | None) -> Judged:
        """Cross-entropy, and the divergence from the teacher."""
        assert not isinstance(teacher, TopK)
        if self.sample_loss is None:
            losses = classification_losses(logits, labels, label_smoothing=self.label_smoothing)
        else:
            losses = _per_sample(self.sample_loss(logits, labels), logits)
        distilled = None
        if teacher is not None and self.config.lam > 0:
            distilled = distillation_losses(logits, teacher, self.config.tau)
        with torch.no_grad():
            compared = teacher is not None or self.kind == "label"
            apart = discordance(logits, teacher, labels, self.kind) if compared else None
            return _judged(losses, distilled, self.config.lam, apart, logits.argmax(dim=-1))


@dataclass(frozen=True)
class Regression:
    """Numbers for each sample."""

    config: DCSConfig
    sample_loss: SampleLoss | None = None
    kind: str = "r2"

    def judge(self, logits: Tensor, labels: Tensor, teacher: Tensor | TopK | None) -> Judged:
        """Squared errors, from labels and from the teacher's answer."""
        assert not isinstance(teacher, TopK)
        if self.sample_loss is None:
            losses = regression_losses(logits, labels)
        else:
            losses = _per_sample(self.sample_loss(logits, labels), logits)
        distilled = squared_distillation(logits, teacher) if teacher is not None and self.config.lam > 0 else None
        with torch.no_grad():
            apart = None if teacher is None else discordance(logits, teacher, labels, self.kind)
            return _judged(losses, distilled, self.config.lam, apart, torch.full_like(losses, UNKNOWN, dtype=torch.long))


@dataclass(frozen=True)
class Tokens:
    """A word, or a class, for each token."""

    config: DCSConfig
    shift: bool
    label_smoothing: float = 0.0
    kind: str = "token"

    def judge(self, logits: Tensor, labels: Tensor, teacher: Tensor | TopK | None) -> Judged:
        """Means over the supervised tokens of each sample."""
        number = len(labels)
        student, words, samples = supervised_tokens(logits, labels, shift=self.shift)
        losses = token_losses(student, words, samples, number, label_smoothing=self.label_smoothing)
        distilled, apart = None, None
        if teacher is not None:
            if self.config.lam > 0:
                distilled = mean_by_sample(self._distilled(student, teacher, labels), samples, number)
            with torch.no_grad():
                apart = token_discordance(student, self._classes(teacher, labels), samples, number)
        unknown = torch.full_like(losses, UNKNOWN, dtype=torch.long)
        return _judged(losses, distilled, self.config.lam, apart, unknown)

    def _distilled(self, student: Tensor, teacher: Tensor | TopK, labels: Tensor) -> Tensor:
        if isinstance(teacher, TopK):
            return top_k_distillation(student, teacher.log_probs, teacher.ids, self.config.tau)
        return distillation_losses(student, supervised_tokens(teacher, labels, shift=self.shift)[0], self.config.tau)

    def _classes(self, teacher: Tensor | TopK, labels: Tensor) -> Tensor:
        if isinstance(teacher, TopK):
            return teacher.ids[:, 0]
        return supervised_tokens(teacher, labels, shift=self.shift)[0].argmax(dim=-1)


def inputs_of(model: nn.Module, batch: dict[str, Any], labels: Tensor) -> dict[str, Any]:
    """Complete what a model is called with when it is not given the labels.

    Args:
        model: As it was passed to the trainer.
        batch: Without labels.
        labels: Taken out of it.

    Returns:
        The batch; for models from sequence to sequence, with the decoder's inputs.

    Raises:
        InputError: Neither the batch nor the model has or makes them.
    """
    return with_decoder_inputs(model, batch, labels) if _task(model) == "seq2seq" else batch


def _task(model: nn.Module) -> str:
    try:
        return task_of(model)
    except InputError:
        raise InputError(
            f"DCS is for models that classify, predict a number or predict tokens, with one label each; "
            f"{type(without_peft(model)).__name__} does none of these, or is set up for several labels. Give it another head."
        ) from None


def _judged(losses: Tensor, distilled: Tensor | None, lam: float, apart: Tensor | None, predicted: Tensor) -> Judged:
    with torch.enable_grad():
        together = losses if distilled is None else combine(losses, distilled, lam)
    return Judged(together, losses.detach(), apart, predicted)


def _per_sample(losses: Tensor, logits: Tensor) -> Tensor:
    if losses.shape != logits.shape[:1]:
        raise InputError(
            f"sample_loss: expected one loss for each of {len(logits)} samples, got shape {tuple(losses.shape)}. "
            "Compute it with reduction='none'."
        )
    return losses


def _refuse(config: DCSConfig, task: str, known: tuple[str, ...]) -> None:
    if config.discordance is not None and config.discordance not in known:
        raise InputError(
            f"discordance: {config.discordance!r} ('label' is what label-boosting sets) is not for the task {task!r} of this "
            f"model. Known there: {', '.join(known)}."
        )
