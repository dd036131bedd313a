"""The figure: what each allocation does to each model, seed by seed relative to the uniform one."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")

import matplotlib.pyplot as plt

from analysis.alpha_pruning.allocations import ALLOCATIONS, SPARSITIES
from analysis.alpha_pruning.pruned import METHODS

# Okabe and Ito: told apart by colour-blind readers, too.
_COLORS = {"alpha": "#0072B2", "reversed": "#D55E00", "shuffled": "#999999", "alpha, recommended fit": "#56B4E9"}
_TITLES = {
    "stories260K": ("perplexity on its own texts,\nover that of uniform (lower is better)", True),
    "all-MiniLM-L6-v2": ("cosine to the dense embedding,\nover that of uniform (higher is better)", False),
}


def draw(results: Mapping[str, Any], path: Path) -> None:
    """Draw one panel per model."""
    cells = [f"{method}, {sparsity:.0%}" for method in METHODS for sparsity in SPARSITIES]
    names = [name for name in ALLOCATIONS if name != "uniform"]
    figure, axes = plt.subplots(1, 2, figsize=(9.0, 3.6), constrained_layout=True)
    for axis, (model, (label, is_log)) in zip(axes, _TITLES.items(), strict=True):
        for number, name in enumerate(names):
            found = [results[model][cell][name]["over uniform"] for cell in cells]
            places = [place + 0.16 * (number - 1.5) for place in range(len(cells))]
            axis.errorbar(
                places, [of["mean"] for of in found], [of["std_error"] for of in found],
                fmt="o", ms=5, capsize=2, color=_COLORS[name], label=name,
            )  # fmt: skip
            if name == "shuffled":
                for place, cell in zip(places, cells, strict=True):
                    draws = results[model][cell][name]["draws over uniform"]
                    axis.plot([place] * len(draws), draws, ".", ms=3, color=_COLORS[name], alpha=0.7)
        axis.axhline(1.0, color="black", lw=0.8)
        axis.set_xticks(range(len(cells)), [cell.replace(", ", "\n") for cell in cells])
        axis.set_title(model)
        axis.set_ylabel(label)
        if is_log:
            axis.set_yscale("log")
            axis.set_yticks([0.5, 0.7, 1.0, 1.5, 2.0, 3.0], ["0.5", "0.7", "1", "1.5", "2", "3"])
            axis.minorticks_off()
    axes[0].legend(fontsize=8, frameon=False)
    figure.savefig(path, dpi=150)
    plt.close(figure)
