"""The figure: losses in retraining, risks in fine-tuning and risks seed by seed after it, a column for each setting."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.meta_peft_two_layer.protocol import ARMS, RETRAINED

COLORS = {"LoRA-ML": "#0072B2", "SR": "#D55E00", "oracle": "#009E73"}  # Okabe and Ito (2008)
MARKERS = {"LoRA-ML": "s", "SR": "o", "oracle": "P"}
NOISE_FLOOR = 0.01  # of the loss: the variance of the noise

Results = Mapping[str, Any]


def draw(results: Results, path: Path) -> None:
    """Draw the panels and write them as PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    columns = [(setting, rank) for setting, of in results.items() for rank in of["fine-tuning"]]
    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(1.25 * len(columns) + 0.7, 5.6), layout="constrained", dpi=200)
        axes = figure.subplots(3, len(columns), sharey="row", squeeze=False)
        for (top, middle, bottom), (setting, rank) in zip(axes.T, columns, strict=True):
            of = results[setting]
            _retraining(top, of["loss by epoch"], f"{setting}\n{rank}", shown=rank == next(iter(of["fine-tuning"])))
            _curves(middle, of["fine-tuning"][rank]["risk by epoch"], ARMS)
            _seeds(bottom, of["fine-tuning"][rank])
        for axis, what in zip(axes[:, 0], ("loss in retraining", "risk in fine-tuning", "risk after it, by seed"), strict=True):
            axis.set_ylabel(what)
        lines = {label: line for axis in axes[:2, 0] for line, label in zip(*axis.get_legend_handles_labels(), strict=True)}
        figure.legend(lines.values(), lines.keys(), loc="outside upper center", ncols=4, fontsize=8)
        figure.savefig(path, metadata={"Software": None})


def _retraining(axis: Any, curves: Results, title: str, *, shown: bool) -> None:
    """Losses of a setting; another column of the same setting has the title alone."""
    axis.set_title(title, fontsize=8)
    if not shown:
        axis.set_axis_off()
        return
    _curves(axis, curves, RETRAINED)
    axis.axhline(NOISE_FLOOR, color="black", linewidth=0.7, linestyle=":", label="variance of the noise")


def _curves(axis: Any, curves: Results, arms: tuple[str, ...]) -> None:
    """Means over seeds, and a standard error to each side."""
    epochs = [epoch / 1000.0 for epoch in curves["epochs"]]
    for arm in arms:
        means = [one["mean"] for one in curves[arm]]
        errors = [one["std_error"] for one in curves[arm]]
        below, above = ([m + sign * e for m, e in zip(means, errors, strict=True)] for sign in (-1.0, 1.0))
        axis.fill_between(epochs, below, above, color=COLORS[arm], alpha=0.25, linewidth=0)
        axis.plot(epochs, means, color=COLORS[arm], linewidth=1.1, label=arm)
    axis.set(yscale="log", xlabel="epochs / 1000")


def _seeds(axis: Any, of: Results) -> None:
    """Every seed, its arms joined, and the means."""
    for seeds in zip(*(of["risks"][arm] for arm in ARMS), strict=True):
        axis.plot(range(len(ARMS)), seeds, color="0.85", linewidth=0.5, zorder=1)
    for at, arm in enumerate(ARMS):
        values = of["risks"][arm]
        axis.scatter([at] * len(values), values, s=9, color=COLORS[arm], marker=MARKERS[arm], linewidths=0, alpha=0.7)
        mean = of["risk"][arm]["mean"]
        axis.plot([at - 0.25, at + 0.25], [mean, mean], color=COLORS[arm], linewidth=1.8)
    axis.set_yscale("log")
    axis.set_xticks(range(len(ARMS)), ARMS, rotation=45, ha="right", fontsize=7)
