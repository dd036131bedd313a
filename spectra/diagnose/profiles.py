"""Profiles: named sets of defaults for an analysis.

``default`` is what Spectra recommends. ``weightwatcher`` gives the numbers of WeightWatcher 0.7.7: convolution
eigenvalues halved, an absolute eigenvalue threshold, its size limits (applied silently there, listed as skipped here),
its rule for fewer than 20 eigenvalues, tied weights counted twice, labels without evidence. It keeps NaN where
WeightWatcher writes -1, and does not fit depthwise convolutions.
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
    settings = dataclasses.replace(PROFILES[profile], **given)
    for name, known in (("precision", PRECISIONS), ("method", METHODS)):
        value = getattr(settings, name)
        if value not in known:
            raise InputError(f"unknown {name} {value!r}.{did_you_mean(str(value), known)} Known: {', '.join(known)}.")
    if settings.xmin == "fixed" and settings.num_tail is None:
        raise InputError("xmin 'fixed' needs num_tail, a number of values or a fraction; or give the value of xmin itself.")
    for name in ("conv_norm", "min_evals", "xmin_pos", "num_tail"):
        value = getattr(settings, name)
        if value is not None and not (value > 0 and math.isfinite(value)):
            raise InputError(f"{name}: expected a positive number, got {value}.")
    return settings


def as_patterns(patterns: str | Sequence[str]) -> tuple[str, ...]:
    """Accept one glob pattern or several.

    Args:
        patterns: A pattern or a sequence of them.

    Returns:
        A tuple.
    """
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)
