"""Profiles: named sets of defaults for an analysis.

``default`` is what Spectra recommends. ``weightwatcher`` gives the numbers of WeightWatcher 0.7.7: convolution
eigenvalues halved, an absolute eigenvalue threshold, its size limits (applied silently there, listed as skipped here),
its rule for fewer than 20 eigenvalues, tied weights counted twice, labels without evidence. What stays different (NaN in
place of -1, grouped and depthwise convolutions among it) is listed in ``docs/weightwatcher.md``.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

from spectra.errors import InputError, did_you_mean
from spectra.esd.eigenvalues import METHODS, PRECISIONS
from spectra.esd.power_law import parse_xmin
from spectra.results.records import AnalysisSettings

# Values: WeightWatcher 0.7.7, constants.py and WW_powerlaw.py.
PROFILES = {
    "default": AnalysisSettings(),
    "weightwatcher": AnalysisSettings(
        profile="weightwatcher",
        conv_norm=0.5,
        min_evals=8,
        max_evals=15_000,
        max_side=50_000,
        evals_threshold=1e-5,
        small_sample_rule=True,
        entropy_epsilon=1e-10,
        sv_min_over_matrices="max",
        labels_need_evidence=False,
        drop_small=True,
        count_ties=True,
    ),
}


def resolve_settings(profile: str, **changes: Any) -> AnalysisSettings:
    """Take a profile and a user's changes, and check the result.

    Args:
        profile: Name of a profile.
        **changes: Fields of :class:`AnalysisSettings`; ``None`` means the profile's own.

    Returns:
        The settings.

    Raises:
        InputError: An unknown profile, or a value out of range.
    """
    if profile not in PROFILES:
        raise InputError(f"unknown profile {profile!r}.{did_you_mean(profile, PROFILES)} Known: {', '.join(PROFILES)}.")
    given = {name: value for name, value in changes.items() if value is not None}
    if "xmin" in given:
        given["xmin"] = parse_xmin(given["xmin"])
    for name in ("conv_norm", "min_evals", "xmin_pos", "num_tail"):
        if name in given:
            given[name] = _positive(name, given[name])
    settings = dataclasses.replace(PROFILES[profile], **given)
    for name, known in (("precision", PRECISIONS), ("method", METHODS)):
        value = getattr(settings, name)
        if value not in known:
            raise InputError(f"unknown {name} {value!r}.{did_you_mean(str(value), known)} Known: {', '.join(known)}.")
    if settings.xmin_pos != AnalysisSettings.xmin_pos and settings.xmin != "median":
        raise InputError(f"xmin_pos belongs to xmin 'median', not to {settings.xmin!r}. Set xmin, or leave xmin_pos out.")
    if settings.num_tail is not None and settings.xmin not in ("hill", "fixed"):
        raise InputError(f"num_tail belongs to xmin 'hill' or 'fixed', not to {settings.xmin!r}. Set xmin, or leave it out.")
    if settings.xmin == "fixed" and settings.num_tail is None:
        raise InputError("xmin 'fixed' needs num_tail, a number of values or a fraction; or give the value of xmin itself.")
    if not settings.xmin_pos > 1.0:
        raise InputError(f"xmin_pos: expected a number above 1, got {settings.xmin_pos}.")
    return settings


def _positive(name: str, value: Any) -> int | float:
    """Check a number and make it a plain Python one, which JSON can hold."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected a positive number, got {value!r}.") from None
    if not (number > 0 and math.isfinite(number)):
        raise InputError(f"{name}: expected a positive number, got {value}.")
    if name == "min_evals" and not number.is_integer():
        raise InputError(f"min_evals: expected a whole number, got {value}.")
    return int(number) if name in ("min_evals", "num_tail") and number.is_integer() else number


def as_patterns(patterns: str | Sequence[str]) -> tuple[str, ...]:
    """Accept one glob pattern or several.

    Args:
        patterns: A pattern or a sequence of them.

    Returns:
        A tuple.
    """
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)
