"""Slow references that share no code with the package: plain autograd, one sample at a time; and how two Fishers compare."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

Loss = Callable[[nn.Module, Any], Tensor]


def own_loss(model: nn.Module, sample: Mapping[str, Tensor]) -> Tensor:
    """What a transformers model says its loss is."""
    return model(**sample).loss


def pair_loss(model: nn.Module, sample: tuple[Tensor, Tensor]) -> Tensor:
    """Of a plain module and a pair of inputs and classes."""
    inputs, targets = sample
    return functional.cross_entropy(model(inputs), targets)


def target_logits(model: nn.Module, sample: Mapping[str, Tensor]) -> Tensor:
    """Logits where one sample has a target, shape ``(targets, classes)``."""
    logits, labels = model(**sample).logits, sample["labels"]
    return logits if logits.dim() == 2 else logits[_targets(model, labels)]


def token_losses(model: nn.Module, sample: Mapping[str, Tensor]) -> Tensor:
    """Negative log-likelihoods of the targets of one sample, in the model's precision: transformers' are float32."""
    labels = sample["labels"]
    if labels.dim() == 2:
        labels = labels[labels != -100] if not _is_causal(model) else labels[:, 1:][labels[:, 1:] != -100]
    return functional.cross_entropy(target_logits(model, sample), labels, reduction="none")


def _is_causal(model: nn.Module) -> bool:
    return type(model).__name__ in ("GPT2LMHeadModel", "LlamaForCausalLM")


def _targets(model: nn.Module, labels: Tensor) -> Tensor:
    return functional.pad(labels[:, 1:], (0, 1), value=-100) != -100 if _is_causal(model) else labels != -100


def gradient(model: nn.Module, loss: Tensor, *, retain_graph: bool = False) -> dict[str, Tensor]:
    """Of one scalar, by parameter, tied ones once; zeros where none arrives."""
    model.zero_grad()
    loss.backward(retain_graph=retain_graph)
    parameters = {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}
    found = {name: torch.zeros_like(one) if one.grad is None else one.grad for name, one in parameters.items()}
    model.zero_grad()
    return found


def gradients(model: nn.Module, samples: Sequence[Any], loss: Loss = own_loss) -> dict[str, Tensor]:
    """Of every sample, float64, shape ``(N, ...)``."""
    rows = [gradient(model, loss(model, sample)) for sample in samples]
    return {name: torch.stack([row[name] for row in rows]).double() for name in rows[0]}


def fisher_of(rows: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The mean of squares over the first dimension."""
    return {name: row.square().mean(0) for name, row in rows.items()}


def literal_fisher(
    model: nn.Module, samples: Sequence[Any], loss: Loss = own_loss, *, dropped_remainder_of: int | None = None
) -> dict[str, Tensor]:
    """The reference's loop: ``backward`` of the mean loss of one sample after the other, squared and added in float32.

    The reference adds the squares of full hundreds only, and divides by the number of all samples; ``dropped_remainder_of``
    is that hundred.
    """
    used = len(samples) if dropped_remainder_of is None else len(samples) // dropped_remainder_of * dropped_remainder_of
    total = {name: torch.zeros_like(parameter) for name, parameter in model.named_parameters() if parameter.requires_grad}
    for sample in samples[:used]:
        model.zero_grad()
        loss(model, sample).backward()
        for name, parameter in model.named_parameters():
            if parameter.grad is not None:
                total[name] += parameter.grad.square()
    model.zero_grad()
    return {name: squares / len(samples) for name, squares in total.items()}


def token_fisher(model: nn.Module, samples: Sequence[Any]) -> dict[str, Tensor]:
    """Squares of the gradient of each token's loss, added up in each sample."""
    total = {name: torch.zeros(one.shape, dtype=torch.float64) for name, one in model.named_parameters()}
    for sample in samples:
        for loss in token_losses(model, sample):
            for name, grad in gradient(model, loss, retain_graph=True).items():
                total[name] += grad.double().square() / len(samples)
    return total


def exact_fisher(model: nn.Module, samples: Sequence[Any], *, token_mean: bool) -> dict[str, Tensor]:
    """Every class at every target of a sample, weighted by its probability; over the square of the targets for the mean."""
    total = {name: torch.zeros(one.shape, dtype=torch.float64) for name, one in model.named_parameters()}
    for sample in samples:
        logits = target_logits(model, sample)
        weight = 1 / len(samples) / (len(logits) ** 2 if token_mean else 1)
        for entry in functional.log_softmax(logits, dim=-1).flatten():
            for name, grad in gradient(model, entry, retain_graph=True).items():
                total[name] += weight * entry.detach().exp().double() * grad.double().square()
    return total


def vmapped_gradients(
    model: nn.Module, inputs: Any, losses_of: Callable[[Any, Any], Tensor], targets: Tensor
) -> dict[str, Tensor]:
    """Of every sample, by ``torch.func``; ``losses_of(outputs, targets)`` is a scalar for a batch of one."""
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}

    def one(values: dict[str, Tensor], sample: Any, target: Tensor) -> Tensor:
        return losses_of(torch.func.functional_call(model, values, (sample[None],)), target[None])

    return torch.func.vmap(torch.func.grad(one), (None, 0, 0))(parameters, inputs, targets)


def largest(fisher: Mapping[str, Any]) -> float:
    """The largest entry of a model."""
    return max(float(np.asarray(values).max()) for values in fisher.values())


def error(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """The largest difference of two Fishers, relative to the largest entry of the model: as the bars of the specification."""
    assert set(found) == set(expected)
    differences = [np.abs(np.asarray(found[name], float) - np.asarray(expected[name], float)).max() for name in expected]
    return float(max(differences)) / largest(expected)


def worst_tensor_error(found: Mapping[str, Any], expected: Mapping[str, Any]) -> float:
    """The same relative to the largest entry of each tensor, but for those that rounding alone keeps from zero: key biases."""
    smallest = 1e-16 * largest(expected)
    names = [name for name in expected if float(np.asarray(expected[name]).max()) > smallest]
    return max(error({name: found[name]}, {name: expected[name]}) for name in names)
