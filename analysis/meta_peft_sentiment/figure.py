"""The figure: accuracy by number of samples, differences to SR over all held-out domains, and those of LoRA-ML in each."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.meta_peft_sentiment.protocol import DOMAINS, LORA_ML, METHODS, PRETRAINED, REPTILE, SIZES, STANDARD
from analysis.meta_peft_sentiment.summary import ALL

# Okabe and Ito (2008), and a brown
COLORS = {
    PRETRAINED: "#7F7F7F",
    STANDARD: "#D55E00",
    REPTILE: "#56B4E9",
    LORA_ML: "#0072B2",
    **dict(zip(DOMAINS, ("#000000", "#E69F00", "#009E73", "#CC79A7", "#8C510A"), strict=True)),
}
MARKERS = dict(zip((*METHODS, *DOMAINS), "o^vsoPDXs", strict=True))
STEP = 1.1  # between methods or domains, as a factor: samples are on a logarithmic axis

Results = Mapping[str, Any]


def draw(results: Results, path: Path) -> None:
    """Draw the panels and write them as PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    sizes = [results["sizes"][str(size)] for size in SIZES]
    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(6.75, 2.8), layout="constrained", dpi=200)
        accuracy, versus, domains = figure.subplots(1, 3)
        _panel(accuracy, {method: [of["accuracy"][ALL][method] for of in sizes] for method in METHODS})
        accuracy.set_title("a  accuracy on test, %", loc="left", fontsize=8)
        others = (REPTILE, LORA_ML)
        _panel(versus, {one: [of["difference"][ALL][f"{one} - {STANDARD}"] for of in sizes] for one in others}, interval=True)
        versus.set_title("b  difference to SR, points", loc="left", fontsize=8)
        main = f"{LORA_ML} - {STANDARD}"
        _panel(domains, {domain: [of["difference"][domain][main] for of in sizes] for domain in DOMAINS}, joined=False)
        domains.set_title("c  LoRA-ML − SR by domain, points", loc="left", fontsize=8)
        for axis in (versus, domains):
            axis.axhline(0.0, color=COLORS[STANDARD], linewidth=0.9, zorder=1)
        for axis, columns in ((accuracy, 2), (domains, 3)):
            axis.legend(fontsize=6.5, ncols=columns, loc="upper center", bbox_to_anchor=(0.5, -0.2), columnspacing=1.0)
        figure.savefig(path, metadata={"Software": None})


def _panel(axis: Any, lines: Mapping[str, list[Results]], *, interval: bool = False, joined: bool = True) -> None:
    """Means with standard errors, or with their intervals, by number of samples."""
    for number, (name, of) in enumerate(lines.items()):
        errors = [one["interval"][1] - one["mean"] if interval else one["std_error"] for one in of]
        axis.errorbar(
            [size * STEP ** (number - (len(lines) - 1) / 2) for size in SIZES],
            [100.0 * one["mean"] for one in of],
            [100.0 * error for error in errors],
            color=COLORS[name],
            marker=MARKERS[name],
            markersize=3.5,
            linewidth=1.0 if joined else 0.0,
            elinewidth=0.9,
            label=name,
        )
    axis.set_xscale("log")
    axis.set_xticks(SIZES, [str(size) for size in SIZES])
    axis.minorticks_off()
    axis.set_xlabel("samples of the new domain")
