"""The figure: accuracy seed by seed, how uneven alpha is over the blocks, and the multipliers of the blocks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.tempbalance_low_data.protocol import ARMS

COLORS = {"baseline": "#7F7F7F", "tempbalance": "#0072B2", "shuffled": "#D55E00"}  # Okabe and Ito (2008)
MARKERS = {"baseline": "o", "tempbalance": "s", "shuffled": "^"}

Results = Mapping[str, Any]


def draw(results: Results, path: Path) -> None:
    """Draw the three panels and write them as PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(6.75, 2.6), layout="constrained", dpi=200)
        left, middle, right = figure.subplots(1, 3, width_ratios=(1.3, 1.3, 1.0))
        _accuracies(left, results)
        _spreads(middle, results)
        _scales(right, results)
        figure.legend(*left.get_legend_handles_labels(), loc="outside lower center", ncols=3, fontsize=7)
        figure.savefig(path, metadata={"Software": None})


def _accuracies(axis: Any, results: Results) -> None:
    """Every run, runs of one seed joined, and the means."""
    for place, of in enumerate(results.values()):
        x = [place + 0.25 * (number - 1) for number in range(len(ARMS))]
        for seeds in zip(*(of["accuracies"][arm] for arm in ARMS), strict=True):
            axis.plot(x, [100.0 * value for value in seeds], color="0.85", linewidth=0.5, zorder=1)
        for arm, at in zip(ARMS, x, strict=True):
            values = [100.0 * value for value in of["accuracies"][arm]]
            axis.scatter([at] * len(values), values, s=6, color=COLORS[arm], marker=MARKERS[arm], linewidths=0, alpha=0.6)
            mean = 100.0 * of["accuracy"][arm]["mean"]
            label = arm if place == 0 else None
            axis.plot([at - 0.09, at + 0.09], [mean, mean], color=COLORS[arm], linewidth=1.6, label=label)
    _name_cells(axis, results)
    axis.set_ylabel("accuracy on test, %")
    axis.set_title("a  accuracy", loc="left", fontsize=8)


def _spreads(axis: Any, results: Results) -> None:
    """Standard deviation of alpha over blocks: before training as a line, after it by arm."""
    for place, of in enumerate(results.values()):
        found = of["spread of alpha"]
        axis.axhline(found["before"], color="black", linewidth=0.8, linestyle=":")
        for number, arm in enumerate(ARMS):
            at = place + 0.25 * (number - 1)
            look = {"color": COLORS[arm], "marker": MARKERS[arm], "markersize": 3, "linewidth": 0.8}
            axis.errorbar([at], [found[arm]["mean"]], [found[arm]["std_error"]], **look)
    _name_cells(axis, results)
    axis.set_ylabel(r"std of $\alpha$ over blocks")
    axis.set_title("b  spread; dotted: before training", loc="left", fontsize=8)


def _scales(axis: Any, results: Results) -> None:
    """Multipliers of the last step, a line for each task and size."""
    for line, (cell, of) in zip(("-", "--", "-.", ":"), results.items(), strict=False):
        axis.plot(list(of["scales"]["tempbalance"].values()), line, color=COLORS["tempbalance"], linewidth=0.9, label=cell)
    axis.axhline(1.0, color="0.7", linewidth=0.5, zorder=0)
    axis.set(yscale="log", xlabel="block", ylabel="multiplier, last step")
    axis.set_yticks([0.2, 0.5, 1.0, 2.0, 5.0], ["0.2", "0.5", "1", "2", "5"])
    axis.minorticks_off()
    axis.set_title("c  TempBalance", loc="left", fontsize=8)
    axis.legend(fontsize=5.5, loc="best", handlelength=2.5)


def _name_cells(axis: Any, results: Results) -> None:
    names = [cell.replace(", ", "\n").replace(" examples", "") for cell in results]
    axis.set_xticks(range(len(names)), names, fontsize=6.5)
