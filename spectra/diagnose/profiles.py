"""Profiles: named sets of defaults for an analysis.

``default`` is what Spectra recommends. ``weightwatcher`` gives the numbers of WeightWatcher 0.7.7: convolution
eigenvalues halved, an absolute eigenvalue threshold, its size limits (applied silently there, listed as skipped here),
its rule for fewer than 20 eigenvalues, tied weights counted twice, labels without evidence. What stays different (NaN in
place of -1, grouped and depthwise convolutions among it) is listed in ``docs/weightwatcher.md``. ``tempbalance`` gives the
numbers of the TempBalance family's code: float32, the upper half of each spectrum, dense layers and 2-D convolutions.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Sequence
from typing import Any, Unpack

from spectra.errors import InputError, did_you_mean
from spectra.esd.power_law import parse_xmin
from spectra.matrices import KINDS
from spectra.results.settings import AnalysisSettings, SettingsChanges

# Smallest value of each number; the settings that are counts; the settings that belong to one way of choosing xmin.
_LEAST = {
    "conv_norm": 0, "xmin_pos": 0, "num_tail": 0, "finger_threshold": 0, "min_evals": 1, "min_tail": 2, "evals_threshold": 0,
    "max_fingers": 3, "window_rows": 2,
    "windows_per_side": 1, "window_aspect": 0, "pvalue_samples": 0, "bootstrap_samples": 0,
    "num_replicas": 1, "max_evals": 1, "max_side": 1, "seed": 0,
}  # fmt: skip
_WHOLE = set(_LEAST) - {"conv_norm", "xmin_pos", "num_tail", "finger_threshold", "window_aspect", "evals_threshold"}
_BELONGS_TO = {
    "xmin_pos": ("median",),
    "num_tail": ("hill", "fixed"),
    "max_fingers": ("clip", "clip_compat"),
    "finger_threshold": ("clip", "clip_compat"),
}

# Settings that say how another one works, and do nothing without it: what must be on, and how to say it.
_WORK_WITH = {
    "window_rows": (("subsample",), "subsample 'farms'"),
    "window_aspect": (("subsample",), "subsample 'farms'"),
    "windows_per_side": (("subsample",), "subsample 'farms'"),
    "mp_method": (("mp_fit", "randomize"), "mp_fit and randomize"),
    "tw_level": (("mp_fit", "randomize"), "mp_fit and randomize"),
    "num_replicas": (("randomize",), "randomize"),
}
# Fits on other numbers than the eigenvalues of the weight.
_OTHER_SPECTRA = {"inverse": "inverse", "subsample": "subsample 'farms'"}

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
        split_fused="none",
        mp_method="kde_compat",
        truncated_search=True,
        tw_level="ww",
    ),
    # `tempbalance.md` a.1 and a.2; `htsr.md` section 14.
    "tempbalance": AnalysisSettings(
        profile="tempbalance",
        conv_norm=0.5,
        precision="float32",
        evals_threshold=0.0,  # they count all: in float32 the smallest of a square weight may look null, and move the median
        xmin="median",
        xmin_pos=2.0,
        kinds=("linear", "conv2d"),
        split_fused="none",
    ),
}


def resolve_settings(profile: str, **changes: Unpack[SettingsChanges]) -> AnalysisSettings:
    """Take a profile and a user's changes, and check the result.

    Args:
        profile: Name of a profile.
        **changes: Fields of :class:`AnalysisSettings`; ``None`` means the profile's own.

    Returns:
        The settings.

    Raises:
        InputError: An unknown profile or setting, or a value out of range.
    """
    if profile not in PROFILES:
        raise InputError(f"unknown profile {profile!r}.{did_you_mean(profile, PROFILES)} Known: {', '.join(PROFILES)}.")
    fields = {f.name: f for f in dataclasses.fields(AnalysisSettings) if f.metadata["group"]}
    unknown = [name for name in changes if name not in fields]
    if unknown:
        raise InputError(f"unknown setting {unknown[0]!r}.{did_you_mean(unknown[0], fields)} Known: {', '.join(fields)}.")
    given = {name: _checked(name, value, fields[name]) for name, value in changes.items() if value is not None}
    settings = dataclasses.replace(PROFILES[profile], **given)
    _check_together(settings)
    _check_used(settings, {name for name, value in given.items() if value != getattr(PROFILES[profile], name)})
    return settings


def _checked(name: str, value: Any, field: dataclasses.Field[Any]) -> Any:
    choices = field.metadata["choices"]
    if choices and value not in choices:
        raise InputError(f"unknown {name} {value!r}.{did_you_mean(str(value), choices)} Known: {', '.join(choices)}.")
    if name == "xmin":
        return parse_xmin(value)
    if name == "tw_level":
        return _level(value)
    if name in ("include", "exclude", "kinds"):
        return _words(value, KINDS if name == "kinds" else None)
    if name in _LEAST:
        return _number(name, value)
    if field.type == "bool" and not isinstance(value, bool):
        raise InputError(f"{name}: expected True or False, got {value!r}.")
    return value


def _check_together(settings: AnalysisSettings) -> None:
    defaults = AnalysisSettings()
    for name, strategies in _BELONGS_TO.items():
        if getattr(settings, name) != getattr(defaults, name) and settings.xmin not in strategies:
            which = " or ".join(f"'{strategy}'" for strategy in strategies)
            raise InputError(f"{name} belongs to xmin {which}, not to {settings.xmin!r}. Set xmin, or leave {name} out.")
    if settings.xmin == "fixed" and settings.num_tail is None:
        raise InputError("xmin 'fixed' needs num_tail, a number of values or a fraction; or give the value of xmin itself.")
    if not settings.xmin_pos > 1.0:
        raise InputError(f"xmin_pos: expected a number above 1, got {settings.xmin_pos}.")
    others = [words for name, words in _OTHER_SPECTRA.items() if _is_on(settings, name)]
    if len(others) > 1:
        raise InputError(f"{' and '.join(others)} exclude each other: one fit is made on one spectrum. Choose one.")
    if others and settings.vectors:
        raise InputError(f"vectors needs xmin among the weight's own eigenvalues, and {others[0]} fits others. Choose one.")


def _check_used(settings: AnalysisSettings, changed: Collection[str]) -> None:
    for name, (needed, words) in _WORK_WITH.items():
        if name in changed and not any(_is_on(settings, other) for other in needed):
            raise InputError(f"{name} belongs to {words}, which nobody asked for. Ask for it, or leave {name} out.")


def _is_on(settings: AnalysisSettings, name: str) -> bool:
    return getattr(settings, name) not in (False, "none")


def _number(name: str, value: Any) -> int | float:
    """Check a number and make it a plain Python one, which JSON can hold."""
    least = _LEAST[name]
    whole = name in _WHOLE
    may_be_least = whole or name == "evals_threshold"
    expected = f"a {'whole ' if whole else ''}number of at least {least}" if may_be_least else "a positive number"
    try:
        number = float(value)
    except (TypeError, ValueError):
        raise InputError(f"{name}: expected {expected}, got {value!r}.") from None
    if (
        not math.isfinite(number)
        or (number < least if may_be_least else number <= least)
        or (whole and not number.is_integer())
    ):
        raise InputError(f"{name}: expected {expected}, got {value}.")
    return int(number) if (whole or name == "num_tail") and number.is_integer() else number


def _level(value: Any) -> str | float:
    if value == "ww":
        return "ww"
    try:
        level = float(value)
    except (TypeError, ValueError):
        level = math.nan
    if not 0.0 < level < 1.0:
        raise InputError(f"tw_level: expected a probability in (0, 1), or 'ww' for WeightWatcher's margin, got {value!r}.")
    return level


def _words(value: str | Sequence[str], known: Sequence[str] | None) -> tuple[str, ...]:
    """Accept one word or several."""
    words = (value,) if isinstance(value, str) else tuple(value)
    for word in words:
        if known and word not in known:
            raise InputError(f"unknown kind {word!r}.{did_you_mean(word, known)} Known: {', '.join(known)}.")
    return words
