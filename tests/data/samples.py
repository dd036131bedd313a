"""Samples without ties, from seeds and inverse distribution functions, for second opinions on the power-law fit."""

from __future__ import annotations

import numpy as np

KINDS = ("pareto", "lognormal", "uniform", "bulk_and_tail", "gaussian_matrix", "exponential")
SIZES = (20, 21, 35, 64, 100, 257, 500, 1000, 2000)

CASES = [{"kind": kind, "size": size, "seed": 11 * i + j} for i, kind in enumerate(KINDS) for j, size in enumerate(SIZES)]
CASES += [{"kind": kind, "size": 5000, "seed": 5} for kind in ("pareto", "bulk_and_tail")]
CASES += [{"kind": "bulk_and_tail", "size": 15_000, "seed": 15}, {"kind": "lognormal", "size": 15_000, "seed": 16}]


def sample(kind: str, size: int, seed: int) -> np.ndarray:
    """Draw a sample of distinct positive values, ascending."""
    rng = np.random.default_rng(seed)
    u = rng.random(size)
    if kind == "pareto":
        values = (1.0 - u) ** (-1.0 / 1.7)
    elif kind == "lognormal":
        values = np.exp(1.3 * _normal_from_uniform(u, rng.random(size)))
    elif kind == "uniform":
        values = 0.01 + u
    elif kind == "bulk_and_tail":
        values = np.where(rng.random(size) < 0.75, 0.01 + 0.99 * u, (1.0 - u) ** (-1.0 / 2.0))
    elif kind == "gaussian_matrix":
        rows = min(2 * size, 800) if size > 400 else 2 * size
        size = min(size, 400)
        matrix = _normal_from_uniform(rng.random((rows, size)), rng.random((rows, size)))
        values = np.linalg.eigvalsh(matrix.T @ matrix)
    else:
        values = -np.log1p(-u) + 1e-9
    return np.sort(values)


def _normal_from_uniform(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    return np.sqrt(-2.0 * np.log1p(-u)) * np.cos(2.0 * np.pi * v)
