r"""The linear theory of meta-PEFT: its tasks, what a learner sees of them, and what a base is worth for a new one.

Tasks share a base and differ by a matrix of low rank, :math:`y = (A^* + U_t^* U_t^{*\top}) x + \text{noise}`, with inputs from
a standard normal (arXiv 2410.22264, section 3). The squared error of a linear model depends on a task's samples through two
matrices only, so that a step of gradient descent costs the same for any number of them.

All arrays are float64. Shapes are given without leading dimensions (seeds, settings): any number of them may stand before, and
everything is done for all at once. With d inputs and outputs, T tasks and rank k:

| | shape |
| --- | --- |
| a matrix, a base | ``(d, d)`` |
| the matrices of several tasks | ``(T, d, d)`` |
| factors of several tasks | ``(T, d, k)`` |
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

Array = np.ndarray[Any, np.dtype[np.float64]]

MOST_DIMS, MOST_TASKS, MOST_RANK = 20, 10, 3


@dataclass(frozen=True)
class Problem:
    """Tasks to retrain on, and a new one.

    Attributes:
        base: A*, shape ``(d, d)``.
        factors: U* of each task, the new one last, shape ``(T + 1, d, k)``.
    """

    base: Array
    factors: Array

    @property
    def tasks(self) -> Array:
        """The matrices to retrain on, shape ``(T, d, d)``."""
        return self._matrices[..., :-1, :, :]

    @property
    def new_task(self) -> Array:
        """The matrix of the new task, shape ``(d, d)``."""
        return self._matrices[..., -1, :, :]

    @property
    def _matrices(self) -> Array:
        return self.base[..., None, :, :] + self.factors @ self.factors.mT


def draw_problem(seed: int, *, dim: int, num_tasks: int, rank: int) -> Problem:
    """Draw a problem as the released script does: a symmetrised Gaussian base, Gaussian factors.

    Problems of one seed are cut out of the same largest one, so that settings differ by what is varied and no more.

    Args:
        seed: Of the problem.
        dim: Number of inputs and of outputs.
        num_tasks: Without the new one, which is the same for any number.
        rank: Of the difference between a task and the base.

    Returns:
        The problem.
    """
    rng = np.random.default_rng((seed, 0))
    square = rng.standard_normal((MOST_DIMS, MOST_DIMS))
    factors = rng.standard_normal((MOST_TASKS + 1, MOST_DIMS, MOST_RANK))
    chosen = [*range(num_tasks), MOST_TASKS]
    return Problem(((square + square.T) / 2.0)[:dim, :dim], factors[chosen, :dim, :rank])


def stack_problems(problems: list[Problem]) -> Problem:
    """Put problems of one shape side by side."""
    return Problem(np.stack([one.base for one in problems]), np.stack([one.factors for one in problems]))


@dataclass(frozen=True)
class Moments:
    """What the squared error on a task's samples depends on, but for a constant.

    Attributes:
        inputs: X^T X / N for inputs in rows, shape ``(d, d)``.
        outputs: Y^T X / N, shape ``(d, d)``.
    """

    inputs: Array
    outputs: Array

    def gradient(self, matrix: Array) -> Array:
        """Return the gradient of the loss, half the mean over samples of ``||W x - y||^2``, in ``W``."""
        return matrix @ self.inputs - self.outputs


def moments_of(inputs: Array, outputs: Array) -> Moments:
    """Return the moments of samples, shape ``(N, d)`` each."""
    return Moments(inputs.mT @ inputs / inputs.shape[-2], outputs.mT @ inputs / inputs.shape[-2])


def population_moments(matrices: Array) -> Moments:
    """Return the moments of infinitely many samples: the noise has gone."""
    return Moments(np.broadcast_to(np.eye(matrices.shape[-1]), matrices.shape), matrices)


def sample_moments(matrices: Array, num_samples: int | None, noise_std: float, rng: np.random.Generator) -> Moments:
    """Draw samples of tasks and return their moments.

    Args:
        matrices: Of the tasks, shape ``(d, d)``.
        num_samples: Of each task; ``None`` for infinitely many.
        noise_std: Standard deviation of the noise in each output.
        rng: Draws them.

    Returns:
        The moments, of the shape of the tasks.
    """
    if num_samples is None:
        return population_moments(matrices)
    inputs = rng.standard_normal((*matrices.shape[:-2], num_samples, matrices.shape[-1]))
    return moments_of(inputs, inputs @ matrices.mT + noise_std * rng.standard_normal(inputs.shape))


def excess_risk(task: Array, matrix: Array) -> Array:
    """Return the expected squared error on fresh inputs beyond that of the noise: a squared Frobenius norm, one number each."""
    return _energy(task - matrix)


def relative_error(truth: Array, base: Array) -> Array:
    """Return ``||A - A*||_F^2 / ||A*||_F^2``."""
    return _energy(truth - base) / _energy(truth)


def singular_values(matrix: Array) -> Array:
    """Return the singular values, descending, shape ``(d,)``."""
    return np.linalg.svd(matrix, compute_uv=False).astype(np.float64, copy=False)


def reachable_risk(task: Array, base: Array) -> Array:
    """Return the least excess risk that any adapter of rank 0, 1, ..., d reaches, shape ``(d + 1,)``.

    The best of rank r takes the r largest singular values of what the base lacks (Eckart and Young).
    """
    energies = singular_values(task - base) ** 2
    left = np.cumsum(energies[..., ::-1], axis=-1)[..., ::-1]
    return np.concatenate([left, np.zeros_like(left[..., :1])], axis=-1)


def _energy(matrix: Array) -> Array:
    """Return the squared Frobenius norm."""
    energy: Array = np.square(matrix).sum(axis=(-2, -1))
    return energy
