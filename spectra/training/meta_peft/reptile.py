"""Reptile (Nichol et al. 2018, arXiv 1803.02999): the direction from the base to where a few steps on a task lead.

A baseline of Block et al. (2025), arXiv 2410.22264. Mind the sign: an optimizer that descends needs ``W - W_task``. (The vision
script of the released code gives it ``W_task - W``, which walks away from where the task leads.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

Step = Callable[[], Tensor]  # gradients of one batch, and its loss


def reptile_gradients(
    base: Sequence[nn.Parameter],
    own: Sequence[nn.Parameter],
    steps: Sequence[Step],
    *,
    learning_rate: float,
    max_grad_norm: float = 0.0,
    num_tasks: int = 1,
) -> Tensor:
    """Go some steps on a task with AdamW, go back, and leave ``(W - W_task) / num_tasks`` as gradients of the base.

    Args:
        base: Parameters that come back to where they were.
        own: Parameters of the task, such as its head: they stay where the steps lead, without gradients.
        steps: Each takes the gradients of one batch and returns its loss.
        learning_rate: Of the steps. They have no weight decay: it would be part of the direction, all of it where a weight is
            not used, and the step that follows would take it for one.
        max_grad_norm: Largest norm of the gradients of a step; 0: any.
        num_tasks: T.

    Returns:
        The mean loss over the steps.
    """
    moved = [*base, *own]
    optimizer = torch.optim.AdamW(moved, lr=learning_rate, weight_decay=0.0)  # decay is the outer step's
    with back_again(base) as starts:
        losses = []
        for step in steps:
            losses.append(step())
            if max_grad_norm > 0:
                nn.utils.clip_grad_norm_(moved, max_grad_norm)
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
        differences = [(start - parameter.detach()) / num_tasks for start, parameter in zip(starts, base, strict=True)]
    for parameter, difference in zip(base, differences, strict=True):
        parameter.grad = difference if difference.any() else None  # nor does weight decay move what no step has used
    return torch.stack(losses).mean()


@contextmanager
def back_again(parameters: Sequence[nn.Parameter]) -> Iterator[list[Tensor]]:
    """Let parameters move, and put them back.

    Args:
        parameters: Any.

    Yields:
        Copies of where they start.
    """
    starts = [parameter.detach().clone() for parameter in parameters]
    try:
        yield starts
    finally:
        with torch.no_grad():
            for parameter, start in zip(parameters, starts, strict=True):
                parameter.copy_(start)
