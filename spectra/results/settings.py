"""The settings of an analysis: their only definition. Command-line flags, checks and the saved record come from here."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypedDict

# Groups of flags in ``spectra analyze --help``; settings without a group belong to profiles and have no flag.
CHOICE, SPECTRUM, FIT, MORE = "What is analysed", "Spectra", "Fits", "More diagnostics"


def _setting(
    default: Any,
    meaning: str,
    group: str = "",
    *,
    metavar: str = "",
    choices: tuple[str, ...] = (),
    changes_rows: bool = True,
) -> Any:
    """Define a setting; ``changes_rows`` is ``False`` where the same matrices of the same weight have the same row."""
    metadata = {"meaning": meaning, "group": group, "metavar": metavar, "choices": choices, "changes_rows": changes_rows}
    return field(default=default, metadata=metadata)


# What chooses weights and cuts them into matrices: two settings that give the same matrix give the same row of it.
_choice = partial(_setting, changes_rows=False)


@dataclass(frozen=True, kw_only=True)
class AnalysisSettings:
    """All settings of an analysis, resolved: a profile with the user's changes. Saved with every result.

    ``setting_meanings()`` documents each field.
    """

    profile: str = _choice("default", "named set of defaults: default, weightwatcher or tempbalance")

    include: tuple[str, ...] = _choice((), "only layers whose name matches a glob; repeatable", CHOICE, metavar="GLOB")
    exclude: tuple[str, ...] = _choice((), "leave out layers whose name matches a glob; repeatable", CHOICE, metavar="GLOB")
    kinds: tuple[str, ...] = _choice((), "only these kinds of layers, such as linear; repeatable", CHOICE, metavar="KIND")
    max_evals: int | None = _choice(None, "leave out weights with more eigenvalues; default: no limit", CHOICE, metavar="N")
    max_side: int | None = _choice(None, "leave out weights with a longer side; default: no limit", CHOICE, metavar="N")
    split_fused: str = _choice("auto", "split fused projections and gates by architecture", CHOICE, choices=("auto", "none"))
    split_heads: bool = _choice(False, "one matrix per attention head", CHOICE)
    moe: str = _choice(
        "per_expert", "experts: a row each, their summary only, or one pooled spectrum", CHOICE,
        choices=("per_expert", "summary", "pool"),
    )  # fmt: skip
    conv_mode: str = _choice(
        "pooled", "convolutions: kernel positions pooled, a row each, or the operator's spectrum", CHOICE,
        choices=("pooled", "slices", "operator"),
    )  # fmt: skip
    lora: str = _choice(
        "delta", "adapters: the change, the merged weights, both factors, or the base", CHOICE,
        choices=("delta", "merged", "factors", "base"),
    )  # fmt: skip

    precision: str = _setting(
        "float64",
        "arithmetic of Gram products and singular values, on a GPU of the eigensolver, too",
        SPECTRUM,
        choices=("float64", "float32"),
    )
    method: str = _setting("auto", "route to the eigenvalues", SPECTRUM, choices=("auto", "gram", "svd"))
    conv_norm: float = _setting(1.0, "factor on the eigenvalues of convolutions", SPECTRUM, metavar="X")
    normalize: str = _setting(
        "none", "divide eigenvalues by the larger side, as theory papers do", SPECTRUM, choices=("none", "1/N")
    )
    subsample: str = _setting(
        "none", "fit the pooled spectra of windows of one aspect ratio", SPECTRUM, choices=("none", "farms")
    )
    window_rows: int | None = _setting(
        None, "rows of a window; default: the smallest side of 50 or more of all layers, at most 2048", SPECTRUM, metavar="N"
    )
    window_aspect: float = _setting(1.0, "columns of a window per row", SPECTRUM, metavar="X")
    windows_per_side: int | None = _setting(
        None, "windows along each side; default: as few as cover the matrix", SPECTRUM, metavar="K"
    )

    xmin: str | float = _setting(
        "ks", "where tails start: ks, median, hill, peak, clip, peak_compat, clip_compat, fixed or a number", FIT, metavar="S"
    )
    xmin_pos: float = _setting(2.0, "for median: the tail starts at rank n / X", FIT, metavar="X")
    num_tail: int | float | None = _setting(None, "for hill and fixed: tail size, or a fraction below 1", FIT, metavar="K")
    max_fingers: int = _setting(10, "for clip: fewer than N eigenvalues are taken off the top", FIT, metavar="N")
    finger_threshold: float = _setting(1.0, "for clip: how far alpha must fall", FIT, metavar="X")
    min_evals: int = _setting(8, "fewest eigenvalues for a fit", FIT, metavar="N")
    min_tail: int = _setting(2, "fewest eigenvalues in a tail", FIT, metavar="N")
    evals_threshold: float | None = _setting(
        None, "eigenvalues at or under X stay out of the fit; default: those that are numerically null", FIT, metavar="X"
    )
    inverse: bool = _setting(False, "fit 1 / eigenvalue: the tail towards zero", FIT)
    truncated: bool = _setting(False, "fit the truncated power law, too", FIT)
    alternatives: bool = _setting(False, "compare with other distributions by likelihood ratio", FIT)
    pvalue_samples: int = _setting(0, "synthetic spectra for a goodness-of-fit p-value; 0: none", FIT, metavar="N")
    bootstrap_samples: int = _setting(0, "resamples for intervals of alpha and xmin; 0: none", FIT, metavar="N")

    mp_fit: bool = _setting(False, "fit the Marchenko-Pastur bulk and count spikes", MORE)
    mp_method: str = _setting("quantile", "estimator of the bulk's scale", MORE, choices=("quantile", "kde", "kde_compat"))
    tw_level: str | float = _setting(0.99, "Tracy-Widom level above which a spike counts, or ww", MORE, metavar="P")
    randomize: bool = _setting(False, "compare with the same weights in random order", MORE)
    num_replicas: int | None = _setting(None, "random orders; default: 1, or 5 under 100 eigenvalues", MORE, metavar="N")
    vectors: bool = _setting(False, "localization of the eigenvectors of bulk and tail", MORE)
    seed: int = _setting(0, "of everything random", MORE, metavar="N")

    # What only profiles change.
    small_sample_rule: bool = _setting(False, "fit under 20 eigenvalues as WeightWatcher 0.7.7 does")
    truncated_search: bool = _setting(False, "search the start of the truncated law by itself, as WeightWatcher does")
    entropy_epsilon: float = _setting(0.0, "added to every share and to the rank in the entropy")
    sv_min_over_matrices: str = _setting(
        "min", "of the smallest singular values of pooled matrices: min, or WeightWatcher's max"
    )
    labels_need_evidence: bool = _setting(True, "no label for poor fits and for under 50 eigenvalues")
    drop_small: bool = _choice(False, "leave layers under min_evals out of the table; they are listed as skipped")
    count_ties: bool = _choice(False, "give tied weights a row each")

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON would give them back: lists for tuples."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}


class SettingsChanges(TypedDict, total=False):
    """What a user may change: the settings of :class:`AnalysisSettings` that have a group; ``None`` keeps the profile's."""

    include: str | Sequence[str]
    exclude: str | Sequence[str]
    kinds: str | Sequence[str]
    max_evals: int | None
    max_side: int | None
    split_fused: str | None
    split_heads: bool | None
    moe: str | None
    conv_mode: str | None
    lora: str | None
    precision: str | None
    method: str | None
    conv_norm: float | None
    normalize: str | None
    subsample: str | None
    window_rows: int | None
    window_aspect: float | None
    windows_per_side: int | None
    xmin: str | float | None
    xmin_pos: float | None
    num_tail: int | float | None
    max_fingers: int | None
    finger_threshold: float | None
    min_evals: int | None
    min_tail: int | None
    evals_threshold: float | None
    inverse: bool | None
    truncated: bool | None
    alternatives: bool | None
    pvalue_samples: int | None
    bootstrap_samples: int | None
    mp_fit: bool | None
    mp_method: str | None
    tw_level: str | float | None
    randomize: bool | None
    num_replicas: int | None
    vectors: bool | None
    seed: int | None


