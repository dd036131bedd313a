"""The schema of a result, column by column.

A field of :class:`LayerDiagnostics`, a column of ``layers.csv`` and a key of ``report.json`` are the same word. Missing
numbers are NaN (``None`` for integers) in memory, ``null`` in JSON and empty in CSV; ``status`` says why.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

SCHEMA_VERSION = 2


class LayerStatus(StrEnum):
    """Why a layer has the numbers it has."""

    OK = "ok"
    """Fitted."""
    TOO_FEW_EVALS = "too_few_evals"
    """Fewer eigenvalues than ``min_evals``: norms, no fit."""
    NO_TAIL = "no_tail"
    """No admissible tail: all positive eigenvalues are equal, too few of them are positive, or the tail would be round-off."""
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
    NO_BASE = "no_base"
    """A difference was asked for and the base has no matching weight: nothing is analysed in its place."""
    UNCHANGED = "unchanged"
    """The weight equals its base."""


#: Statuses that mean a layer asked for could not be analysed: the command then ends with exit code 1.
FAILURES = frozenset({LayerStatus.NONFINITE, LayerStatus.META, LayerStatus.UNREADABLE})


def _column(
    meaning: str, *, weightwatcher: str | None = None, default: Any = dataclasses.MISSING, group: str | None = None
) -> Any:
    metadata = {"meaning": meaning, "weightwatcher": weightwatcher, "group": group}
    return field(default=default, metadata=metadata)


def _number(meaning: str, group: str | None = None, weightwatcher: str | None = None) -> Any:
    return _column(meaning, weightwatcher=weightwatcher, default=math.nan, group=group)


def _count(meaning: str, group: str | None = None, weightwatcher: str | None = None) -> Any:
    return _column(meaning, weightwatcher=weightwatcher, default=None, group=group)


@dataclass(frozen=True, kw_only=True)
class LayerDiagnostics:
    """Everything known of one weight: one row of the table. ``column_meanings()`` documents each field."""

    layer_name: str = _column("path of the module, as in named_modules()", weightwatcher="longname")
    matrix_name: str = _column("name of the matrix; the layer's own unless a weight holds several")
    kind: str = _column("linear, embedding, conv1d, conv2d, conv3d, recurrent or bilinear")
    part: str = _column("which part of a fused parameter: q, k, v, gate, up, ...", default="")
    expert: int | None = _column("number of the expert, in a mixture of experts", default=None)
    stack: str = _column("name shared by the same weight of all experts", default="")
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
    decomposition_dtype: str = _column(
        "arithmetic of the Gram product or of the singular values; on a GPU of the eigensolver, too", default=""
    )
    num_erg: int | None = _count(
        "largest eigenvalues whose product, at mean 1, falls below 1 (trace-log condition)", weightwatcher="detX_num"
    )
    erg_gap: int | None = _count("num_erg - num_tail", weightwatcher="ERG_gap")
    erg_value: float = _number("eigenvalue of that rank", weightwatcher="detX_val")
    erg_value_rescaled: float = _number("the same at mean 1", weightwatcher="detX_val_unrescaled")
    erg_logdet_tail: float = _number("sum of ln(eigenvalue / mean of all) over the fitted tail, from xmin to xmax")
    erg_mean_logdet_tail: float = _number("their mean")
    num_fingers: int | None = _count("eigenvalues clipped off the top", "clip", "num_fingers")
    raw_alpha: float = _number("alpha before clipping", "clip", "raw_alpha")
    tpl_alpha: float = _number("exponent of the truncated power law", "truncated")
    tpl_rate: float = _number("its exponential rate, per eigenvalue", "truncated", "Lambda")
    tpl_xmin: float = _number("start of its tail", "truncated")
    tpl_ks_distance: float = _number("its Kolmogorov-Smirnov distance", "truncated")
    tpl_log_likelihood_ratio: float = _number("log-likelihood gained over the power law", "truncated")
    tpl_quality: str = _column("good or poor", default="", group="truncated")
    lognormal_ratio: float = _number("normalised log-likelihood ratio; > 0: the power law is better", "alternatives")
    lognormal_pvalue: float = _number("p-value of its sign", "alternatives")
    exponential_ratio: float = _number("likewise, against the exponential", "alternatives")
    exponential_pvalue: float = _number("p-value of its sign", "alternatives")
    stretched_exponential_ratio: float = _number("likewise, against the stretched exponential", "alternatives")
    stretched_exponential_pvalue: float = _number("p-value of its sign", "alternatives")
    truncated_power_law_ratio: float = _number("likewise, against the truncated power law (nested)", "alternatives")
    truncated_power_law_pvalue: float = _number("p-value of the nested test", "alternatives")
    ks_pvalue: float = _number("share of synthetic spectra that fit worse; small: no power law", "pvalue")
    alpha_low: float = _number("lower end of the bootstrap interval of alpha (95 %)", "bootstrap")
    alpha_high: float = _number("upper end", "bootstrap")
    xmin_low: float = _number("lower end of the bootstrap interval of xmin (95 %)", "bootstrap")
    xmin_high: float = _number("upper end", "bootstrap")
    lambda_plus: float = _number("upper edge of the Marchenko-Pastur bulk", "mp", "bulk_max")
    lambda_minus: float = _number("lower edge", "mp", "bulk_min")
    mp_sigma: float = _number("standard deviation of the bulk's weights", "mp")
    mp_sigma_rescaled: float = _number("the same for eigenvalues of mean 1", "mp", "sigma_mp")
    mp_scale: float = _number("factor on weights that makes the mean eigenvalue 1", "mp", "W_scale")
    mp_soft_rank: float = _number("lambda_plus / lambda_max", "mp", "mp_softrank")
    num_spikes: int | None = _count("eigenvalues above the bulk's edge and its fluctuation", "mp", "num_spikes")
    mp_ks_distance: float = _number("Kolmogorov-Smirnov distance of spectrum and bulk", "mp")
    mp_bulk_ks_distance: float = _number("the same without the spikes", "mp")
    mp_quality: str = _column("good if what is below the spikes is a Marchenko-Pastur bulk, or poor", default="", group="mp")
    rand_lambda_max: float = _number("largest eigenvalue of the weights in random order", "randomized", "max_rand_eval")
    rand_lambda_max_std: float = _number("its standard deviation over replicas", "randomized")
    rand_lambda_plus: float = _number("upper edge of the randomised bulk", "randomized", "rand_bulk_max")
    rand_lambda_minus: float = _number("lower edge", "randomized", "rand_bulk_min")
    rand_mp_sigma_rescaled: float = _number("mp_sigma_rescaled of the randomised spectrum", "randomized", "rand_sigma_mp")
    rand_mp_scale: float = _number("mp_scale of the randomised spectrum", "randomized", "rand_W_scale")
    rand_mp_soft_rank: float = _number("mp_soft_rank of the randomised spectrum", "randomized", "rand_mp_softrank")
    num_traps: int | None = _count("correlation traps: spikes of the randomised spectrum", "randomized", "rand_num_spikes")
    rand_distance: float = _number("Jensen-Shannon distance of the two normalised spectra", "randomized", "rand_distance")
    rand_distance_std: float = _number("its standard deviation over replicas", "randomized")
    rand_wasserstein: float = _number("Wasserstein-1 distance of ln eigenvalues", "randomized")
    rand_soft_rank: float = _number("rand_lambda_max / lambda_max", "randomized", "ww_softrank")
    rand_gap: float = _number("lambda_max - rand_lambda_max", "randomized", "ww_maxdist")
    bulk_mean_vec_entropy: float = _number("entropy of eigenvectors under xmin, mean", "vectors", "bulk_mean_vec_entropy")
    bulk_var_vec_entropy: float = _number("variance", "vectors", "bulk_var_vec_entropy")
    tail_mean_vec_entropy: float = _number("entropy of eigenvectors from xmin on, mean", "vectors", "tail_mean_vec_entropy")
    tail_var_vec_entropy: float = _number("variance", "vectors", "tail_var_vec_entropy")
    bulk_mean_loc_ratio: float = _number("localization |v|_1 / |v|_inf under xmin, mean", "vectors", "bulk_mean_loc_ratio")
    bulk_var_loc_ratio: float = _number("variance", "vectors", "bulk_var_loc_ratio")
    tail_mean_loc_ratio: float = _number("localization from xmin on, mean", "vectors", "tail_mean_loc_ratio")
    tail_var_loc_ratio: float = _number("variance", "vectors", "tail_var_loc_ratio")
    bulk_mean_part_ratio: float = _number("participation |v|_2 / |v|_4 under xmin, mean", "vectors", "bulk_mean_part_ratio")
    bulk_var_part_ratio: float = _number("variance", "vectors", "bulk_var_part_ratio")
    tail_mean_part_ratio: float = _number("participation from xmin on, mean", "vectors", "tail_mean_part_ratio")
    tail_var_part_ratio: float = _number("variance", "vectors", "tail_var_part_ratio")
    num_windows: int | None = _count("windows whose spectra were pooled for the fit", "farms")
    window_rows: int | None = _count("rows of a window", "farms")
    quantized: str = _column("storage format whose codes were dequantized; empty for plain numbers", default="")
    tied_to: str = _column("other parameters that are this weight", default="")
    notes: str = _column("what to know before trusting the row", default="")

    def to_dict(self) -> dict[str, Any]:
        """Return the fields by name, with ``None`` for NaN."""
        row = {
            name: None if isinstance(value, float) and math.isnan(value) else value
            for name, value in vars(self).items()  # dataclasses.asdict copies every number: ten times as long
        }
        return row | {"status": self.status.value}

    def __str__(self) -> str:
        fit = f"alpha {self.alpha:.3f} ± {self.alpha_std_error:.3f}, KS distance {self.ks_distance:.3f}"
        return f"{self.matrix_name} ({self.num_rows}x{self.num_cols}): {fit if self.status == LayerStatus.OK else self.status}"


def columns(groups: Collection[str]) -> list[str]:
    """Return the columns of a table.

    Args:
        groups: Optional groups of columns that are filled.

    Returns:
        Their names, in order: those that every analysis has and those of the groups.
    """
    fields = dataclasses.fields(LayerDiagnostics)
    return [f.name for f in fields if f.metadata["group"] is None or f.metadata["group"] in groups]


def column_meanings() -> dict[str, str]:
    """Return what each column means, by name, in the order of the table."""
    return {f.name: f.metadata["meaning"] for f in dataclasses.fields(LayerDiagnostics)}


# Asked for once: a cache makes many rows.
_NUMBERS = tuple(f.name for f in dataclasses.fields(LayerDiagnostics) if f.type == "float")
_NEEDED = tuple(f.name for f in dataclasses.fields(LayerDiagnostics) if f.default is dataclasses.MISSING)
_OPTIONAL = tuple(f.name for f in dataclasses.fields(LayerDiagnostics) if f.default is not dataclasses.MISSING)


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
    # Under our own names, not those of the JSON: Python finds keywords that are the same objects in a third of the time.
    values = {name: row[name] for name in _NEEDED} | {name: row[name] for name in _OPTIONAL if name in row}
    values |= {name: math.nan for name in _NUMBERS if values.get(name, 0.0) is None}
    return LayerDiagnostics(**values | {"status": LayerStatus(values["status"])})


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
class ExpertSummary:
    """How the experts of one layer differ in one weight.

    Attributes:
        stack: Name shared by their rows.
        num_experts: Rows.
        num_reliable: Fits of good quality.
        statuses: Rows by status.
        metrics: Distribution of the main metrics over the experts, by column name.
    """

    stack: str
    num_experts: int
    num_reliable: int
    statuses: dict[str, int]
    metrics: dict[str, MetricSummary]


@dataclass(frozen=True)
class Summary:
    """Counts and means over a report's layers; layers without a number enter no mean.

    Attributes:
        num_layers: Weights analysed: rows of the table, and with ``moe="summary"`` the experts that have none.
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
        base: Location of the base model, if a difference to one was analysed.
        notes: What to know about the model as a whole.
    """

    name: str
    location: str
    format: str
    fingerprint: str
    revision: str = ""
    base: str = ""
    notes: tuple[str, ...] = ()
