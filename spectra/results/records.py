"""The schema of a result, column by column.

A field of :class:`LayerDiagnostics`, a column of ``layers.csv`` and a key of ``report.json`` are the same word. Missing
numbers are NaN (``None`` for integers) in memory, ``null`` in JSON and empty in CSV; ``status`` says why.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SCHEMA_VERSION = 1


class LayerStatus(StrEnum):
    """Why a layer has the numbers it has."""

    OK = "ok"
    """Fitted."""
    TOO_FEW_EVALS = "too_few_evals"
    """Fewer eigenvalues than ``min_evals``: norms, no fit."""
    NO_TAIL = "no_tail"
    """No admissible tail: all positive eigenvalues are equal, or too few of them are positive."""
    ZERO = "zero"
    """All weights are zero."""
    DEPTHWISE = "depthwise"
    """One input or output channel per group: vectors, not matrices; norms, no fit."""
    EMPTY = "empty"
    """A side of length zero."""
    NONFINITE = "nonfinite"
    """NaN or infinite weights."""
    META = "meta"
    """A tensor on the meta device: a shape without numbers."""
    UNREADABLE = "unreadable"
    """Reading the weights failed."""


#: Statuses that mean a layer asked for could not be analysed: the command then ends with exit code 1.
FAILURES = frozenset({LayerStatus.NONFINITE, LayerStatus.META, LayerStatus.UNREADABLE})


def _column(meaning: str, *, weightwatcher: str | None = None, default: Any = dataclasses.MISSING) -> Any:
    metadata = {"meaning": meaning, "weightwatcher": weightwatcher}
    return field(default=default, metadata=metadata)


@dataclass(frozen=True, kw_only=True)
class LayerDiagnostics:
    """Everything known of one weight: one row of the table. ``column_meanings()`` documents each field."""

    layer_name: str = _column("path of the module, as in named_modules()", weightwatcher="longname")
    matrix_name: str = _column("name of the matrix; the layer's own unless a weight holds several")
    kind: str = _column("linear, embedding, conv1d, conv2d or conv3d")
    dtype: str = _column("dtype as stored")
    is_transposed: bool = _column("a dense weight stored as (in, out)")
    num_rows: int = _column("rows of one matrix")
    num_cols: int = _column("columns of one matrix")
    num_matrices: int = _column("matrices whose eigenvalues are pooled: kernel positions x groups", weightwatcher="rf")
    num_params: int = _column("elements of the weight")
    aspect_ratio: float = _column("larger side / smaller side of one matrix", weightwatcher="Q")
    num_eigenvalues: int = _column("eigenvalues of all matrices together", weightwatcher="num_evals")
    status: LayerStatus = _column("ok, or why there is no fit")
    alpha: float = _column("exponent of the fitted density", weightwatcher="alpha", default=math.nan)
    alpha_std_error: float = _column("(alpha - 1) / sqrt(num_tail)", weightwatcher="sigma", default=math.nan)
    xmin: float = _column("smallest eigenvalue of the tail", weightwatcher="xmin", default=math.nan)
    xmax: float = _column("largest eigenvalue; the fit is not cut there", weightwatcher="xmax", default=math.nan)
    num_tail: int | None = _column("eigenvalues in the tail", weightwatcher="num_pl_spikes", default=None)
    ks_distance: float = _column("Kolmogorov-Smirnov distance of tail and fit", weightwatcher="D", default=math.nan)
    fit_quality: str = _column("good or poor; empty without a fit", default="")
    label: str = _column("over-trained (alpha < 2), under-trained (alpha > 6) or empty", weightwatcher="warning", default="")
    alpha_hill: float = _column("Hill estimate from the larger half of the eigenvalues", default=math.nan)
    alpha_weighted: float = _column("alpha x log10(lambda_max)", weightwatcher="alpha_weighted", default=math.nan)
    log10_alpha_norm: float = _column("log10 of the sum of eigenvalue^alpha", weightwatcher="log_alpha_norm", default=math.nan)
    lambda_max: float = _column("largest eigenvalue", weightwatcher="spectral_norm", default=math.nan)
    log10_lambda_max: float = _column("log10(lambda_max)", weightwatcher="log_spectral_norm", default=math.nan)
    spectral_norm: float = _column("largest singular value", weightwatcher="sv_max", default=math.nan)
    sv_min: float = _column("smallest singular value", weightwatcher="sv_min", default=math.nan)
    sum_eigenvalues: float = _column("squared Frobenius norm", weightwatcher="norm", default=math.nan)
    log10_sum_eigenvalues: float = _column("log10(sum_eigenvalues)", weightwatcher="log_norm", default=math.nan)
    frobenius_norm: float = _column("sqrt(sum_eigenvalues)", default=math.nan)
    stable_rank: float = _column("sum_eigenvalues / lambda_max", weightwatcher="stable_rank", default=math.nan)
    matrix_rank: int | None = _column("singular values above rounding", weightwatcher="matrix_rank", default=None)
    rank_loss: int | None = _column("singular values lost to rounding", weightwatcher="rank_loss", default=None)
    weak_rank_loss: int | None = _column("eigenvalues below 1e-6", weightwatcher="weak_rank_loss", default=None)
    relative_weak_rank_loss: int | None = _column("eigenvalues below 1e-6 x lambda_max", default=None)
    entropy: float = _column("entropy of the normalised spectrum / ln(rank)", weightwatcher="entropy", default=math.nan)
    num_null: int | None = _column("eigenvalues that are numerically zero, left out of the fit", default=None)
    method: str = _column("gram or svd: the route that gave the eigenvalues", default="")
    decomposition_dtype: str = _column("arithmetic of the Gram product or of the singular values", default="")
    tied_to: str = _column("other parameters that are this weight", default="")
    notes: str = _column("what to know before trusting the row", default="")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, with ``None`` for NaN."""
        row = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in dataclasses.asdict(self).items()
        }
        return row | {"status": self.status.value}

    def __str__(self) -> str:
        fit = f"alpha {self.alpha:.3f} ± {self.alpha_std_error:.3f}, KS distance {self.ks_distance:.3f}"
        return f"{self.matrix_name} ({self.num_rows}x{self.num_cols}): {fit if self.status == LayerStatus.OK else self.status}"


