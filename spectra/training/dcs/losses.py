r"""The loss of each sample, from its label and from a teacher, and their weighted mean.

.. math:: l_i = (1 - \lambda) \, \text{task}_i + \lambda \, \tau^2 \, \mathrm{KL}(p^T_i \,\|\, p^S_i) , \qquad
          L = \frac{1}{B} \sum_i v_i \, l_i ,

with probabilities at temperature tau; its square keeps the size of gradients (Hinton et al. 2015, arXiv 1503.02531). Dividing
by the number of samples, and not by the sum of their weights, keeps the gradient of a batch an unbiased estimate.

Half-precision logits are computed with in float32.
"""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F  # noqa: N812 - as everybody writes it
from torch import Tensor

from spectra.errors import InputError

IGNORED = -100


def classification_losses(
    logits: Tensor, labels: Tensor, *, label_smoothing: float = 0.0, class_weights: Tensor | None = None
) -> Tensor:
    """Compute the cross-entropy of each sample.

    Args:
        logits: Shape ``(B, C)``.
        labels: Classes, shape ``(B,)``.
        label_smoothing: As of torch's cross-entropy.
        class_weights: Shape ``(C,)``: factor on the losses of each class.

    Returns:
        Shape ``(B,)``.
    """
    return F.cross_entropy(_precise(logits), labels, weight=class_weights, reduction="none", label_smoothing=label_smoothing)


def regression_losses(outputs: Tensor, targets: Tensor) -> Tensor:
    """Compute the squared error of each sample, averaged over its K numbers.

    Args:
        outputs: Shape ``(B,)`` or ``(B, K)``.
        targets: The same, or ``(B,)`` for K = 1.

    Returns:
        Shape ``(B,)``.

    Raises:
        InputError: Shapes that do not fit.
    """
    if len(outputs) != len(targets) or outputs.numel() != targets.numel():  # would be broadcast
        raise InputError(
            f"targets: expected as many numbers as the outputs of shape {tuple(outputs.shape)} hold, got shape "
            f"{tuple(targets.shape)}."
        )
    found = _precise(outputs).reshape(len(outputs), -1)
    return F.mse_loss(found, targets.to(found.dtype).reshape(found.shape), reduction="none").mean(dim=1)


def supervised_tokens(logits: Tensor, labels: Tensor, *, shift: bool) -> tuple[Tensor, Tensor, Tensor]:
    """Pick the tokens that have a label.

    Args:
        logits: Shape ``(B, T, V)``.
        labels: Shape ``(B, T)``; -100 where there is none.
        shift: Each token's logits are for the next token, as in causal language models.

    Returns:
        Logits ``(M, V)``, labels ``(M,)``, and which sample each is of, ``(M,)``, ascending.

    Raises:
        InputError: Logits of other tokens than those with labels, as behind prompts that are learned.
    """
    if logits.shape[:-1] != labels.shape:
        raise InputError(
            f"labels: the model answers {tuple(logits.shape[:-1])} tokens, and there are labels for {tuple(labels.shape)}. "
            "Prompts that are learned in front of the text are not read; train weights or adapters."
        )
    if shift:
        logits, labels = logits[:, :-1], labels[:, 1:]
    samples, places = (labels != IGNORED).nonzero(as_tuple=True)
    return logits[samples, places], labels[samples, places], samples


def token_losses(logits: Tensor, labels: Tensor, samples: Tensor, num_samples: int, *, label_smoothing: float = 0.0) -> Tensor:
    """Compute the mean cross-entropy of each sample's tokens.

    Args:
        logits: Of the supervised tokens, shape ``(M, V)``.
        labels: Words, shape ``(M,)``.
        samples: Which sample each token is of, shape ``(M,)``.
        num_samples: B.
        label_smoothing: As of torch's cross-entropy.

    Returns:
        Shape ``(B,)``; 0 for samples without a supervised token.
    """
    return mean_by_sample(classification_losses(logits, labels, label_smoothing=label_smoothing), samples, num_samples)


def mean_by_sample(values: Tensor, samples: Tensor, num_samples: int) -> Tensor:
    """Average values of tokens by sample.

    Args:
        values: Shape ``(M,)``.
        samples: Which sample each is of, shape ``(M,)``.
        num_samples: B.

    Returns:
        Shape ``(B,)``; 0 for samples without a token.
    """
    sums = values.new_zeros(num_samples).index_add(0, samples, values)
    return sums / torch.bincount(samples, minlength=num_samples).clamp(min=1)


def distillation_losses(student: Tensor, teacher: Tensor, tau: float) -> Tensor:
    """Compute tau^2 KL(teacher || student) of each row.

    Args:
        student: Logits, shape ``(B, C)``.
        teacher: Logits, shape ``(B, C)``; no gradient goes there.
        tau: Temperature, above 0.

    Returns:
        Shape ``(B,)``.

    Raises:
        InputError: Other shapes, or a temperature that cannot be.
    """
    _refuse_other_shape(student, teacher)
    of_student, of_teacher = _log_probs(student, tau), _log_probs(teacher.detach(), tau)
    return tau**2 * F.kl_div(of_student, of_teacher, log_target=True, reduction="none").sum(dim=-1)


