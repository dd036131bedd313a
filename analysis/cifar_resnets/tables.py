"""The tables of ``README.md``, written from the results between their markers."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.cifar_resnets.measuring import PROFILES
from analysis.cifar_resnets.models import NETWORKS
from analysis.readme_tables import table, write_tables


def update(readme: Path, results: Mapping[str, Any]) -> None:
    """Write every table anew; all else stays."""
    tables = {profile: _metrics(results["metrics"][profile]) for profile in PROFILES}
    write_tables(readme, {**tables, "agreement": _agreement(results["agreement"])})


def _metrics(found: Mapping[str, Any]) -> str:
    names = [network.name for network in NETWORKS]
    rows = [
        [metric.replace("_", " "), *(_mean(of[name]) for name in names), f"{of['spearman']:+.2f}", f"{of['kendall']:+.2f}"]
        for metric, of in found.items()
    ]
    errors = ["test error (%)", *(f"{network.test_error:.2f}" for network in NETWORKS), "", ""]
    return table(["mean over layers", *names, "Spearman", "Kendall"], [errors, *rows])


def _mean(of: Mapping[str, Any]) -> str:
    return f"{of['mean']:.3f} ± {of['std_error']:.3f} ({of['layers']})"


def _agreement(found: Mapping[str, Any]) -> str:
    largest = {name: of["largest relative difference"] for name, of in found.items()}
    columns = list(next(iter(largest.values())))
    rows = [
        [name, of["layers"], of["in one table only"], *(f"{largest[name][column]:.1g}" for column in columns)]
        for name, of in found.items()
    ]
    return table(["network", "layers", "in one table only", *(f"`{column}`" for column in columns)], rows)