def setting_meanings() -> dict[str, str]:
    """Return what each setting means, by name."""
    return {f.name: f.metadata["meaning"] for f in dataclasses.fields(AnalysisSettings)}


def settings_of_rows(settings: AnalysisSettings) -> dict[str, Any]:
    """Return the settings that the row of a given matrix depends on.

    Args:
        settings: Resolved settings.

    Returns:
        Values by name. The seed is among them only where something random is computed.
    """
    chosen = {f.name: getattr(settings, f.name) for f in dataclasses.fields(settings) if f.metadata["changes_rows"]}
    if not is_random(settings):
        del chosen["seed"]
    return chosen


def is_random(settings: AnalysisSettings) -> bool:
    """Return whether rows depend on random numbers: on the seed, and on the name of the matrix.

    Args:
        settings: Resolved settings.

    Returns:
        ``True`` if anything random is asked for.
    """
    return settings.randomize or settings.pvalue_samples > 0 or settings.bootstrap_samples > 0


def requested_groups(settings: AnalysisSettings) -> set[str]:
    """Return the optional groups of columns that an analysis with these settings fills.

    Args:
        settings: Resolved settings.

    Returns:
        Names of groups, as in the metadata of :class:`spectra.results.records.LayerDiagnostics`.
    """
    asked = {
        "clip": str(settings.xmin).startswith("clip"),
        "truncated": settings.truncated,
        "alternatives": settings.alternatives,
        "pvalue": settings.pvalue_samples > 0,
        "bootstrap": settings.bootstrap_samples > 0,
        "mp": settings.mp_fit,
        "randomized": settings.randomize,
        "vectors": settings.vectors,
        "farms": settings.subsample == "farms",
    }
    return {name for name, wanted in asked.items() if wanted}
