r"""Which Fisher: the scalars whose gradients, squared sample by sample, add up to it.

Every objective is a sum over samples :math:`\sum_n \ell_n`. Sample n contributes
:math:`\sum_o (\partial \ell_n^{(o)} / \partial \theta)^2` over the objectives o. With :math:`m_n` targets t in sample n, and
:math:`c_n = 1 / m_n` for ``token_mean`` and 1 otherwise, times :math:`\sqrt{v_n}` where sample n has the weight :math:`v_n`:

=============  =====================================================  ======================================================
kind           objectives                                             :math:`\ell_n`
=============  =====================================================  ======================================================
``empirical``  1; per target index with reduction ``token``           :math:`-c_n \sum_t \log p(y_{nt})`, observed labels
``sampled``    ``num_draws`` (S)                                      :math:`-c_n S^{-1/2} \sum_t \log p(\hat y_{nt})`, drawn
``exact``      per target index t and class k                         :math:`-c_n \sqrt{p(k)} \log p(k)`, root held constant
=============  =====================================================  ======================================================

Labels at different positions are independent given the inputs (teacher forcing), so that cross terms of the true Fisher vanish:
``exact`` is the same for ``sequence_sum`` and ``token``, and ``sampled`` with ``sequence_sum`` estimates both without bias from
one backward pass per draw. Source: fisher-guided dropout specification, sections A.1 and A.2.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional

from spectra.errors import InputError
from spectra.fisher.likelihoods import NO_TARGET, Categorical, Custom, Gaussian
from spectra.results.fisher_records import FisherKind, Reduction, known_word
from spectra.whole_numbers import is_whole_number

MAX_OBJECTIVES = 10_000  # backward passes per batch; our choice: minutes for a small model, and no vocabulary fits
_DRAW_ENTRIES = 2**22  # probabilities in float64 at once while labels are drawn: 32 MiB, small beside the logits


def objectives(
    outputs: Categorical | Gaussian | Custom,
    *,
    kind: FisherKind | str,
    reduction: Reduction | str,
    num_draws: int,
    generator: torch.Generator,
    weights: Tensor | None = None,
) -> Iterator[Tensor]:
    """Yield the scalars to differentiate for the Fisher of a batch; see the table above.

    They share one graph: differentiate each with ``retain_graph=True``. Empirical objectives are negative log-likelihoods. The
    numbers in a target of a regression count as one: its reductions are the same.

    Args:
        outputs: Of the model for the batch.
        kind: A ``FisherKind``.
        reduction: A ``Reduction``.
        num_draws: Of labels per sample, for ``sampled``.
        generator: On the CPU, for ``sampled``. Each target takes its ``num_draws`` uniform numbers in turn, so that neither
            batch size nor padding nor device changes the draws (but through the rounding of logits).
        weights: Shape ``(B,)``, finite, 0 or more: factors of the samples' squared gradients. ``None``: all 1.

    Returns:
        An iterator of differentiable scalars, in float32 or float64; an empty one if no sample has a target.

    Raises:
        InputError: An unknown kind or reduction; ``sampled`` by ``token``; anything but ``empirical`` sums for a custom loss;
            ``num_draws`` that is no whole number from 1 on; more than 10,000 objectives for ``exact``; an observed label of
            probability zero.
    """
    kind, reduction = known_word(FisherKind, kind, "kind"), known_word(Reduction, reduction, "reduction")
    _refuse_contradictions(outputs, kind, reduction)
    if kind is FisherKind.SAMPLED and not is_whole_number(num_draws, least=1):
        raise InputError(f"num_draws is {num_draws!r}: pass a whole number, 1 or more.")
    if not outputs.num_targets.any():
        return iter(())
    if isinstance(outputs, Custom):
        return iter([_weighted(outputs.losses, weights).sum()])
    if kind is FisherKind.EXACT:
        _refuse_too_many(outputs)
    if isinstance(outputs, Gaussian):
        return _gaussian(outputs, weights, kind, num_draws, generator)
    targets = _targets(outputs, weights, reduction)
    if kind is FisherKind.EXACT:
        return _exact(targets)
    return _sampled(targets, num_draws, generator) if kind is FisherKind.SAMPLED else _empirical(targets, reduction)


def _weighted(terms: Tensor, weights: Tensor | None) -> Tensor:
    """Multiply terms of shape (B, ...) by the roots of the weights: their gradients will be squared."""
    if weights is None:
        return terms
    return terms * weights.to(terms).sqrt().view(-1, *(1 for _ in terms.shape[1:]))


@dataclass(frozen=True)
class _Targets:
    """The positions of a batch in rows, some of which may have no target.

    Attributes:
        log_probs: Shape ``(R, K)``.
        labels: Shape ``(R,)``; -100 where there is no target.
        weights: Shape ``(R,)``: the factor c of the sample, with the root of its weight.
        samples: Shape ``(R,)``: whose position it is.
        order: Shape ``(R,)``: 0 for the first target of its sample, 1 for the next; -1 where there is none.
    """

    log_probs: Tensor
    labels: Tensor
    weights: Tensor
    samples: Tensor
    order: Tensor


def _targets(outputs: Categorical, of_samples: Tensor | None, reduction: Reduction) -> _Targets:
    logits, labels = outputs.logits.flatten(0, 1), outputs.labels
    dtype = torch.float64 if logits.dtype == torch.float64 else torch.float32
    is_target = labels != NO_TARGET
    order = (is_target.cumsum(dim=1) - 1).masked_fill(~is_target, -1)
    per_sample = outputs.num_targets.clamp(min=1).to(dtype).reciprocal().unsqueeze(1)
    per_sample = per_sample if reduction is Reduction.TOKEN_MEAN else torch.ones_like(per_sample)
    weights = _weighted(per_sample, of_samples).expand(labels.shape)
    samples = torch.arange(len(labels), device=labels.device).unsqueeze(1).expand(labels.shape)
    columns = [column.flatten() for column in (labels, weights, samples, order)]
    # A masked-LM batch has targets at 15 % of its positions: take those before anything of the size of the logits is made.
    # Where most positions are targets the copy would cost more than the other rows.
    if 2 * int(is_target.sum()) <= is_target.numel():
        rows = is_target.flatten().nonzero().squeeze(1)
        logits, columns = logits[rows], [column[rows] for column in columns]
    labels, weights, samples, order = columns
    return _Targets(functional.log_softmax(logits, dim=-1, dtype=dtype), labels, weights, samples, order)


def _losses(targets: _Targets, labels: Tensor) -> Tensor:
    """Weighted negative log-likelihoods of labels, shape (R,); 0 where there is no target."""
    return targets.weights * functional.nll_loss(targets.log_probs, labels, ignore_index=NO_TARGET, reduction="none")


def _empirical(targets: _Targets, reduction: Reduction) -> Iterator[Tensor]:
    losses = _losses(targets, targets.labels)
    is_infinite = ~losses.detach().isfinite()  # NaN where the weight is 0
    if is_infinite.any():
        row = int(is_infinite.nonzero()[0])
        raise InputError(
            f"sample {int(targets.samples[row])} of the batch: the model excludes the label {int(targets.labels[row])} (its "
            "logit is -inf), so that the loss is infinite. Set the label to -100, or leave the sample out."
        )
    if reduction is not Reduction.TOKEN:
        return iter([losses.sum()])
    return (losses[targets.order == index].sum() for index in range(int(targets.order.max()) + 1))


def _sampled(targets: _Targets, num_draws: int, generator: torch.Generator) -> Iterator[Tensor]:
    drawn = _drawn_labels(targets, num_draws, generator)
    return (_losses(targets, labels).sum() / math.sqrt(num_draws) for labels in drawn.unbind(dim=1))


@torch.no_grad()
def _drawn_labels(targets: _Targets, num_draws: int, generator: torch.Generator) -> Tensor:
    """Draw labels, shape (R, S), by inverting the distribution function; -100 where there is no target."""
    rows = (targets.order >= 0).nonzero().squeeze(1)
    uniforms = torch.rand(len(rows), num_draws, generator=generator, dtype=torch.float64).to(rows.device)
    num_classes = targets.log_probs.shape[1]
    drawn = targets.labels.new_full((len(targets.labels), num_draws), NO_TARGET)
    at_once = max(1, _DRAW_ENTRIES // num_classes)
    for some, uniform in zip(torch.split(rows, at_once), torch.split(uniforms, at_once), strict=True):
        # In float32, the sum of a large vocabulary would swallow rare words, whose probability is below its rounding.
        cumulative = targets.log_probs[some].double().exp_().cumsum_(dim=1)  # of a copy
        found = torch.searchsorted(cumulative, uniform * cumulative[:, -1:], right=True)
        drawn[some] = found.clamp(max=num_classes - 1)
    return drawn


def _exact(targets: _Targets) -> Iterator[Tensor]:
    probs = targets.log_probs.detach().exp()
    log_probs = targets.log_probs.masked_fill(probs == 0.0, 0.0)  # p log p -> 0, not 0 * -inf
    terms = -targets.weights.unsqueeze(1) * probs.sqrt() * log_probs
    for index in range(int(targets.order.max()) + 1):
        yield from terms[targets.order == index].sum(dim=0).unbind()


def _gaussian(
    outputs: Gaussian, weights: Tensor | None, kind: FisherKind, num_draws: int, generator: torch.Generator
) -> Iterator[Tensor]:
    mean, sigma = outputs.mean, outputs.sigma
    if kind is FisherKind.EMPIRICAL:
        return iter([0.5 * _weighted(((outputs.targets - mean) / sigma).square(), weights).sum()])
    if kind is FisherKind.EXACT:
        return iter(_weighted(mean / sigma, weights).sum(dim=0).unbind())
    # Not torch.randn: its numbers depend on how many are drawn together.
    uniforms = torch.rand(len(mean), num_draws, mean.shape[1], generator=generator, dtype=torch.float64)
    noise = torch.special.ndtri(uniforms.clamp(min=2.0**-54)).to(mean)  # 0 has no quantile; the next number is 2**-53
    drawn = mean.detach().unsqueeze(1) + sigma * noise  # (B, S, D)
    scale = 0.5 / math.sqrt(num_draws)
    return (scale * _weighted(((targets - mean) / sigma).square(), weights).sum() for targets in drawn.unbind(dim=1))


def _refuse_contradictions(outputs: Categorical | Gaussian | Custom, kind: FisherKind, reduction: Reduction) -> None:
    if isinstance(outputs, Custom) and (kind is not FisherKind.EMPIRICAL or reduction is Reduction.TOKEN):
        raise InputError(
            f"a loss gives one number per sample: too little for kind {kind.value!r} with reduction {reduction.value!r}. "
            "Use kind='empirical' with reduction='token_mean' or 'sequence_sum', or leave out loss=."
        )
    if kind is FisherKind.SAMPLED and reduction is Reduction.TOKEN:
        raise InputError(
            "kind 'sampled' with reduction 'token' needs a backward pass per token and draw. Use reduction='sequence_sum': "
            "an unbiased estimate of the same from one pass per draw, because labels are drawn independently."
        )


def _refuse_too_many(outputs: Categorical | Gaussian) -> None:
    num_choices = outputs.mean.shape[1] if isinstance(outputs, Gaussian) else outputs.logits.shape[2]
    count = int(outputs.num_targets.max()) * num_choices
    if count > MAX_OBJECTIVES:
        raise InputError(
            f"kind 'exact' needs {count:,} backward passes for this batch, more than {MAX_OBJECTIVES:,}. Use kind='sampled' "
            "with reduction='sequence_sum', an unbiased estimate of it."
        )
