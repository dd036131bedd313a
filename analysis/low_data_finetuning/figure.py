"""The figure: for each size and adapter, differences to plain fine-tuning over all tasks, and those of single tasks."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from analysis.low_data_finetuning.methods import ADAPTERS, TUNED

# Okabe and Ito (2008)
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
MARKERS = "osD^"

Results = Mapping[str, Any]


def draw(results: Results, path: Path) -> None:
    """Draw a panel for each size and adapter and write them as PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    sizes = results["sizes"]
    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(6.75, 2.0 * len(sizes) + 0.6), layout="constrained", dpi=200)
        panels = figure.subplots(len(sizes), len(ADAPTERS), sharex=True, sharey=True, squeeze=False)
        for number, (size, adapter) in enumerate((size, adapter) for size in sizes for adapter in ADAPTERS):
            axis = panels[number // len(ADAPTERS)][number % len(ADAPTERS)]
            _panel(axis, results, size, adapter)
            axis.set_title(f"{'abcdef'[number]}  {size} examples, {adapter}", loc="left", fontsize=8)
        for axis in panels[-1]:
            axis.set_xlabel("accuracy on test − plain, points")
        handles, labels = panels[0][0].get_legend_handles_labels()
        figure.legend(handles, labels, loc="outside lower center", ncols=len(labels), fontsize=7)
        figure.savefig(path, metadata={"Software": None})


def _panel(axis: Any, results: Results, size: int, adapter: str) -> None:
    """All tasks as a point with its interval, single tasks as small marks below it."""
    methods = TUNED[1:]
    axis.axvline(0.0, color="0.5", linewidth=0.8, zorder=0)
    for task, color, marker in zip(results["tasks"], COLORS, MARKERS, strict=False):
        rows = _rows(results["by task"], size, adapter, task)
        places = [methods.index(row["one"]) + 0.22 for row in rows]
        look = {"color": color, "marker": marker, "s": 11, "linewidths": 0, "alpha": 0.8}
        axis.scatter([100.0 * row["mean"] for row in rows], places, label=task, **look)
    rows = _rows(results["against plain"], size, adapter)
    axis.errorbar(
        [100.0 * row["mean"] for row in rows],
        [methods.index(row["one"]) for row in rows],
        xerr=[[_half(row) for row in rows]] * 2,
        fmt="o",
        color="black",
        markersize=3.5,
        elinewidth=0.9,
        label="all tasks, 95 % interval",
    )
    axis.set_yticks(range(len(methods)), methods)
    axis.set_ylim(len(methods) - 0.4, -0.6)


def _half(row: Mapping[str, Any]) -> float:
    """Half the width of an interval; none of a single seed."""
    return 0.0 if row["high"] is None else 100.0 * (row["high"] - row["mean"])


def _rows(rows: Any, size: int, adapter: str, task: str | None = None) -> list[Mapping[str, Any]]:
    return [row for row in rows if (row["size"], row["adapter"]) == (size, adapter) and task in (None, row["task"])]
