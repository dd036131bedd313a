"""Hypothesis strategies for matrices and spectra, and the tolerances by dtype; kept in one place."""

from __future__ import annotations

import hypothesis.strategies as st
import numpy as np

from spectra.matrices.stripes import Stripes, interleaved

# Relative error of alpha when the arithmetic is of this dtype: float64 keeps the sums of logarithms of n <= 1e4 values to
# n * eps; a float32 Gram with float64 eigenvalues was measured at 2e-6 (performance.md), with a margin of ten.
ALPHA_RTOL = {"float64": 1e-10, "float32": 2e-5}


@st.composite
def spectra(draw: st.DrawFn, min_size: int = 2, max_size: int = 300) -> np.ndarray:
    """Positive spectra over several decades: mixtures of bulk and tail, rounded at times so that values repeat."""
    seed = draw(st.integers(0, 2**32 - 1))
    size = draw(st.integers(min_size, max_size))
    exponent = draw(st.floats(1.1, 6.0))
    share = draw(st.floats(0.0, 1.0))
    rng = np.random.default_rng(seed)
    values = np.where(rng.random(size) < share, rng.random(size) + 1e-3, (1.0 - rng.random(size)) ** (-1.0 / (exponent - 1.0)))
    if draw(st.booleans()):
        values = np.round(values, draw(st.integers(1, 3))) + 0.1
    return np.sort(values)


@st.composite
def matrices(draw: st.DrawFn, max_side: int = 40) -> np.ndarray:
    """Matrices of any shape and scale, of full or deficient rank."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, cols = draw(st.integers(1, max_side)), draw(st.integers(1, max_side))
    rank = draw(st.integers(1, min(rows, cols)))
    scale = 10.0 ** draw(st.integers(-6, 6))
    return scale * rng.standard_normal((rows, rank)) @ rng.standard_normal((rank, cols))


@st.composite
def low_rank_factors(draw: st.DrawFn, max_side: int = 40, max_rank: int = 12) -> tuple[np.ndarray, np.ndarray]:
    """Pairs ``(rows, r)`` and ``(r, cols)``, of any scale each; at times with a zero or a repeated direction."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    rows, rank, cols = draw(st.integers(1, max_side)), draw(st.integers(1, max_rank)), draw(st.integers(1, max_side))
    left = 10.0 ** draw(st.integers(-6, 6)) * rng.standard_normal((rows, rank))
    right = 10.0 ** draw(st.integers(-6, 6)) * rng.standard_normal((rank, cols))
    if draw(st.booleans()):
        left[:, 0] = 0.0 if draw(st.booleans()) else left[:, -1]
    return left, right


@st.composite
def layouts(draw: st.DrawFn) -> tuple[dict[str, Stripes], int]:
    """Parts of a fused weight that take turns along an axis, and the length of the axis."""
    widths = [(name, draw(st.integers(1, 5))) for name in "abc"[: draw(st.integers(1, 3))]]
    count = draw(st.integers(1, 6))
    return interleaved(count, widths), count * sum(width for _, width in widths)
