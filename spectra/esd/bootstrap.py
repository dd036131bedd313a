r"""What chance does to a power-law fit: a p-value for the law, and intervals for alpha and xmin, by resampling.

Both treat eigenvalues as independent draws. Those of a matrix repel each other and so scatter *less*: intervals are rather
too wide than too narrow, and a small distance proves less than the p-value says.

Each replica is searched again, so that the choice of xmin counts as part of the fit; the fast exact search makes that
affordable (a few hundred microseconds each at 400 eigenvalues).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike

from spectra.errors import InputError, TooFewEigenvaluesError
from spectra.esd.eigenvalues import FloatArray
from spectra.esd.power_law import CLIPPING, PowerLawFit, XminStrategy, ascending_spectrum, fit_power_law

if TYPE_CHECKING:
    import torch

# arXiv 0706.1062, section 4.1: a law is ruled out at p <= 0.1, and 1/4 epsilon^-2 samples give p to within epsilon (0.01).
PLAUSIBLE_ABOVE = 0.1
NUM_PVALUE_SAMPLES = 2500
# Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3: about 1000 for percentile intervals.
NUM_INTERVAL_SAMPLES = 1000


@dataclass(frozen=True)
class KsPvalue:
    """How often a true power law lies as far from its data as this fit does.

    Attributes:
        pvalue: Share of the samples with a distance of at least ``ks_distance``.
        std_error: Monte Carlo error of ``pvalue``: ``sqrt(p (1 - p) / num_samples)``.
        ks_distance: Distance of the fit that is judged.
        is_plausible: Whether ``pvalue`` is above 0.1, the authors' choice. ``False``: not a power law; ``True``: no
            evidence against one, which for a short tail says little.
        num_samples: Samples that could be fitted.
        num_failed: Samples that could not.
    """

    pvalue: float
    std_error: float
    ks_distance: float
    is_plausible: bool
    num_samples: int
    num_failed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python values."""
        return dataclasses.asdict(self)


@dataclass(frozen=True)
class BootstrapInterval:
    """Percentile intervals of a fit.

    Attributes:
        alpha: Exponent of the spectrum itself.
        alpha_low: Lower end of the interval of the exponent.
        alpha_high: Upper end.
        xmin: Start of the tail of the spectrum itself.
        xmin_low: Lower end of the interval of the start.
        xmin_high: Upper end.
        level: Share of the resampled fits between the ends.
        num_samples: Resampled spectra that could be fitted.
        num_failed: Resampled spectra that could not, for lack of different values in the tail.
    """

    alpha: float
    alpha_low: float
    alpha_high: float
    xmin: float
    xmin_low: float
    xmin_high: float
    level: float
    num_samples: int
    num_failed: int

    def to_dict(self) -> dict[str, Any]:
        """Return the fields as plain Python values."""
        return dataclasses.asdict(self)


def ks_pvalue(
    eigenvalues: ArrayLike | torch.Tensor,
    fit: PowerLawFit,
    *,
    seed: int | np.random.Generator,
    num_samples: int = NUM_PVALUE_SAMPLES,
    min_tail: int = 2,
    bias_correction: bool = False,
) -> KsPvalue:
    r"""Test whether the tail of a spectrum may come from a power law, by a semi-parametric bootstrap.

    Each of the samples has as many values as the spectrum: with probability ``num_tail / n`` a draw from the fitted law,
    else one of the eigenvalues under ``xmin``. It is fitted as the spectrum was: a fit whose xmin was searched (``"ks"``)
    is searched again, any other keeps its xmin.

    Source: Clauset, Shalizi and Newman (2009), arXiv 0706.1062, section 4.1.

    Args:
        eigenvalues: The spectrum that was fitted.
        fit: Its fit.
        seed: Of the samples: a number, or a generator to draw from.
        num_samples: Default 2500: the p-value is good to about 0.01 (the source).
        min_tail: As in the fit. Default 2.
        bias_correction: As in the fit. Default off.

    Returns:
        The p-value. A large one is no proof: other laws may do as well (:func:`compare_alternatives`).

    Raises:
        InputError: A fit of another spectrum, a fit without its largest values (``"clip"``), or too few samples.
        TooFewEigenvaluesError: No sample could be fitted.
    """
    _require_samples(num_samples)
    values = fitted_values(eigenvalues, fit)
    below = values[: int(np.searchsorted(values, fit.xmin))]
    num_above = len(values) - len(below)
    rng = _random(seed)
    xmin = "ks" if fit.strategy is XminStrategy.KS else fit.xmin

    def draw() -> FloatArray:
        size = int(rng.binomial(len(values), num_above / len(values)))
        # 1 - u lies in (0, 1]; the logarithm keeps a large exponent's digits and a small one's range.
        tail = fit.xmin * np.exp(-np.log1p(-rng.random(size)) / (fit.alpha - 1.0))
        bulk = below[rng.integers(0, len(below), len(values) - size)] if len(below) else below
        return np.concatenate([bulk, tail])

    fits = _fits(draw, num_samples, xmin=xmin, min_tail=min_tail, bias_correction=bias_correction)
    distances = np.array([replica.ks_distance for replica in fits])
    pvalue = float(np.mean(distances >= fit.ks_distance))
    return KsPvalue(
        pvalue=pvalue,
        std_error=math.sqrt(pvalue * (1.0 - pvalue) / len(fits)),
        ks_distance=fit.ks_distance,
        is_plausible=pvalue > PLAUSIBLE_ABOVE,
        num_samples=len(fits),
        num_failed=num_samples - len(fits),
    )


