"""How far a student's answer to a sample is from its teacher's (or from its label): a number in [0, 1] for each sample.

=================== ============================================================ ======================================
kind                discordance                                                  for
=================== ============================================================ ======================================
``argmax``          1 if the most likely classes differ                          classifiers
``tv``              total variation of the probabilities, half the sum of        the same, smooth
                    absolute differences
``teacher_correct`` as ``argmax``, where the teacher is right; else 0            teachers that know some labels are wrong
``label``           1 if the most likely class is not the label                  boosting as usual; needs no teacher
``r2``              absolute difference, made relative when a round ends         regressions (AdaBoost.R2, Drucker 1997)
``token``           share of the supervised tokens whose most likely words       language models
                    differ
=================== ============================================================ ======================================

Of equal logits the one of the lowest class counts, on both sides. A logit that is not finite makes the discordance NaN,
which a round counts as 1 and warns of.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor

from spectra.errors import InputError
from spectra.policies.drop_prob import chosen

KINDS = ("argmax", "tv", "teacher_correct", "label", "r2", "token")


@torch.no_grad()
def discordance(student: Tensor, teacher: Tensor | None, labels: Tensor, kind: str) -> Tensor:
    """Compare the answers to a batch.

    Args:
        student: Logits, shape ``(B, C)``; for ``r2`` outputs, shape ``(B,)`` or ``(B, K)``.
        teacher: The same of the teacher; ``None`` is enough for ``label``.
        labels: Classes, shape ``(B,)``; read by ``label`` and ``teacher_correct`` only.
        kind: All but ``token``, which is :func:`token_discordance`.

    Returns:
        Shape ``(B,)``, float32, on the device of ``student``; for ``r2`` the difference itself, averaged over K.

    Raises:
        InputError: An unknown kind, no teacher, or shapes that do not fit.

    Example:
        >>> logits = torch.tensor([[2.0, 1.0], [0.0, 3.0]])
        >>> discordance(logits, logits.flip(0), torch.tensor([0, 1]), "argmax").tolist()
        [1.0, 1.0]
    """
    chosen(kind, KINDS, "discordance")
    if kind == "token":
        raise InputError("discordance: 'token' is computed by token_discordance(), which knows the tokens of each sample.")
    if kind == "label":
        return _unless_lost(_differ(_first_largest(student), labels), student)
    if teacher is None:
        raise InputError(f"discordance: {kind!r} needs a teacher's logits. Pass them, or take 'label'.")
    if student.shape[:1] != teacher.shape[:1] or student[:1].numel() != teacher[:1].numel():
        raise InputError(
            f"discordance: the student's logits have shape {tuple(student.shape)}, the teacher's {tuple(teacher.shape)}. "
            "Both must answer the same samples with the same classes."
        )
    student, teacher = student.flatten(1) if student.ndim > 1 else student[:, None], teacher.reshape(len(teacher), -1)
    return _unless_lost(_compared(student, teacher, labels, kind), student, teacher)


@torch.no_grad()
def token_discordance(student: Tensor, teacher_classes: Tensor, samples: Tensor, num_samples: int) -> Tensor:
    """Compare the answers of language models: the share of a sample's tokens where the most likely words differ.

    Args:
        student: Logits of the supervised tokens, shape ``(M, V)``.
        teacher_classes: The teacher's most likely words, shape ``(M,)``.
        samples: Which sample each token is of, shape ``(M,)``, in ``[0, num_samples)``.
        num_samples: B.

    Returns:
        Shape ``(B,)``, float32; 0 for samples without a supervised token.
    """
    apart = _unless_lost(_differ(_first_largest(student), teacher_classes), student)
    sums = apart.new_zeros(num_samples).index_add_(0, samples, apart)
    return sums / torch.bincount(samples, minlength=num_samples).clamp(min=1)


def _compared(student: Tensor, teacher: Tensor, labels: Tensor, kind: str) -> Tensor:
    if kind == "r2":
        return (student.float() - teacher.float()).abs().mean(dim=1)
    if kind == "tv":
        gaps = student.float().softmax(dim=1) - teacher.float().softmax(dim=1)
        return (0.5 * gaps.abs().sum(dim=1)).clamp(max=1.0)  # roundings
    classes = _first_largest(teacher)
    apart = _differ(_first_largest(student), classes)
    return apart * (1.0 - _differ(classes, labels)) if kind == "teacher_correct" else apart


def _first_largest(logits: Tensor) -> Tensor:
    return logits.argmax(dim=-1)  # the first of equal ones, by its documentation


def _differ(classes: Tensor, others: Tensor) -> Tensor:
    if classes.shape != others.shape:  # would be compared each with each
        raise InputError(f"labels: expected a class for each of {len(classes)} answers, got shape {tuple(others.shape)}.")
    return (classes != others).float()


def _unless_lost(found: Tensor, *logits: Tensor) -> Tensor:
    """Put NaN where a logit is not finite: what is compared then means nothing."""
    for each in logits:
        found = found.masked_fill(~each.isfinite().all(dim=-1), math.nan)
    return found
