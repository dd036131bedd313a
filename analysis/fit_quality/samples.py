"""Spectra whose nature is known: noise of many kinds, matrices that are no plain noise, and planted power laws."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

import spectra

Array = np.ndarray[Any, np.dtype[Any]]
Rng = np.random.Generator
Entries = Callable[[Rng, tuple[int, int]], Array]


def _rounded_to_bf16(x: Array) -> Array:
    """Keep the upper 16 bits of a float32, rounded to nearest even."""
    bits = x.astype(np.float32).view(np.uint32)
    return ((bits + 0x7FFF + ((bits >> 16) & 1)) & np.uint32(0xFFFF0000)).view(np.float32)


def _sparse(share: float) -> Entries:
    return lambda rng, shape: rng.standard_normal(shape) * (rng.random(shape) < share)


def _truncated_normal(rng: Rng, shape: tuple[int, int]) -> Array:
    """Draw as ``torch.nn.init.trunc_normal_`` cut at two standard deviations, a usual start of transformers."""
    from scipy.stats import truncnorm

    drawn: Array = truncnorm.ppf(rng.random(shape), -2.0, 2.0)
    return drawn


def _orthogonal(rng: Rng, shape: tuple[int, int]) -> Array:
    """Draw as ``torch.nn.init.orthogonal_`` in float32: all eigenvalues are 1 up to round-off."""
    tall = rng.standard_normal((max(shape), min(shape)))
    q = np.linalg.qr(tall)[0].astype(np.float32)
    return q if shape[0] >= shape[1] else q.T


# The thresholds were chosen on these, in a trial with other seeds ...
CHOSEN_ON: dict[str, Entries] = {
    "Gaussian": lambda rng, shape: rng.standard_normal(shape),
    "uniform": lambda rng, shape: rng.uniform(-1.0, 1.0, shape),  # Xavier and Kaiming uniform: the scale does not matter
    "Rademacher": lambda rng, shape: rng.choice([-1.0, 1.0], shape),
    "Laplace": lambda rng, shape: rng.laplace(size=shape),
    "Student t, 5 degrees": lambda rng, shape: rng.standard_t(5, shape),
    "Student t, 6 degrees": lambda rng, shape: rng.standard_t(6, shape),
    "Student t, 10 degrees": lambda rng, shape: rng.standard_t(10, shape),
    "sparse Gaussian, 50 %": _sparse(0.5),
    "sparse Gaussian, 10 %": _sparse(0.1),
}
# ... and these were first seen when they were tested.
HELD_OUT: dict[str, Entries] = {
    "truncated normal": _truncated_normal,
    "Gaussian in bf16": lambda rng, shape: _rounded_to_bf16(0.02 * rng.standard_normal(shape)),
    "uniform in bf16": lambda rng, shape: _rounded_to_bf16(rng.uniform(-0.05, 0.05, shape)),
    "logistic": lambda rng, shape: rng.logistic(size=shape),
    "Student t, 7 degrees": lambda rng, shape: rng.standard_t(7, shape),
    "sparse Gaussian, 25 %": _sparse(0.25),
    "orthogonal": _orthogonal,
}

# (rows, cols), or (rows, cols, number of kernel positions): a convolution, whose positions are pooled.
Shape = tuple[int, ...]
SHAPES_CHOSEN_ON: tuple[Shape, ...] = (
    *[(n, n) for n in (16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)],
    *[(24, 18), (32, 16), (64, 32), (64, 48), (96, 64), (128, 64), (256, 128), (256, 64), (512, 64), (1024, 64)],
    *[(2560, 32), (5120, 64), (192, 128), (512, 384), (512, 256), (1024, 512), (1536, 384), (1024, 128), (4096, 128)],
    *[(16, 16, 9), (32, 16, 9), (32, 32, 9), (64, 64, 9), (128, 64, 9), (128, 128, 9), (64, 3, 49), (96, 32, 25)],
)
SHAPES_HELD_OUT: tuple[Shape, ...] = (
    *[(20, 20), (40, 40), (80, 80), (160, 160), (320, 320), (36, 27), (80, 60), (172, 64), (300, 200), (448, 224)],
    *[(640, 80), (960, 320), (40, 640), (24, 24, 9), (48, 48, 9), (48, 96, 9), (32, 8, 25)],
    *[(4, 4, 288), (8, 8, 72), (4, 16, 144)],  # convolutions in groups
)
LARGE: tuple[Shape, ...] = ((2048, 512), (3072, 768), (1024, 1024), (20000, 256), (256, 256, 9))


def spectrum(entries: Entries, rng: Rng, shape: Shape) -> Array:
    """Draw a matrix, or the matrices of a convolution, and return the ascending eigenvalues."""
    rows, cols, positions = shape if len(shape) == 3 else (*shape, 1)
    found = [spectra.eigenvalues(entries(rng, (rows, cols))) for _ in range(positions)]
    return np.sort(np.concatenate(found))


def noise_cells(*, held_out: bool) -> Iterator[tuple[str, Entries, Shape]]:
    """Yield distribution and shape of the half that thresholds are chosen on, or of the half they are tested on."""
    kinds = CHOSEN_ON | HELD_OUT if held_out else CHOSEN_ON
    shapes = SHAPES_CHOSEN_ON + SHAPES_HELD_OUT if held_out else SHAPES_CHOSEN_ON
    for name, entries in kinds.items():
        for shape in shapes:
            yield name, entries, shape


def _spiked(number: int) -> Entries:
    """Gaussian noise and a few directions at 1.5 to 1.5 sqrt(number) times the edge of its singular values."""

    def draw(rng: Rng, shape: tuple[int, int]) -> Array:
        left, right = (np.linalg.qr(rng.standard_normal((side, number)))[0] for side in shape)
        strengths = 1.5 * (np.sqrt(shape[0]) + np.sqrt(shape[1])) * np.sqrt(np.arange(1, number + 1))
        noise: Array = rng.standard_normal(shape)
        return noise + (left * strengths) @ right.T

    return draw


# Not noise in the sense of the claim: what the rule says to them is reported by itself.
SPECIAL: dict[str, Entries] = {
    "entries Student t, 3 degrees": lambda rng, shape: rng.standard_t(3, shape),
    "entries Student t, 2 degrees": lambda rng, shape: rng.standard_t(2, shape),
    "entries Pareto, density exponent 2.5": lambda rng, shape: rng.pareto(1.5, shape) * rng.choice([-1.0, 1.0], shape),
    "entries uniform on [0, 1] (a mean)": lambda rng, shape: rng.random(shape),
    "Gaussian and 1 spike": _spiked(1),
    "Gaussian and 3 spikes": _spiked(3),
    "Gaussian and 5 spikes": _spiked(5),
    "Gaussian, rows of lognormal(0.5) scale": lambda rng, s: rng.standard_normal(s) * np.exp(rng.normal(0, 0.5, (s[0], 1))),
    "product of two square Gaussians": lambda rng, s: rng.standard_normal((s[0], s[0])) @ rng.standard_normal(s),
    "product through a quarter of the side": lambda rng, s: (
        rng.standard_normal((s[0], s[1] // 4)) @ rng.standard_normal((s[1] // 4, s[1]))
    ),
}
SPECIAL_SHAPES: tuple[Shape, ...] = ((64, 64), (256, 256), (512, 128))


def pareto(rng: Rng, alpha: float, size: int) -> Array:
    """Draw from the density that falls as ``x ** -alpha`` from 1, ascending."""
    return np.sort((1.0 - rng.random(size)) ** (-1.0 / (alpha - 1.0)))


def planted(rng: Rng, kind: str, alpha: float, size: int) -> Array:
    """Return a spectrum with a power law in it: all of it, or a tail of 15 % beyond the edge of Gaussian noise."""
    if kind == "whole":  # a random orthogonal basis, so that the eigenvalues pass through a matrix
        basis = np.linalg.qr(rng.standard_normal((size, size)))[0]
        return spectra.eigenvalues(np.sqrt(pareto(rng, alpha, size))[:, None] * basis)
    rows, number = {"tail, aspect 1": size, "tail, aspect 4": 4 * size}[kind], max(10, round(0.15 * size))
    left, right = (np.linalg.qr(rng.standard_normal((side, number)))[0] for side in (rows, size))
    strengths = (np.sqrt(rows) + np.sqrt(size)) * np.sqrt(pareto(rng, alpha, number))
    return spectra.eigenvalues(rng.standard_normal((rows, size)) + (left * strengths) @ right.T)


PLANTED_KINDS = ("tail, aspect 1", "tail, aspect 4", "whole")
PLANTED_ALPHAS, PLANTED_SIZES = (2.0, 2.5, 3.0, 3.5, 4.0, 5.0, 6.0), (32, 64, 128, 256, 512)
