"""The Marchenko-Pastur fit by a kernel density, as WeightWatcher does it, with and without its slip for square matrices."""

from __future__ import annotations

import math

import numpy as np

from spectra.esd.eigenvalues import FloatArray

# WeightWatcher 0.7.7: RMT_Util.resid_mp and fit_density_with_range, WeightWatcher.mp_fit.
_BANDWIDTH, _NUM_POINTS, _BEYOND, _LOWEST_DENSITY = 0.1, 1000, 0.5, 0.01
_GRID_START, _GRID_STOP, _GRID_STEP = 0.05, 2.0, 0.01
_REJECTED = 1000.0


def fit_density(values: FloatArray, aspect_ratio: float, *, compat: bool) -> tuple[float, str]:
    """Fit the standard deviation of a Marchenko-Pastur bulk to a kernel density by least squares.

    A triangular kernel of width 0.1 on 1000 points; points of density under 0.01 do not count; a search on a grid, then a
    simplex. For square matrices the quarter circle is fitted to the singular values.

    Source: WeightWatcher 0.7.7. Its quarter circle has the radius 2 whatever sigma, so that it can only be fitted in height;
    without ``compat`` the radius is 2 sigma.

    Args:
        values: Shape ``(n,)``, ascending eigenvalues of mean 1.
        aspect_ratio: Larger over smaller side.
        compat: Give WeightWatcher's number.

    Returns:
        Sigma, NaN where there is nothing to fit; and what speaks against it, or an empty string.
    """
    from scipy.optimize import fmin

    is_square = aspect_ratio == 1.0
    data = np.sqrt(values) if is_square else values
    points = np.linspace(0.0, data[-1] + _BEYOND, _NUM_POINTS)
    density = triangular_density(data, points, _BANDWIDTH)
    counts = density > _LOWEST_DENSITY
    points, density = points[counts], density[counts]
    if len(points) == 0:
        return math.nan, f"the spectrum is too wide for a kernel of {_BANDWIDTH} at mean 1: no density above {_LOWEST_DENSITY}"
    mode = points[np.argmax(density)]

    def cost(sigma: float) -> float:
        low, high, model = _bulk(points, aspect_ratio, sigma, fixed_radius=compat)
        # As WeightWatcher, which does not look at the edges of the quarter circle.
        if not (compat and is_square) and (high < mode or high > points[-1] or low > mode):
            return _REJECTED**2 * len(points)
        return float(((model - density) ** 2).sum())

    largest_sigma = math.sqrt(values[-1]) / (1.0 + 1.0 / math.sqrt(aspect_ratio))
    start, stop, step = (largest_sigma * part for part in (_GRID_START, _GRID_STOP, _GRID_STEP))
    grid = np.arange(math.ceil((stop - start) / step)) * step + start
    best = grid[np.argmin([cost(sigma) for sigma in grid])]
    polished, lowest, *_ = fmin(lambda x: cost(float(x[0])), best, full_output=True, disp=False)
    if lowest >= _REJECTED**2 * len(points):
        doubt = "no Marchenko-Pastur density has its mode and edges within the spectrum"
        return (float(polished[0]) if compat else math.nan), doubt
    return float(polished[0]), ""


def triangular_density(data: FloatArray, points: FloatArray, bandwidth: float) -> FloatArray:
    """Compute a kernel density with a triangular kernel.

    Args:
        data: Shape ``(n,)``, ascending.
        points: Where the density is computed.
        bandwidth: Half the width of the kernel's foot.

    Returns:
        The density at each point.
    """
    first = np.searchsorted(data, points - bandwidth)
    last = np.searchsorted(data, points + bandwidth)
    # One sum per point: differences of cumulative sums would be faster and lose the digits that a comparison needs.
    sums = [(bandwidth - np.abs(data[a:b] - x)).sum() for a, b, x in zip(first, last, points, strict=True)]
    return np.array(sums) / (len(data) * bandwidth**2)


def _bulk(x: FloatArray, aspect_ratio: float, sigma: float, *, fixed_radius: bool) -> tuple[float, float, FloatArray]:
    """Return the lower and upper edge of the model, and its values: eigenvalues, or singular values of square matrices."""
    variance = sigma * sigma
    if aspect_ratio == 1.0:
        radius = 2.0 if fixed_radius else 2.0 * sigma
        return 0.0, radius, np.sqrt(np.maximum(radius**2 - x**2, 0.0)) / (math.pi * variance)
    low, high = (variance * (1.0 + sign / math.sqrt(aspect_ratio)) ** 2 for sign in (-1.0, 1.0))
    root = np.sqrt(np.maximum((high - x) * (x - low), 0.0))
    return low, high, root * aspect_ratio / (2.0 * math.pi * variance * np.maximum(x, np.finfo(float).tiny))
