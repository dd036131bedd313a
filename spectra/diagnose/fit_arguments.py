"""What a power-law fit is called with: the same for a layer's own spectrum and for its resampled ones."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from spectra.esd.spectrum import Spectrum
from spectra.results.settings import AnalysisSettings

# WeightWatcher 0.7.7's rule for short spectra: bias-corrected, at least 8 values in the tail.
_SMALL_SAMPLE, _SMALL_SAMPLE_MIN_TAIL = 20, 8


# What WeightWatcher fits by itself; for the other strategies it calls powerlaw, which has no such rule.
_WITH_SMALL_SAMPLE_RULE = ("ks", "clip", "clip_compat")


def fit_arguments(fitted: Spectrum, settings: AnalysisSettings) -> dict[str, Any]:
    """Return the keyword arguments of :func:`spectra.fit_power_law`, beside ``xmin`` and ``num_matrices``.

    Args:
        fitted: The spectrum.
        settings: Resolved settings.

    Returns:
        The arguments.
    """
    # Inverses have been taken of what counts as no zero, so that all of them count.
    null_threshold = 0.0 if settings.inverse else null_threshold_of(fitted, settings)
    num_values = len(fitted.eigenvalues) - int(np.searchsorted(fitted.eigenvalues, null_threshold, side="right"))
    small = settings.small_sample_rule and num_values < _SMALL_SAMPLE and settings.xmin in _WITH_SMALL_SAMPLE_RULE
    return {
        "xmin_pos": settings.xmin_pos,
        "num_tail": settings.num_tail,
        "max_fingers": settings.max_fingers,
        "finger_threshold": settings.finger_threshold,
        "min_tail": _SMALL_SAMPLE_MIN_TAIL if small else settings.min_tail,
        "null_threshold": null_threshold,
        "bias_correction": small,
    }


def is_round_off(value: float, spectrum: Spectrum) -> bool:
    r"""Tell whether an eigenvalue is round-off of zero, for settings that let all of them into a fit.

    The threshold of a Gram matrix, :math:`M \epsilon \lambda_{max}`, holds in the worst case. Errors of sums grow as the root
    of their length (Higham and Mary, SIAM Journal on Scientific Computing 41, 2019): what is below
    :math:`\sqrt{M} \epsilon \lambda_{max}` says nothing of the weights.

    Args:
        value: The eigenvalue.
        spectrum: Of which it is one.

    Returns:
        As said.
    """
    threshold = spectrum.null_threshold
    if spectrum.method == "gram":
        unit = float(np.finfo(spectrum.precision).eps) * float(spectrum.eigenvalues[-1])
        threshold = min(threshold, math.sqrt(threshold * unit))
    return value <= threshold


def null_threshold_of(spectrum: Spectrum, settings: AnalysisSettings) -> float:
    """Return the value up to which eigenvalues stay out of a fit.

    Args:
        spectrum: The spectrum.
        settings: Resolved settings.

    Returns:
        The profile's threshold, or that of the arithmetic.
    """
    return spectrum.null_threshold if settings.evals_threshold is None else settings.evals_threshold
