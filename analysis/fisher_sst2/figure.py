"""The figure: how the types of dropout sites rank, how fast the scores settle, and what moving each half of the model does."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.fisher_sst2.orderings import AGGREGATES, PUBLISHED_ORDER

BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"  # Okabe and Ito (2008)
SMALL = {"fontsize": 6.5, "handletextpad": 0.4}

_LOOKS = {
    "attention_probs": (BLUE, "o", "attention probabilities"),
    "attention_output": (RED, "s", "attention output"),
    "mlp_output": (GREEN, "^", "MLP output"),
    "embeddings": (GREY, "D", "embeddings"),
}
_KIND_COLORS = {"empirical": BLUE, "sampled": RED, "exact": GREEN}
_REGION_COLORS = {"top": RED, "bottom": BLUE}

Results = Mapping[str, Any]


def draw(results: Results, path: Path) -> None:
    """Draw the three panels and write them as PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(6.75, 3.0), layout="constrained", dpi=200)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.35, 1.0, 1.0))
        _ranks(left, results["site types"]["empirical"])
        _errors(middle, results["convergence"])
        _surfaces(right, results["surfaces"])
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=4, columnspacing=1.0, **SMALL)
        figure.savefig(path, metadata={"Software": None})


def _ranks(axis: Any, found: Results) -> None:
    """Every site's rank under each aggregate, and where the published order has its type."""
    for number, how in enumerate(AGGREGATES):
        for place, role in enumerate(PUBLISHED_ORDER):
            color, marker, _ = _LOOKS[role]
            ranks = found[how]["ranks"][role]
            axis.scatter([number + 0.17 * (place - 1.5)] * len(ranks), ranks, s=9, marker=marker, color=color, linewidths=0)
    published = len(AGGREGATES)
    start = 0
    for place, role in enumerate(PUBLISHED_ORDER):
        color, marker, label = _LOOKS[role]
        ranks = range(start, start + len(found[AGGREGATES[0]]["ranks"][role]))
        start = ranks.stop
        x = [published + 0.17 * (place - 1.5)] * len(ranks)
        axis.scatter(x, ranks, s=9, marker=marker, facecolors="none", edgecolors=color, linewidths=0.6)
        axis.plot([], [], marker, color=color, markersize=3, label=label)
    axis.axvline(published - 0.5, color="black", linewidth=0.5, linestyle=":")
    names = [*AGGREGATES, "published\n(BERT-base)"]
    axis.set_xticks(range(len(names)), names, rotation=60, ha="right", rotation_mode="anchor", fontsize=6.5)
    axis.set(ylabel="rank among 19 sites, 0 = lowest", yticks=range(0, 19, 6))
    axis.set_title("a  types of dropout sites", loc="left", fontsize=8)


def _errors(axis: Any, kinds: Results) -> None:
    """Standard error of a tensor's trace, by the number of sentences."""
    for kind, sizes in kinds.items():
        numbers = [int(size) for size in sizes]
        errors = [100.0 * of["median relative standard error"] for of in sizes.values()]
        axis.plot(numbers, errors, "-", color=_KIND_COLORS[kind], marker=".", label=kind, linewidth=0.9)
    axis.set(xscale="log", yscale="log", xlabel="sentences", ylabel="standard error, median tensor, %")
    axis.set_xticks(numbers, list(sizes))
    axis.set_yticks([1, 2, 5, 10, 20], ["1", "2", "5", "10", "20"])
    axis.minorticks_off()
    axis.set_title("b  error by sentences", loc="left", fontsize=8)
    axis.legend(loc="upper right", **SMALL)


def _surfaces(axis: Any, settings: Results) -> None:
    """Loss by distance, as published and with steps of equal length."""
    for setting, line in (("published", "-"), ("matched", "--")):
        for region, color in _REGION_COLORS.items():
            rings = settings[setting][region]["mean loss by radius"]
            heights = [found["mean"] for found in rings.values()]
            errors = [found["std_error"] for found in rings.values()]
            axis.errorbar(
                range(len(heights)),
                heights,
                errors,
                linestyle=line,
                color=color,
                linewidth=0.9,
                elinewidth=0.5,
                label=f"{region} half, {setting}",
            )
    names = [ring.replace(" to ", "–") if not ring.endswith(" to inf") else f"> {ring.split()[0]}" for ring in rings]
    axis.set_xticks(range(len(names)), names, rotation=45, fontsize=6.5)
    axis.set(xlabel="distance from the weights", ylabel="loss", ylim=(0, 10.5))
    axis.set_title("c  moving one half", loc="left", fontsize=8)
    axis.legend(loc="upper left", **SMALL)
