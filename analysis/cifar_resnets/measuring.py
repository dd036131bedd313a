"""What is measured: metrics averaged over layers, their rank correlations with test error, and a second opinion."""

from __future__ import annotations

import math
import statistics
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import spectra
from analysis.cifar_resnets.models import NETWORKS, file_of
from spectra.results.model_errors import ModelError
from spectra.results.rank_correlation import rank_correlation

METRICS = ("alpha", "alpha_weighted", "log10_alpha_norm", "log10_lambda_max", "log10_sum_eigenvalues")
PROFILES = ("default", "weightwatcher")
# In WeightWatcher's names.
COMPARED = ("alpha", "alpha_weighted", "log_alpha_norm", "log_spectral_norm", "log_norm", "D", "xmin", "num_pl_spikes")

Rows = Sequence[Mapping[str, Any]]


def analysed(folder: Path, profile: str) -> list[ModelError]:
    """Analyse all networks.

    Args:
        folder: Holds their files.
        profile: Of settings.

    Returns:
        Their reports, with their test errors.
    """
    return [
        ModelError(network.name, "", network.test_error, spectra.analyze(file_of(network, folder), profile=profile))
        for network in NETWORKS
    ]


def measured(models: Sequence[ModelError]) -> dict[str, Any]:
    """Average each metric over the layers of each network, and correlate it with the test error.

    Args:
        models: Of one profile.

    Returns:
        By metric: mean, standard error over layers and number of layers for each network, and the correlations. ``reliable
        alpha`` is over layers with a reliable fit; it is left out if a network has none.
    """
    found = {metric: _metric(models, metric, reliable_only=False) for metric in METRICS}
    if all(model.report.summary.num_reliable for model in models):
        found["reliable alpha"] = _metric(models, "alpha", reliable_only=True)
    return found


def agreement(ours: ModelError, ask: Callable[[Path], Rows], file: Path) -> dict[str, Any]:
    """Compare a report of the profile ``weightwatcher`` with WeightWatcher's own table, layer by layer.

    Args:
        ours: Report of a network.
        ask: Returns WeightWatcher's rows.
        file: Of the network.

    Returns:
        Number of layers in both tables and in one only, and the largest difference of each column: relative ones.
    """
    theirs = {_plain(row["longname"]): row for row in ask(file)}
    mine = {_plain(row["longname"]): row for row in ours.report.to_weightwatcher().to_dict("records")}
    both = [name for name in mine if name in theirs]
    differences = {
        column: max(_difference(float(mine[name][column]), float(theirs[name][column])) for name in both) for column in COMPARED
    }
    return {
        "layers": len(both),
        "in one table only": len(mine) + len(theirs) - 2 * len(both),
        "largest relative difference": {name: float(f"{value:.2g}") for name, value in differences.items()},
    }


def _metric(models: Sequence[ModelError], metric: str, *, reliable_only: bool) -> dict[str, Any]:
    values = [
        [
            value
            for layer in model.report.layers
            if math.isfinite(value := getattr(layer, metric)) and (layer.fit_quality == "good" or not reliable_only)
        ]
        for model in models
    ]
    ranks = rank_correlation([statistics.fmean(one) for one in values], [model.test_error for model in models])
    return {
        **{model.name: _mean(one) for model, one in zip(models, values, strict=True)},
        "spearman": round(ranks.spearman, 4),
        "kendall": round(ranks.kendall, 4),
        "smallest p-value": round(ranks.smallest_pvalue, 4),
    }


def _mean(values: Sequence[float]) -> dict[str, Any]:
    error = statistics.stdev(values) / len(values) ** 0.5 if len(values) > 1 else None
    return {
        "mean": round(statistics.fmean(values), 4), "std_error": error and round(error, 4), "layers": len(values),
        "median": round(statistics.median(values), 4),
    }  # fmt: skip


def _plain(name: str) -> str:
    return name.removeprefix("module.")


def _difference(mine: float, theirs: float) -> float:
    return abs(mine - theirs) / max(abs(theirs), 1e-12)
