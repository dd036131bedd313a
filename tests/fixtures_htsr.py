"""The closed-form spectra of the specification, with their published answers (independent script, powerlaw 1.5)."""

from __future__ import annotations

import numpy as np


def quantiles(n: int) -> np.ndarray:
    """Midpoint quantile levels."""
    return (np.arange(n) + 0.5) / n


def pareto() -> np.ndarray:
    """Fixture A: 200 Pareto quantiles, alpha 2.5."""
    return (1.0 - quantiles(200)) ** (-1.0 / 1.5)


def bulk_and_tail() -> np.ndarray:
    """Fixture B: a uniform bulk of 150 values and 50 Pareto quantiles, alpha 3."""
    return np.concatenate([np.linspace(0.01, 0.99, 150), (1.0 - quantiles(50)) ** (-1.0 / 2.0)])


def quarter_circle() -> np.ndarray:
    """Fixture C: squared quantiles of the unit quarter circle, an ideal square Marchenko-Pastur spectrum."""
    grid = np.linspace(0.0, 2.0, 200_001)
    cumulative = np.cumsum(np.sqrt(4.0 - grid**2))
    return np.interp(quantiles(384), cumulative / cumulative[-1], grid) ** 2


# spectrum, alpha, xmin index, xmin, D, sigma, tail, median alpha, hill alpha, stable rank
ANSWERS = {
    "A": (
        pareto, 2.5063794514559943, 0, 1.0016701466226623, 0.0033645008566746, 0.106517112516461, 200,
        2.5128198030611872, 2.4977145291891345, 10.146395563483281,
    ),
    "B": (
        bulk_and_tail, 3.013450905797701, 149, 0.99, 0.012382179736251, 0.281939520355678, 51,
        2.8018335368976, 2.7702583631994138, 17.072313732150082,
    ),
    "C": (
        quarter_circle, 6.777252116656458, 347, 2.6372923475017527, 0.137407677560960, 0.949774397386054, 37,
        2.128679003134088, 2.1147513208055098, 98.05909527672142,
    ),
}  # fmt: skip
