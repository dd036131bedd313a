"""Means and counts over the layers of a report."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np

from spectra.results.records import (
    FAILURES,
    ExpertSummary,
    LayerDiagnostics,
    LayerStatus,
    MetricSummary,
    SkippedTensor,
    Summary,
)

# The columns WeightWatcher averages, and the two that judge the fits.
_METRICS = (
    "alpha",
    "alpha_weighted",
    "log10_alpha_norm",
    "log10_lambda_max",
    "log10_sum_eigenvalues",
    "stable_rank",
    "alpha_hill",
    "ks_distance",
)


def summarize(layers: Sequence[LayerDiagnostics], skipped: Sequence[SkippedTensor]) -> Summary:
    """Summarize a table. A layer without a number enters no mean and is counted.

    Args:
        layers: Rows of the table.
        skipped: Tensors left out.

    Returns:
        The summary.
    """
    fitted = [layer for layer in layers if layer.status == LayerStatus.OK]
    return Summary(
        num_layers=len(layers),
        num_skipped=len(skipped),
        num_reliable=sum(layer.fit_quality == "good" for layer in fitted),
        num_doubtful=sum(layer.fit_quality == "poor" for layer in fitted),
        num_without_fit=len(layers) - len(fitted),
        num_failed=sum(layer.status in FAILURES for layer in layers),
        statuses=dict(Counter(str(layer.status) for layer in layers)),
        labels=dict(Counter(layer.label for layer in fitted)),
        metrics=_metrics(layers),
    )


def summarize_experts(layers: Sequence[LayerDiagnostics]) -> tuple[ExpertSummary, ...]:
    """Summarize the experts of each layer, weight by weight.

    Args:
        layers: Rows of the table; those of no expert, or of all experts pooled, are left out.

    Returns:
        One summary per ``stack``, in the order of its first row.
    """
    stacks: dict[str, list[LayerDiagnostics]] = {}
    for layer in layers:
        if layer.stack and layer.expert is not None:
            stacks.setdefault(layer.stack, []).append(layer)
    return tuple(
        ExpertSummary(
            stack=name,
            num_experts=len(rows),
            num_reliable=sum(row.fit_quality == "good" for row in rows),
            statuses=dict(Counter(str(row.status) for row in rows)),
            metrics=_metrics(rows),
        )
        for name, rows in stacks.items()
    )


def _metrics(layers: Sequence[LayerDiagnostics]) -> dict[str, MetricSummary]:
    metrics = {}
    for name in _METRICS:
        values = np.array([value for layer in layers if math.isfinite(value := getattr(layer, name))])
        if len(values):
            metrics[name] = _distribution(values)
    return metrics


def _distribution(values: np.ndarray[tuple[int], np.dtype[np.float64]]) -> MetricSummary:
    # np.quantile's own definition; calling it would import numpy.ma, a tenth of the start of a small analysis.
    places = np.array([0.0, 0.25, 0.5, 0.75, 1.0]) * (len(values) - 1)
    low, q25, median, q75, high = map(float, np.interp(places, np.arange(len(values)), np.sort(values)))
    std = float(values.std(ddof=1)) if len(values) > 1 else math.nan
    return MetricSummary(len(values), float(values.mean()), std, low, q25, median, q75, high)
