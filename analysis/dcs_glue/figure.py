"""The figure: accuracy seed by seed, the effective share of samples by round, and how many suspects are flipped labels."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.dcs_glue.protocol import ARMS, WEIGHTED

# Okabe and Ito (2008)
COLORS = {
    "plain": "#7F7F7F",
    "plain-twice": "#000000",
    "uniform": "#56B4E9",
    "dcs": "#0072B2",
    "literal-adaboost": "#D55E00",
    "teacher": "#009E73",
}
MARKERS = {"plain": "o", "plain-twice": "D", "uniform": "v", "dcs": "s", "literal-adaboost": "^", "teacher": "P"}
LINES = ("-", "--", "-.", ":")
STEP = 0.13  # between arms

Results = Mapping[str, Any]


def draw(results: Results, path: Path) -> None:
    """Draw the panels and write them as PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(6.75, 4.8), layout="constrained", dpi=200)
        axes = figure.subplot_mosaic("aabbcc;dddeee")
        for letter, other, (task, of) in zip("ab", "de", results["label errors"].items(), strict=True):
            _accuracies(axes[letter], {cell: found for cell, found in results["cells"].items() if cell.startswith(task)})
            axes[letter].set_title(f"{letter}  accuracy, {task}", loc="left", fontsize=8)
            _curves(axes[other], of)
            axes[other].set_title(f"{other}  label errors, {task}; dotted: by chance", loc="left", fontsize=8)
        _shares(axes["c"], results["cells"])
        axes["d"].legend(fontsize=6.5)
        figure.legend(*axes["a"].get_legend_handles_labels(), loc="outside upper center", ncols=6, fontsize=6.5)
        figure.savefig(path, metadata={"Software": None})


def _accuracies(axis: Any, cells: Results) -> None:
    """Every run, runs of one seed joined, and the means; the teacher at the right."""
    arms = (*ARMS, "teacher")
    for place, of in enumerate(cells.values()):
        x = [place + STEP * (number - (len(arms) - 1) / 2) for number in range(len(arms))]
        for seeds in zip(*(of["accuracies"][arm] for arm in ARMS), strict=True):
            axis.plot(x[: len(ARMS)], [100.0 * value for value in seeds], color="0.85", linewidth=0.5, zorder=1)
        for arm, at in zip(arms, x, strict=True):
            values = [100.0 * value for value in of["accuracies"][arm]]
            axis.scatter([at] * len(values), values, s=7, color=COLORS[arm], marker=MARKERS[arm], linewidths=0, alpha=0.6)
            mean = 100.0 * of["accuracy"][arm]["mean"]
            axis.plot([at - 0.05, at + 0.05], [mean, mean], color=COLORS[arm], linewidth=1.6, label=None if place else arm)
    axis.set_xticks(range(len(cells)), [cell.partition(", ")[2] for cell in cells])
    axis.set_ylabel("accuracy on test, %")


def _shares(axis: Any, cells: Results) -> None:
    """Means over seeds, a line for each task and condition."""
    for line, (cell, of) in zip(LINES, cells.items(), strict=True):
        axis.plot([], [], line, color="black", linewidth=0.9, label=cell)
        for arm in WEIGHTED:
            shares = [100.0 * share for share in of["weights"][arm]["ess by round"]]
            axis.plot(range(1, len(shares) + 1), shares, line, color=COLORS[arm], marker=".", markersize=3, linewidth=0.9)
    axis.set(ylim=(0, 105), xlabel="after epoch", ylabel="effective share of samples, %")
    axis.set_xticks(range(1, len(shares) + 1))
    axis.set_title("c  sample weights", loc="left", fontsize=8)
    axis.legend(fontsize=6, loc="center right", bbox_to_anchor=(1.0, 0.52))


def _curves(axis: Any, of: Results) -> None:
    """Precision among the first of each ranking, the mean over seeds; a line where they are as many as the flipped labels."""
    for name, ranked in of["rankings"].items():
        arm, _, kind = name.partition(": ")
        curve = [100.0 * value for value in ranked["curve"]]
        line = "--" if kind == "mean loss" else "-"
        axis.plot(range(1, len(curve) + 1), curve, line, color=COLORS[arm], linewidth=1.1, label=name)
    axis.axhline(100.0 * of["flipped"] / of["examples"], color="black", linewidth=0.7, linestyle=":")
    axis.axvline(of["flipped"], color="0.8", linewidth=0.7, zorder=0)
    axis.set(ylim=(0, 105), xlabel="first of the ranking", ylabel="flipped labels among them, %")