def column_meanings() -> dict[str, str]:
    """Return what each column means, by name, in the order of the table."""
    return {f.name: f.metadata["meaning"] for f in dataclasses.fields(LayerDiagnostics)}


def layer_from_dict(row: dict[str, Any]) -> LayerDiagnostics:
    """Rebuild a row from ``to_dict()`` or from JSON.

    Args:
        row: Column names to values; columns of other versions are ignored.

    Returns:
        The row, with NaN where a number is missing.

    Raises:
        KeyError: A column without default is missing.
        ValueError: A status that this version does not know.
    """
    values: dict[str, Any] = {}
    for f in dataclasses.fields(LayerDiagnostics):
        if f.name not in row and f.default is dataclasses.MISSING:
            raise KeyError(f.name)
        value = row.get(f.name, f.default)
        values[f.name] = math.nan if value is None and f.type == "float" else value
    values["status"] = LayerStatus(values["status"])
    return LayerDiagnostics(**values)


@dataclass(frozen=True)
class SkippedTensor:
    """A tensor with two or more dimensions that was not analysed, and why.

    Attributes:
        name: Full parameter name.
        shape: As stored.
        dtype: As stored.
        reason: In words.
    """

    name: str
    shape: tuple[int, ...]
    dtype: str
    reason: str

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name."""
        return {"name": self.name, "shape": list(self.shape), "dtype": self.dtype, "reason": self.reason}


@dataclass(frozen=True)
class MetricSummary:
    """How one metric is distributed over the layers that have it.

    Attributes:
        count: Layers with a number.
        mean: Plain mean.
        std: Standard deviation (ddof 1); NaN for one layer.
        min: Smallest.
        q25: First quartile.
        median: Median.
        q75: Third quartile.
        max: Largest.
    """

    count: int
    mean: float
    std: float
    min: float
    q25: float
    median: float
    q75: float
    max: float


@dataclass(frozen=True)
class Summary:
    """Counts and means over a report's layers; layers without a number enter no mean.

    Attributes:
        num_layers: Rows of the table.
        num_skipped: Tensors left out, with reasons.
        num_reliable: Fits of good quality.
        num_doubtful: Fits of poor quality.
        num_without_fit: Rows without a fit.
        num_failed: Rows that could not be analysed (part of the former).
        statuses: Rows by status.
        labels: Rows by label.
        metrics: Distribution of the main metrics, by column name.
    """

    num_layers: int
    num_skipped: int
    num_reliable: int
    num_doubtful: int
    num_without_fit: int
    num_failed: int
    statuses: dict[str, int]
    labels: dict[str, int]
    metrics: dict[str, MetricSummary]


@dataclass(frozen=True)
class ModelInfo:
    """Which model was analysed.

    Attributes:
        name: Short name.
        location: As the user gave it.
        format: ``safetensors``, ``torch``, ``module`` or ``mapping``.
        fingerprint: SHA-256 over names, shapes, dtypes and the first and last row of every analysed tensor; the same for
            the same weights in another container.
        revision: Changes whenever the numbers may have changed, between the sampled rows too: SHA-256 over sizes and
            modification times of the files, or over all numbers of a model in memory. Empty for a run without folder.
    """

    name: str
    location: str
    format: str
    fingerprint: str
    revision: str = ""


@dataclass(frozen=True, kw_only=True)
class AnalysisSettings:
    """All settings of an analysis, resolved: a profile with the user's changes. Saved with every result.

    Attributes:
        profile: Name of the profile.
        xmin: ``ks``, ``median``, ``hill``, ``fixed`` or a number.
        xmin_pos: For ``median``: the tail starts at rank ``n / xmin_pos``.
        num_tail: For ``hill`` and ``fixed``: tail size or fraction.
        min_tail: Fewest values in a tail.
        precision: ``float64`` or ``float32``.
        method: ``auto``, ``gram`` or ``svd``.
        conv_norm: Factor on the eigenvalues of convolutions.
        min_evals: Fewest eigenvalues for a fit.
        max_evals: Most eigenvalues for an analysis; ``None``: no limit.
        max_side: Longest side for an analysis; ``None``: no limit.
        evals_threshold: Eigenvalues at or under it stay out of the fit; ``None``: those that are numerically null.
        small_sample_rule: Fit under 20 eigenvalues as WeightWatcher 0.7.7 does.
        entropy_epsilon: See :func:`spectra.esd.norms.spectral_entropy`.
        sv_min_over_matrices: ``min``, or ``max`` as WeightWatcher has it: of the smallest singular values of pooled matrices.
        labels_need_evidence: No label for poor fits and for under 50 eigenvalues.
        drop_small: Leave layers under ``min_evals`` out of the table (they are listed as skipped).
        count_ties: Give tied weights a row each.
        include: Glob patterns on layer names; empty: all.
        exclude: Glob patterns on layer names.
    """

    profile: str = "default"
    xmin: str | float = "ks"
    xmin_pos: float = 2.0
    num_tail: int | float | None = None
    min_tail: int = 2
    precision: str = "float64"
    method: str = "auto"
    conv_norm: float = 1.0
    min_evals: int = 8
    max_evals: int | None = None
    max_side: int | None = None
    evals_threshold: float | None = None
    small_sample_rule: bool = False
    entropy_epsilon: float = 0.0
    sv_min_over_matrices: str = "min"
    labels_need_evidence: bool = True
    drop_small: bool = False
    count_ties: bool = False
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the settings as JSON would give them back: lists for tuples."""
        return {k: list(v) if isinstance(v, tuple) else v for k, v in dataclasses.asdict(self).items()}
