"""One row of numbers for each spectrum, and the rules that could be built on them."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from samples import Array

import spectra

# The rule under test, as in spectra/esd/reliability.py; stated here so that each part can be varied and left out.
MAX_KS_DISTANCE, MIN_TAIL, MIN_STANDARD_ERRORS, MAX_SHARE = 0.15, 10, 2.0, 0.25

# Each is one number; larger speaks for a heavy tail.
CANDIDATES = {
    "excess": "Hill's mean log excess against a random square matrix, at most a quarter, in standard errors (chosen)",
    "excess_tenth": "the same, at most a tenth",
    "excess_half": "the same, at most a half",
    "excess_shape": "the same, against a random matrix of the true aspect ratio",
    "log_range": "log10(xmax / xmin) of the tail",
    "largest_over_median": "largest eigenvalue over the median",
    "second_over_median": "second largest eigenvalue over the median",
    "inverse_stable_rank": "largest eigenvalue over the mean",
    "greenwood": "mean square over squared mean of ln(x / xmin), 2 for a power law: curvature of the log-log tail",
    "exponential_ratio": "normalised log-likelihood ratio of the power law to an exponential at the same xmin",
    "hill_stability": "minus |alpha of the upper half of the tail / alpha - 1|",
    "minus_ks_critical": "minus D sqrt(k)",
    "minus_relative_error": "minus standard error of alpha / alpha",
}


@cache
def random_excess(aspect_ratio: float) -> tuple[Array, Array]:
    """Tabulate the share above a point of the Marchenko–Pastur law and the mean log excess there, by plain sums."""
    c = 1.0 / aspect_ratio
    low, high = (1.0 - np.sqrt(c)) ** 2, (1.0 + np.sqrt(c)) ** 2
    angle = np.linspace(0.0, np.pi, 200_001)[1:-1]
    x = low + 0.5 * (high - low) * (1.0 + np.cos(angle))
    weight = np.sin(angle) ** 2 / x
    share = np.cumsum(weight)
    mean_log = np.cumsum(weight * np.log(x)) / share
    return (share - weight / 2.0) / share[-1], mean_log - np.log(x)


def excess(values: Array, num_tail: int, max_share: float = MAX_SHARE, aspect_ratio: float = 1.0) -> float:
    """Return how many standard errors the tail is longer than that of a random matrix."""
    size = min(num_tail, int(np.ceil(max_share * len(values))))
    tail = values[-size:]
    expected = np.interp(size / len(values), *random_excess(aspect_ratio))
    return float((np.log(tail / tail[0]).mean() / expected - 1.0) * np.sqrt(size))


def describe(values: Array, aspect_ratio: float, strategy: str = "ks", num_matrices: int = 1) -> dict[str, Any] | None:
    """Fit a spectrum and compute all candidates; ``None`` where no fit is possible (an answer that no one relies on)."""
    try:
        fit = spectra.fit_power_law(values, strategy, null_threshold=1e-14 * values[-1], num_matrices=num_matrices)
    except spectra.TooFewEigenvaluesError:
        return None
    values = values[fit.num_null :]
    n, k, d = len(values), fit.num_tail, fit.ks_distance
    tail = values[-k:]
    log_ratio = np.log(tail / fit.xmin)
    over = tail - fit.xmin
    power_law = np.log((fit.alpha - 1.0) / fit.xmin) - fit.alpha * log_ratio
    difference = power_law + np.log(over.mean()) + over / over.mean()
    half = values[-max(k // 2, 2) :]
    return {
        "alpha": fit.alpha,
        "ks_distance": d,
        "num_tail": k,
        "num_values": n,
        "num_matrices": num_matrices,
        "in_package": fit.is_reliable,
        "before": d <= 0.15 and k >= 10 and fit.xmin_index - fit.num_null >= 0.01 * n,
        "excess": excess(values, k),
        "excess_tenth": excess(values, k, 0.1),
        "excess_half": excess(values, k, 0.5),
        "excess_shape": excess(values, k, MAX_SHARE, aspect_ratio),
        "log_range": float(np.log10(tail[-1] / fit.xmin)),
        "largest_over_median": float(values[-1] / np.median(values)),
        "second_over_median": float(values[-2] / np.median(values)),
        "inverse_stable_rank": float(values[-1] / values.mean()),
        "greenwood": float((log_ratio**2).mean() / log_ratio.mean() ** 2),
        "exponential_ratio": float(difference.mean() / max(difference.std(), 1e-12) * np.sqrt(k)),
        "hill_stability": -abs((1.0 + 1.0 / max(np.log(half / half[0]).mean(), 1e-12)) / fit.alpha - 1.0),
        "minus_ks_critical": -d * float(np.sqrt(k)),
        "minus_relative_error": -fit.alpha_std_error / fit.alpha,
    }


def passes(row: dict[str, Any], *, ks: bool = True, tail: bool = True, longer: bool = True, each: bool = True) -> bool:
    """Apply the rule, or what is left of it without some of its parts."""
    return (
        (not ks or row["ks_distance"] <= MAX_KS_DISTANCE)
        and (not tail or row["num_tail"] >= MIN_TAIL)
        and (not longer or row["excess"] > MIN_STANDARD_ERRORS)
        and (not each or row["num_tail"] >= row["num_matrices"])
    )


def threshold(noise: list[dict[str, Any]], candidate: str, rate: float) -> float:
    """Return the value that lets this share of the noise through with an alpha in [2, 6], besides the first two parts."""
    plausible = [row for row in noise if passes(row, longer=False) and 2.0 <= row["alpha"] <= 6.0]
    found = sorted((row[candidate] for row in plausible), reverse=True)
    return float(found[min(int(rate * len(noise)), len(found) - 1)])
