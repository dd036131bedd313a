"""Networks of two layers that differ from task to task by a low-rank matrix, retrained and fine-tuned many at once.

A task is y = cᵀ sigmoid((A + U Uᵀ) x) + noise; A and c are those of all tasks, U is its own (arXiv 2410.22264 v2).

| axis | of |
|---|---|
| first | networks, each with a seed and a problem of its own |
| second | tasks of a network; a single one when it is fine-tuned |

Networks of one batch do not touch each other: the loss is a sum over them, and AdamW works element by element. So a batch is
as many single runs, and takes the time of one or two.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

NOISE = 0.1  # standard deviation, on targets
LEARNING_RATE = 1e-3  # of the official code; weight decay is torch's 0.01, as there
NUM_FRESH = 10_000  # inputs that risks are measured on


@dataclass(frozen=True)
class Networks:
    """Two layers, without biases.

    Attributes:
        first: Shape ``(networks, width, width)``.
        second: Shape ``(networks, width)``.
    """

    first: Tensor
    second: Tensor


@dataclass(frozen=True)
class Samples:
    """What is learned from, or judged on.

    Attributes:
        inputs: Shape ``(networks, tasks, width, samples)``.
        targets: Shape ``(networks, tasks, samples)``.
    """

    inputs: Tensor
    targets: Tensor


@dataclass(frozen=True)
class Problem:
    """Tasks to retrain on, a new one, and where training starts.

    Attributes:
        truth: A and c.
        retraining: Samples of the tasks.
        few: Samples of the new task, to fine-tune on.
        fresh: More of the new task, without noise.
        start: Networks before retraining.
        retraining_down: Second factors of the adapters, ``(networks, tasks, rank, width)``; the first ones start at 0.
        fine_tuning_down: That of the new task, ``(networks, 1, largest rank, width)``.
    """

    truth: Networks
    retraining: Samples
    few: Samples
    fresh: Samples
    start: Networks
    retraining_down: Tensor
    fine_tuning_down: Tensor


@dataclass(frozen=True)
class Trace:
    """What was seen in training.

    Attributes:
        epochs: Finished by then; the first is 0.
        values: Shape ``(epochs, networks)``.
    """

    epochs: tuple[int, ...]
    values: Tensor


def draw(seeds: Iterable[int], *, tasks: int, width: int, rank: int, largest_rank: int, retraining: int, few: int) -> Problem:
    """Draw a problem for each seed.

    A seed and a width stand for the same A, c, start and new task, however many tasks there are to retrain on; with more of
    them, the first are the same.

    Args:
        seeds: One for each network.
        tasks: To retrain on.
        width: Of inputs and of the hidden layer.
        rank: Columns of U, and rank of the adapters in retraining.
        largest_rank: Of an adapter in fine-tuning.
        retraining: Samples of each task.
        few: Samples of the new task.

    Returns:
        The problems, in float32.
    """
    problems = [_draw_one(seed, tasks, width, rank, largest_rank, retraining, few) for seed in seeds]
    return _joined(problems, torch.stack)


def loss(first: Tensor, second: Tensor, samples: Samples) -> Tensor:
    """Return mean squared errors.

    Args:
        first: Shape ``(networks, tasks, width, width)``, or with one task for all.
        second: Shape ``(networks, width)``.
        samples: Inputs and targets.

    Returns:
        Shape ``(networks, tasks)``.
    """
    answers = (second[:, None, None] @ torch.sigmoid(first @ samples.inputs)).squeeze(-2)
    return (answers - samples.targets).square().mean(-1)


def retrain(start: Networks, samples: Samples, down: Tensor | None, *, epochs: int, every: int) -> tuple[Networks, Trace]:
    """Train both layers on all tasks at once: schedule (A), a step for the sum of the gradients of all tasks.

    Args:
        start: Where training starts.
        samples: Of the tasks.
        down: Second factors of an adapter for each task, which is trained along (LoRA-ML); ``None``: there are none (SR).
        epochs: Steps, each on all samples.
        every: Epochs from one look to the next.

    Returns:
        The networks without adapters, and their losses on the samples, a mean over tasks.
    """
    first, second = (_trained(layer) for layer in (start.first, start.second))
    adapter = [] if down is None else [_trained(down.mT.new_zeros(down.mT.shape)), _trained(down)]

    def losses() -> Tensor:
        return loss(_adapted(first, adapter), second, samples)

    trace = _minimise([first, second, *adapter], losses, lambda: losses().mean(1), epochs, every)
    return Networks(first.detach(), second.detach()), trace


def fine_tune(base: Networks, few: Samples, fresh: Samples, down: Tensor, *, epochs: int, every: int) -> Trace:
    """Train an adapter of the first layer on a new task; all else is frozen.

    Args:
        base: The networks.
        few: Samples to learn from.
        fresh: Samples to judge on.
        down: Second factor of the adapter, ``(networks, 1, rank, width)``; the first starts at 0.
        epochs: Steps, each on all samples.
        every: Epochs from one look to the next.

    Returns:
        The risk: mean squared error on the fresh samples.
    """
    adapter = [_trained(down.mT.new_zeros(down.mT.shape)), _trained(down)]

    def losses(samples: Samples = few) -> Tensor:
        return loss(_adapted(base.first, adapter), base.second, samples)

    return _minimise(adapter, losses, lambda: losses(fresh).mean(1), epochs, every)


def _adapted(first: Tensor, adapter: Sequence[Tensor]) -> Tensor:
    if not adapter:
        return first[:, None]
    up, down = adapter
    return first[:, None] + up @ down


def _trained(start: Tensor) -> Tensor:
    return start.clone().requires_grad_()


def _minimise(
    parameters: list[Tensor], losses: Callable[[], Tensor], look: Callable[[], Tensor], epochs: int, every: int
) -> Trace:
    # Fused: 18 % faster than the plain loop for 10 networks of width 10 with 3 tasks.
    optimizer = torch.optim.AdamW(parameters, lr=LEARNING_RATE, fused=True)
    seen: dict[int, Tensor] = {}
    for epoch in range(epochs + 1):
        if epoch % every == 0 or epoch == epochs:
            with torch.no_grad():
                seen[epoch] = look()
        if epoch < epochs:
            optimizer.zero_grad()
            losses().sum().backward()
            optimizer.step()
    return Trace(tuple(seen), torch.stack(list(seen.values())))


def _draw_one(seed: int, tasks: int, width: int, rank: int, largest_rank: int, retraining: int, few: int) -> Problem:
    """Draw the problem of one seed; what all numbers of tasks share comes first."""
    generator = torch.Generator().manual_seed(seed)

    def normal(*shape: int) -> Tensor:
        return torch.randn(shape, generator=generator)

    def uniform(*shape: int) -> Tensor:  # as torch.nn.Linear and the official code start
        return (2.0 * torch.rand(shape, generator=generator) - 1.0) / math.sqrt(width)

    def task(of: Networks, number: int, noise: float) -> Samples:
        inputs = normal(width, number)
        clean = (of.second @ torch.sigmoid(of.first @ inputs)).squeeze()
        return Samples(inputs[None], (clean + noise * normal(number))[None])

    def shifted(of: Networks) -> Networks:
        factor = normal(width, rank)
        return Networks(of.first + factor @ factor.T, of.second)

    truth = Networks(normal(width, width), normal(width))
    start = Networks(uniform(width, width), uniform(width))
    new = shifted(truth)
    few_samples, fresh = task(new, few, NOISE), task(new, NUM_FRESH, 0.0)
    fine_tuning_down = uniform(1, largest_rank, width)
    seen = [(task(shifted(truth), retraining, NOISE), uniform(1, rank, width)) for _ in range(tasks)]
    return Problem(
        truth=truth,
        retraining=_joined([samples for samples, _ in seen], torch.cat),
        few=few_samples,
        fresh=fresh,
        start=start,
        retraining_down=torch.cat([down for _, down in seen]),
        fine_tuning_down=fine_tuning_down,
    )


def _joined(ones: Sequence[Any], join: Callable[[list[Tensor]], Tensor]) -> Any:
    """Join tensors, or records of them field by field."""
    if isinstance(ones[0], Tensor):
        return join(list(ones))
    names = ones[0].__dataclass_fields__
    return type(ones[0])(**{name: _joined([getattr(one, name) for one in ones], join) for name in names})
