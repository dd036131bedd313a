"""The figure: what noise, trained layers and planted power laws score, and where the line is drawn."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
from candidates import MIN_STANDARD_ERRORS, passes

SPARSEST = "sparse Gaussian, 10 %"

BELOW = {"loc": "upper center", "bbox_to_anchor": (0.5, -0.24), "ncols": 2, "fontsize": 6.5, "columnspacing": 1.0}

Row = dict[str, Any]
BLUE, RED, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#7F7F7F"  # Okabe and Ito (2008)


def draw(noise: list[Row], untrained: list[Row], trained: list[Row], planted: dict[str, Any], path: Path) -> None:
    """Draw the three panels and write them as PNG."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context({"font.size": 8, "axes.spines.top": False, "axes.spines.right": False, "legend.frameon": False}):
        figure = Figure(figsize=(6.75, 2.9), layout="constrained", dpi=200)
        left, middle, right = figure.subplots(1, 3)
        _scores(left, noise, untrained, trained)
        _rates(middle, noise)
        _power(right, planted)
        figure.savefig(path, metadata={"Software": None})


def _scores(axis: Any, noise: list[Row], untrained: list[Row], trained: list[Row]) -> None:
    """Share of fits with an excess above z, on a logarithmic axis."""
    dense = [row for row in noise if row["cell"][0] != SPARSEST]
    for rows, label, color, style in (
        (trained, "trained", BLUE, "-"),
        (noise, "noise", GREY, "-"),
        (dense, "noise, but sparse 10 %", GREY, "--"),
        (untrained, "untrained", GREEN, ":"),
    ):
        fit = [row["excess"] for row in rows if passes(row, longer=False)]
        grid = np.linspace(-4.0, 12.0, 400)
        share = [max(np.mean(np.asarray(fit) > z) * len(fit) / len(rows), 1e-6) for z in grid]
        axis.plot(grid, share, style, color=color, label=label)
    axis.axvline(MIN_STANDARD_ERRORS, color=RED, linewidth=0.8)
    axis.set(
        yscale="log",
        ylim=(1e-5, 1.5),
        xlabel="excess over random, standard errors",
        ylabel="share of fits above",
        xlim=(-4, 12),
        yticks=[1.0, 1e-1, 1e-2, 1e-3, 1e-4, 1e-5],
    )
    axis.set_title("a  what is called reliable", loc="left", fontsize=8)
    axis.legend(**BELOW)


def _rates(axis: Any, noise: list[Row]) -> None:
    """Noise with an alpha in [2, 6] that is called reliable, by the number of eigenvalues."""
    edges = [8, 24, 40, 70, 100, 160, 260, 400, 600, 3000]
    middles = [np.sqrt(a * b) for a, b in pairwise(edges)]
    for name, color, marker in (("before", GREY, "s"), ("now", RED, "o")):
        shares = []
        for low, high in pairwise(edges):
            rows = [row for row in noise if low <= _num_eigenvalues(row) < high]
            hits = sum((row["before"] if name == "before" else passes(row)) and 2.0 <= row["alpha"] <= 6.0 for row in rows)
            shares.append(100.0 * hits / len(rows))
        axis.plot(middles, shares, marker, linestyle="-", color=color, label=name, markersize=3.5)
    axis.axhline(1.0, color="black", linewidth=0.6, linestyle=":")
    axis.set(xscale="log", xlabel="number of eigenvalues", ylabel="% reliable with 2 ≤ alpha ≤ 6", ylim=(-1, None))
    axis.set_title("b  noise by size", loc="left", fontsize=8)
    axis.legend(**BELOW)


def _num_eigenvalues(row: Row) -> int:
    rows, cols, positions = (*row["shape"], 1)[:3]
    return int(min(rows, cols) * positions)


def _power(axis: Any, planted: dict[str, Any]) -> None:
    """Share of planted tails found, by their exponent."""
    found = planted["tail, aspect 1"]
    alphas = sorted({float(key.split()[1].rstrip(",")) for key in found})
    for size, color, marker in ((64, GREY, "s"), (128, GREEN, "^"), (256, BLUE, "D"), (512, RED, "o")):
        shares = [found[f"alpha {alpha:g}, n {size}"]["now"] for alpha in alphas]
        axis.plot(alphas, shares, marker, linestyle="-", color=color, label=f"n = {size}", markersize=3.5)
    whole = [planted["whole"][f"alpha {alpha:g}, n 512"]["now"] for alpha in alphas]
    axis.plot(alphas, whole, ":", color="black", label="512, whole spectrum")
    axis.set(xlabel="exponent of the planted law", ylabel="share called reliable", ylim=(0.0, 1.05))
    axis.set_title("c  planted tails of 15 %", loc="left", fontsize=8)
    axis.legend(**BELOW)
