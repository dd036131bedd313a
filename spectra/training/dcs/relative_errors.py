"""Errors of a regression made discordances, as in AdaBoost.R2 (Drucker 1997) with a teacher's outputs for labels."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra.errors import InputError
from spectra.policies.drop_prob import chosen
from spectra.policies.policy_options import is_number

ERROR_FORMS = ("linear", "square", "exponential")


def relative_errors(errors: ArrayLike, *, form: str = "linear", quantile: float | None = None) -> NDArray[np.float64]:
    """Turn the errors of a regression into discordances.

    With D the largest error, d = e / D (``linear``), its square, or 1 - exp(-d).

    Source: AdaBoost.R2 (Drucker 1997); the quantile is ours.

    Args:
        errors: Shape ``(N,)``, at least 0: how far two answers are apart.
        form: ``linear``, ``square`` or ``exponential``.
        quantile: In (0, 1]: D is this quantile, and larger errors count as D. Default: the largest error.

    Returns:
        Shape ``(N,)``, in [0, 1]; 0 if D is 0, and NaN where the error is not finite.

    Raises:
        InputError: An unknown form, or a quantile out of range.

    Example:
        >>> relative_errors([0.0, 1.0, 4.0], form="square").tolist()
        [0.0, 0.0625, 1.0]
    """
    chosen(form, ERROR_FORMS, "error_form")
    if quantile is not None and not (is_number(quantile) and 0.0 < quantile <= 1.0):
        raise InputError(f"error_quantile: expected a number in (0, 1], got {quantile!r}.")
    e = np.asarray(errors, dtype=np.float64)
    known = np.isfinite(e)
    largest = np.quantile(e[known], 1.0 if quantile is None else quantile) if known.any() else 0.0
    d = np.minimum(e, largest) / largest if largest > 0.0 else np.zeros_like(e)
    shaped = {"linear": d, "square": d**2, "exponential": -np.expm1(-d)}[form]
    return np.where(known, shaped, math.nan)
