"""The figure: what tuning has given and taken, seed by seed, by adapter and by the responses it was done with."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.sdft_forgetting.protocol import ADAPTERS, ARMS
from analysis.sdft_forgetting.summary import SHARES

# Okabe and Ito (2008)
COLORS = {"vanilla": "#D55E00", "mix": "#56B4E9", "sdft": "#0072B2"}
MARKERS = {"vanilla": "o", "mix": "^", "sdft": "s"}
PANELS = {
    "target": "new sums, asked as in the data, %",
    "as before": "new sums, asked as before, %",
    "known": "known sums, %",
    "skill": "second skill, %",
    "skill loss": "second skill, nats per token",
    "shift": "shift of the parameters, %",
}
STEP = 0.2  # between arms

Results = Mapping[str, Any]


def draw(results: Results, path: Path) -> None:
    """Draw the panels and write them as PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(6.75, 4.2), layout="constrained", dpi=200)
        axes = figure.subplots(2, 3)
        for letter, axis, (name, title) in zip("abcdef", axes.flat, PANELS.items(), strict=True):
            _panel(axis, results, name)
            axis.set_title(f"{letter}  {title}", loc="left", fontsize=8)
        figure.legend(*axes.flat[0].get_legend_handles_labels(), loc="outside upper center", ncols=4, fontsize=7)
        figure.savefig(path, metadata={"Software": None})


def _panel(axis: Any, results: Results, name: str) -> None:
    """Seeds as dots, their means as lines; dotted: before tuning."""
    scale = 1.0 if name == "skill loss" else 100.0
    if name in results["base"]:
        axis.axhline(scale * results["base"][name]["mean"], color="black", linewidth=0.8, linestyle=":", label="before tuning")
    for place, adapter in enumerate(ADAPTERS):
        of = results["adapters"][adapter]
        for number, arm in enumerate(ARMS):
            at, values = place + STEP * (number - 1), [scale * value for value in of["seeds"][arm][name]]
            axis.scatter([at] * len(values), values, 10, COLORS[arm], MARKERS[arm], linewidths=0, alpha=0.6)
            mean = scale * of["mean"][arm][name]["mean"]
            label = None if place else arm
            axis.plot([at - 0.4 * STEP, at + 0.4 * STEP], [mean, mean], color=COLORS[arm], linewidth=1.8, label=label)
    axis.set_xticks(range(len(ADAPTERS)), ADAPTERS)
    if name in SHARES:
        axis.set_ylim(-4, 104)
    elif name == "skill loss":  # over orders of magnitude
        axis.set_yscale("log")
    else:
        axis.set_ylim(0, 1.05 * axis.get_ylim()[1])
