"""The figure: accuracies persona by persona, accuracies by epoch of adapting, and losses by epoch of retraining."""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from pathlib import Path
from statistics import fmean
from typing import Any

from analysis.meta_peft_convai2.data import NUM_NEGATIVES
from analysis.meta_peft_convai2.protocol import ARMS, METHODS

# Okabe and Ito (2008)
COLORS = {"raw": "#7F7F7F", "SR": "#D55E00", "LoRA-ML": "#0072B2", "Reptile": "#009E73"}
MARKERS = {"raw": "D", "SR": "o", "LoRA-ML": "s", "Reptile": "^"}

Results = Mapping[str, Any]


def draw(results: Results, path: Path) -> None:
    """Draw the panels and write them as PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(7.2, 2.7), layout="constrained", dpi=200)
        personas, epochs, losses = figure.subplots(1, 3)
        _personas(personas, results)
        _epochs(epochs, results)
        _losses(losses, results["loss by epoch"])
        epochs.sharey(personas)
        figure.legend(*epochs.get_legend_handles_labels(), loc="outside upper center", ncols=5, fontsize=7)
        figure.savefig(path, metadata={"Software": None})


def _personas(axis: Any, results: Results) -> None:
    """Every persona, a mean over seeds, its arms joined; and the means."""
    of_arms = [[100.0 * fmean(of) for of in results["values"]["last"][arm].values()] for arm in ARMS]
    for of_persona in zip(*of_arms, strict=True):
        axis.plot(range(len(ARMS)), of_persona, color="0.85", linewidth=0.5, zorder=1)
    for at, (arm, values) in enumerate(zip(ARMS, of_arms, strict=True)):
        axis.scatter([at] * len(values), values, s=9, color=COLORS[arm], marker=MARKERS[arm], linewidths=0, alpha=0.7)
        axis.plot([at - 0.25, at + 0.25], [fmean(values)] * 2, color=COLORS[arm], linewidth=1.8)
    _chance(axis, results)
    axis.set_xticks(range(len(ARMS)), ARMS, fontsize=7)
    axis.set_ylabel("accuracy among 20 candidates, %")
    axis.set_title("a  by persona, last epoch", loc="left", fontsize=8)


def _epochs(axis: Any, results: Results) -> None:
    """Means, and a standard error to each side; arms a little beside each other."""
    for number, arm in enumerate(ARMS):
        looks = results["by epoch"][arm]
        at = [int(epoch) + 0.08 * (number - (len(ARMS) - 1) / 2) for epoch in looks]
        means, errors = ([100.0 * look[name] for look in looks.values()] for name in ("mean", "std_error"))
        axis.errorbar(
            at, means, errors, color=COLORS[arm], marker=MARKERS[arm], markersize=3, linewidth=1.1, elinewidth=0.8, label=arm
        )
    _chance(axis, results)
    axis.set_xticks([int(epoch) for epoch in looks])
    axis.set_xlabel("epochs of adapting")
    axis.set_title("b  by epoch, all personas", loc="left", fontsize=8)


def _losses(axis: Any, losses: Results) -> None:
    for arm in METHODS:
        epochs = range(1, len(losses[arm]) + 1)
        means, errors = ([of[name] for of in losses[arm]] for name in ("mean", "std_error"))
        axis.errorbar(epochs, means, errors, color=COLORS[arm], marker=MARKERS[arm], markersize=3, linewidth=1.1)
    # Who knows nothing but how many candidates are true.
    share = 1.0 / (1.0 + NUM_NEGATIVES)
    axis.axhline(-share * log(share) - (1.0 - share) * log(1.0 - share), color="black", linewidth=0.8, linestyle="--")
    axis.set_xticks(list(epochs))
    axis.set(xlabel="epochs of retraining", ylabel="loss, nats per row")
    axis.set_title("c  retraining", loc="left", fontsize=8)


def _chance(axis: Any, results: Results) -> None:
    axis.axhline(
        100.0 * results["chance"]["last"], color="black", linewidth=0.8, linestyle="--", label="chance, or nothing learned"
    )
    axis.set_ylim(bottom=0)
