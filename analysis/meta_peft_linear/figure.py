"""The figure: excess risk on the new task while it is learned, one panel for each parameter, and what a rank can reach."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

from analysis.meta_peft_linear.measuring import ORACLE, STANDARD, SYMMETRIC
from analysis.meta_peft_linear.protocol import BASE, PANELS, Setting
from analysis.meta_peft_linear.summary import result

# Okabe and Ito (2008)
COLORS = {STANDARD: "#D55E00", SYMMETRIC: "#0072B2", ORACLE: "#000000"}
STYLES: tuple[Literal["-", "--", ":", "-."], ...] = ("-", "--", ":", "-.")
LETTERS = "abcdef"
TITLES = {
    "d": "d: inputs and outputs",
    "T": "T: tasks (T = 2: rank 3)",
    "N": "N: samples of each task",
    "n": "n: samples of the new task",
    "k": "k: rank of the differences",
}
FLOOR = 1e-5  # below it the last panel's risks are round-off and what descent has left

Results = Sequence[Mapping[str, Any]]


def draw(results: Results, steps: Sequence[int], path: Path) -> None:
    """Draw the panels and write them as PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D

    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(6.75, 4.8), layout="constrained", dpi=200)
        axes = figure.subplots(2, 3)
        for letter, axis, (name, settings) in zip(LETTERS, axes.flat, PANELS.items(), strict=False):
            _curves(axis, results, steps, name, settings)
            axis.set_title(rf"$\bf{{{letter}}}$   {TITLES[name]}", loc="left", fontsize=8)
        _ranks(axes.flat[-1], results)
        axes.flat[-1].set_title(rf"$\bf{{{LETTERS[-1]}}}$   the best adapter of a rank", loc="left", fontsize=8)
        handles = [Line2D([], [], color=color, label=arm) for arm, color in COLORS.items()]
        figure.legend(handles=handles, loc="outside upper center", ncols=3)
        figure.savefig(path, metadata={"Software": None})


def _curves(axis: Any, results: Results, steps: Sequence[int], name: str, settings: Sequence[Setting]) -> None:
    """Means over seeds as lines, all seeds as bands; the oracle thin, on top of what it bounds."""
    from matplotlib.lines import Line2D

    for style, setting in zip(STYLES, settings, strict=False):
        for arm, color in COLORS.items():
            mean, least, most = result(results, setting)[arm]["curve"]
            axis.plot(steps, mean, style, color=color, linewidth=0.7 if arm == ORACLE else 1.3)
            if arm != ORACLE:
                axis.fill_between(steps, least, most, color=color, alpha=0.08, linewidth=0)
    labels = [f"{name} = {getattr(setting, name):,}" for setting in settings]
    handles = [Line2D([], [], color="0.3", linestyle=style, label=of) for style, of in zip(STYLES, labels, strict=False)]
    axis.legend(handles=handles, fontsize=6.5, loc="lower left", handlelength=2.2, borderaxespad=0.1)
    axis.set(xscale="log", yscale="log", xlabel="fine-tuning steps", ylim=(1e-5, 2e3))
    if axis.get_subplotspec().is_first_col():
        axis.set_ylabel("excess risk on the new task")


def _ranks(axis: Any, results: Results) -> None:
    """The least risk of an adapter of each rank, by the number of tasks, with infinitely many samples."""
    from matplotlib.lines import Line2D

    tasks = (2, 3, 5)
    for style, number in zip(STYLES, tasks, strict=False):
        arms = result(results, replace(BASE, T=number, N=None))
        for arm, color in COLORS.items():
            risks = [max(risk["mean"], FLOOR) for risk in arms[arm]["reachable"]]
            axis.plot(range(len(risks)), risks, style, color=color, linewidth=0.7 if arm == ORACLE else 1.3, marker=".", ms=4)
    handles = [
        Line2D([], [], color="0.3", linestyle=style, label=f"T = {number}")
        for style, number in zip(STYLES, tasks, strict=False)
    ]
    axis.legend(handles=handles, fontsize=6.5, loc="upper right", handlelength=2.2)
    axis.set(yscale="log", xlabel="rank of the new adapter", ylabel="least excess risk, N = ∞")