def squared_distillation(student: Tensor, teacher: Tensor) -> Tensor:
    """Compute the squared distance to the teacher's outputs: for regressions.

    Args:
        student: Shape ``(B,)`` or ``(B, K)``.
        teacher: The same; no gradient goes there.

    Returns:
        Shape ``(B,)``.
    """
    return regression_losses(student, teacher.detach())


def top_k_distillation(student: Tensor, teacher_log_probs: Tensor, teacher_ids: Tensor, tau: float) -> Tensor:
    """Compute tau^2 KL(teacher || student) where of the teacher only the k most likely classes are known.

    All other classes together are one more outcome. So this is at most the divergence over all classes, and equals it for
    k = V.

    Args:
        student: Logits, shape ``(M, V)``.
        teacher_log_probs: At the same temperature and over all classes, shape ``(M, k)``.
        teacher_ids: Which classes, shape ``(M, k)``, without repetition.
        tau: Temperature, above 0.

    Returns:
        Shape ``(M,)``.

    Raises:
        InputError: Shapes that do not fit, or a temperature that cannot be.
    """
    k = teacher_ids.shape[-1]
    if teacher_log_probs.shape != teacher_ids.shape or len(teacher_ids) != len(student) or k > student.shape[-1]:
        raise InputError(
            f"teacher: expected k classes for each of the logits of shape {tuple(student.shape)}, got log-probabilities of "
            f"shape {tuple(teacher_log_probs.shape)} and ids of shape {tuple(teacher_ids.shape)}."
        )
    of_student, of_teacher, ids = _log_probs(student, tau), _precise(teacher_log_probs.detach()), teacher_ids.long()
    known = F.kl_div(of_student.gather(1, ids), of_teacher, log_target=True, reduction="none").sum(dim=-1)
    if k < student.shape[-1]:
        # Summed over the other classes, not as 1 - the known ones: a rest of 1e-30 keeps its logarithm and gradient.
        rest_of_student = of_student.scatter(1, ids, -math.inf).logsumexp(dim=-1)
        rest_of_teacher = (1.0 - of_teacher.exp().sum(dim=-1)).clamp(min=0.0)  # roundings
        known = known + torch.xlogy(rest_of_teacher, rest_of_teacher) - rest_of_teacher * rest_of_student
    return tau**2 * known


def combine(losses: Tensor, distillation: Tensor, lam: float) -> Tensor:
    """Mix the losses of labels and teacher.

    Args:
        losses: Shape ``(B,)``.
        distillation: Shape ``(B,)``.
        lam: Share of the teacher, in [0, 1]. At 0 and 1 the other loss has no part, even where it is not finite.

    Returns:
        Shape ``(B,)``.

    Raises:
        InputError: A share out of range.
    """
    if not 0.0 <= lam <= 1.0:
        raise InputError(f"lam: expected a share in [0, 1], got {lam}.")
    if lam in (0.0, 1.0):
        return distillation if lam else losses
    return (1.0 - lam) * losses + lam * distillation


def weighted_mean(
    losses: Tensor, weights: Tensor, num_samples: int | Tensor | None = None, *, normalise: bool = False
) -> Tensor:
    """Average losses with weights: sum(v l) / number of samples.

    Args:
        losses: Shape ``(B,)``.
        weights: Shape ``(B,)``, mean 1 over the data set.
        num_samples: Of the whole batch, where it comes in parts whose means are added up. Default: B.
        normalise: Divide the weights by their mean in this batch first.

    Returns:
        A scalar.

    Raises:
        InputError: Other shapes.
    """
    if losses.shape != weights.shape:  # would be broadcast
        raise InputError(f"weights: expected shape {tuple(losses.shape)}, as the losses, got {tuple(weights.shape)}.")
    weights = weights.to(losses.dtype)
    if normalise:
        weights = weights / weights.mean().clamp(min=torch.finfo(weights.dtype).tiny)  # a batch may weigh nothing
    return (weights * losses).sum() / (len(losses) if num_samples is None else num_samples)


def _precise(values: Tensor) -> Tensor:
    return values.float() if values.dtype in (torch.float16, torch.bfloat16) else values


def _log_probs(logits: Tensor, tau: float) -> Tensor:
    if not 0.0 < tau < math.inf:
        raise InputError(f"tau: expected a temperature above 0, got {tau}.")
    return F.log_softmax(_precise(logits) / tau, dim=-1)


def _refuse_other_shape(student: Tensor, teacher: Tensor) -> None:
    if student.shape != teacher.shape:
        raise InputError(
            f"teacher: expected logits of shape {tuple(student.shape)}, as the student's, got {tuple(teacher.shape)}. Both "
            "need the same classes."
        )
