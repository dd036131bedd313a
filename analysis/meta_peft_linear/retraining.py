"""Reference implementations of retraining a linear model: LoRA-ML by two schedules, and standard retraining in closed form.

One-line formulas in place of a training loop: what ``spectra.training`` does with modules and batches must come to the same.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from analysis.meta_peft_linear.linear import Array, Moments


@dataclass(frozen=True)
class Adapters:
    """A matrix of low rank for each task.

    Attributes:
        left: ``U`` or, in LoRA, ``B``; shape ``(d, q)``.
        right: ``V`` or, in LoRA, ``A`` transposed; shape ``(d, q)``. The matrix is ``left @ right.mT``.
        symmetric: Both are one: the matrix is ``U U^T``, and stays so.
    """

    left: Array
    right: Array
    symmetric: bool = False

    @property
    def product(self) -> Array:
        """The matrices, shape ``(d, d)``."""
        return self.left @ self.right.mT

    def descended(self, gradient: Array, learning_rate: float) -> Adapters:
        """Take a step down the gradient of a loss in the matrices, shape ``(d, d)``."""
        of_left, of_right = gradient @ self.right, gradient.mT @ self.left
        if self.symmetric:
            both = self.left - learning_rate * (of_left + of_right)
            return Adapters(both, both, symmetric=True)
        return Adapters(self.left - learning_rate * of_left, self.right - learning_rate * of_right)


def symmetric_start(rng: np.random.Generator, shape: tuple[int, ...]) -> Adapters:
    """Draw U from N(0, 0.1^2), as the released script does."""
    drawn = 0.1 * rng.standard_normal(shape)
    return Adapters(drawn, drawn, symmetric=True)


def asymmetric_start(rng: np.random.Generator, shape: tuple[int, ...]) -> Adapters:
    """Draw U and V from N(0, 0.1^2), as the released script does when it fine-tunes."""
    return Adapters(0.1 * rng.standard_normal(shape), 0.1 * rng.standard_normal(shape))


def lora_start(rng: np.random.Generator, shape: tuple[int, ...]) -> Adapters:
    """Draw A and leave B at zero, as the peft library does: uniform, at most 1 / sqrt(d) large (He's rule with a = sqrt 5)."""
    return Adapters(np.zeros(shape), rng.uniform(-1.0, 1.0, shape) / np.sqrt(shape[-2]))


@dataclass(frozen=True)
class Alternating:
    """A schedule: several steps of all adapters, then one of the base. Defaults: the released script's.

    Attributes:
        rounds: How often.
        inner_steps: Of the adapters in a round.
        adapter_learning_rate: For the loss of each task.
        base_learning_rate: For the mean of the losses.
    """

    rounds: int = 3000
    inner_steps: int = 10
    adapter_learning_rate: float = 0.003
    base_learning_rate: float = 0.03


def retrain_lora_ml(tasks: Moments, start: Adapters, schedule: Alternating | None = None) -> tuple[Array, Adapters]:
    """Minimise the sum of the tasks' losses over a common base and an adapter for each, by gradient descent in turns.

    The loss of a task is half its mean squared error, ``||(A + left right^T) x - y||^2 / 2``. The base begins at zero, its step
    is down the mean over tasks. Source: arXiv 2410.22264, section 3, and the script released with it (jacob-block/peft-ml,
    ``linear``) for the schedule.

    Args:
        tasks: Moments of the T tasks, shape ``(T, d, d)``.
        start: Adapters to begin with, shape ``(T, d, q)``; ``symmetric`` ones stay so.
        schedule: How many steps, and how long. Default: ``Alternating()``, the released one.

    Returns:
        The base, shape ``(d, d)``, which is what is carried over, and the adapters. Nothing says that the descent has
        converged, or that it has not stopped at a local minimum: compare the adapted
        bases with the tasks.
    """
    plan = schedule or Alternating()
    base, adapters = np.zeros(tasks.outputs.shape[:-3] + tasks.outputs.shape[-2:]), start
    for _ in range(plan.rounds):
        of_base = tasks.gradient(base[..., None, :, :])  # the part that inner steps leave as it is
        for _ in range(plan.inner_steps):
            adapters = adapters.descended(of_base + _applied(adapters, tasks), plan.adapter_learning_rate)
        base = base - plan.base_learning_rate * (of_base + _applied(adapters, tasks)).mean(axis=-3)
    return base, adapters


def retrain_jointly(
    tasks: Moments, start: Adapters, num_steps: int = 30_000, learning_rate: float = 0.003
) -> tuple[Array, Adapters]:
    """Minimise the same sum by plain gradient descent in everything at once.

    Args:
        tasks: Moments of the T tasks, shape ``(T, d, d)``.
        start: Adapters to begin with, shape ``(T, d, q)``.
        num_steps: Default: as many as the adapters make in the released schedule.
        learning_rate: Default: that of the adapters there.

    Returns:
        The base, shape ``(d, d)``, and the adapters.
    """
    base, adapters = np.zeros(tasks.outputs.shape[:-3] + tasks.outputs.shape[-2:]), start
    for _ in range(num_steps):
        gradient = tasks.gradient(base[..., None, :, :]) + _applied(adapters, tasks)
        adapters = adapters.descended(gradient, learning_rate)
        base = base - learning_rate * gradient.sum(axis=-3)
    return base, adapters


def retrain_standard(tasks: Moments) -> Array:
    """Return the base that is best for all tasks without adapters, shape ``(d, d)``: least squares over all samples."""
    inputs, outputs = tasks.inputs.sum(axis=-3), tasks.outputs.sum(axis=-3)
    return np.linalg.solve(inputs.mT, outputs.mT).mT


def _applied(adapters: Adapters, tasks: Moments) -> Array:
    """Return the adapters' part of the gradient in the matrices, in an order that costs d^2 q and not d^3."""
    return adapters.left @ (adapters.right.mT @ tasks.inputs)
