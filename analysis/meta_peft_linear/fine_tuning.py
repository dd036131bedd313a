"""A new task, learned by an adapter alone over a base that stays as it is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from analysis.meta_peft_linear.linear import Array, Moments
from analysis.meta_peft_linear.retraining import Adapters

LEARNING_RATE = 0.005  # of the released script


def fine_tune(base: Array, task: Moments, start: Adapters, steps: Sequence[int]) -> Iterator[Array]:
    """Descend the loss of a task in an adapter, and yield what has been learned.

    Args:
        base: Shape ``(d, d)``.
        task: Moments of the task, shape ``(d, d)``.
        start: The adapter to begin with, shape ``(d, r)``.
        steps: After which steps to yield, growing.

    Yields:
        The base with its adapter, shape ``(d, d)``.
    """
    of_base, adapter, done = task.gradient(base), start, 0
    for wanted in steps:
        for _ in range(wanted - done):
            adapter = adapter.descended(of_base + adapter.left @ (adapter.right.mT @ task.inputs), LEARNING_RATE)
        done = wanted
        yield base + adapter.product