def bootstrap_alpha(
    eigenvalues: ArrayLike | torch.Tensor,
    *,
    seed: int | np.random.Generator,
    xmin: str | float = "ks",
    num_samples: int = NUM_INTERVAL_SAMPLES,
    level: float = 0.95,
    null_threshold: float = 0.0,
    **arguments: Any,
) -> BootstrapInterval:
    r"""Compute percentile intervals of alpha and xmin, by fitting resampled spectra.

    Each sample draws as many eigenvalues as there are, with replacement. Values drawn several times count as what they
    are, one candidate and one step of the empirical distribution.

    Source: Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 13.3.

    Args:
        eigenvalues: Shape ``(n,)``, any order.
        seed: Of the samples: a number, or a generator to draw from.
        xmin: As :func:`spectra.fit_power_law` takes it. Default ``"ks"``: the search is part of what is resampled.
        num_samples: Default 1000 (the source).
        level: Share of the fits between the ends. Default 0.95: the usual one.
        null_threshold: Values at or below it are numerically zero and left out. Default 0.
        **arguments: Further arguments of :func:`spectra.fit_power_law`.

    Returns:
        The intervals. With ``"ks"`` they need not be centred on the fit of the spectrum itself: a sample has ties, and
        its xmin moves.

    Raises:
        InputError: A bad spectrum or argument.
        TooFewEigenvaluesError: No tail in the spectrum, or in none of the samples.

    Example:
        >>> u = np.random.default_rng(0).random(500)
        >>> interval = bootstrap_alpha(u ** (-1 / 1.5), xmin=1.0, seed=0)  # a Pareto sample, alpha = 2.5
        >>> interval.alpha_low < 2.5 < interval.alpha_high
        True
    """
    _require_samples(num_samples)
    if not 0.0 < level < 1.0:
        raise InputError(f"level: expected a number in (0, 1), got {level}.")
    ordered, num_null = ascending_spectrum(eigenvalues, null_threshold=null_threshold)
    values = ordered[num_null:]
    own = fit_power_law(values, xmin, **arguments)
    rng = _random(seed)
    fits = _fits(lambda: values[rng.integers(0, len(values), len(values))], num_samples, xmin=xmin, **arguments)
    ends = [(1.0 - level) / 2.0, (1.0 + level) / 2.0]
    alpha_low, alpha_high = np.quantile([fit.alpha for fit in fits], ends)
    xmin_low, xmin_high = np.quantile([fit.xmin for fit in fits], ends)
    return BootstrapInterval(
        alpha=own.alpha,
        alpha_low=float(alpha_low),
        alpha_high=float(alpha_high),
        xmin=own.xmin,
        xmin_low=float(xmin_low),
        xmin_high=float(xmin_high),
        level=level,
        num_samples=len(fits),
        num_failed=num_samples - len(fits),
    )


def fitted_values(eigenvalues: ArrayLike | torch.Tensor, fit: PowerLawFit) -> FloatArray:
    """Return the positive values that a fit was made from, and check that they are.

    Args:
        eigenvalues: The spectrum that was fitted.
        fit: Its fit.

    Returns:
        Shape ``(num_eigenvalues - num_null,)``, ascending.

    Raises:
        InputError: A fit of another spectrum, or one that left out the largest values.
    """
    if fit.strategy in CLIPPING and fit.num_fingers:
        raise InputError(
            f"fit: its largest eigenvalues were clipped ({fit.strategy}), so it does not describe the whole tail. "
            'Fit with xmin="ks", or pass the eigenvalues without the fingers to both.'
        )
    ordered, _ = ascending_spectrum(eigenvalues)
    values = ordered[fit.num_null :]
    if len(ordered) != fit.num_eigenvalues or len(values) - int(np.searchsorted(values, fit.xmin)) < fit.num_tail:
        raise InputError(
            f"fit: {fit.num_tail} of {fit.num_eigenvalues} eigenvalues from {fit.xmin:.6g} were fitted; the {len(ordered)} "
            "given are others. Pass the spectrum that was fitted."
        )
    return values


def _require_samples(num_samples: int) -> None:
    if not isinstance(num_samples, int | np.integer) or num_samples < 1:
        raise InputError(f"num_samples: expected a whole number of at least 1, got {num_samples!r}.")


def _random(seed: int | np.random.Generator) -> np.random.Generator:
    try:
        return np.random.default_rng(seed)
    except (TypeError, ValueError):
        raise InputError(f"seed: expected a whole number of at least 0, or a generator of NumPy's, got {seed!r}.") from None


def _fits(draw: Callable[[], FloatArray], num_samples: int, **arguments: Any) -> list[PowerLawFit]:
    fits = []
    for _ in range(num_samples):
        try:
            fits.append(fit_power_law(draw(), **arguments))
        except TooFewEigenvaluesError:  # a sample of equal values; the caller counts them
            continue
    if not fits:
        raise TooFewEigenvaluesError(f"none of {num_samples} samples has a tail that can be fitted. Lower xmin.")
    return fits
