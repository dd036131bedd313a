"""Prune two small models by alpha and by the controls, at the same global sparsity.

    python -m analysis.alpha_pruning.study --data-dir DATA --models MODELS

``DATA`` holds ``glue/SST-2/`` (or is named by ``SPECTRA_DATA_DIR``), ``MODELS`` holds ``stories260K/``; the demo model comes
with the package. Writes ``results.json``, ``alpha_pruning.png`` and the tables of ``README.md`` in this folder. Everything is
seeded; two processes.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two processes on two cores

import argparse
import json
import re
import statistics
import sys
import time
from collections.abc import Iterable
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from analysis.alpha_pruning import sentences, stories
from analysis.alpha_pruning.allocations import SEEDS, described, plans_for
from analysis.alpha_pruning.figure import draw
from analysis.alpha_pruning.pruned import Row
from analysis.alpha_pruning.tables import update

HERE = Path(__file__).parent


def summary(values: Iterable[float]) -> dict[str, Any]:
    """Give mean and standard error, and the values."""
    numbers = list(values)
    error = statistics.stdev(numbers) / len(numbers) ** 0.5
    return {"mean": _short(statistics.fmean(numbers)), "std_error": _short(error), "values": [_short(n) for n in numbers]}


def summarized(rows: list[Row]) -> dict[str, Any]:
    """Gather the seeds of each way of pruning, and compare each allocation with the uniform one seed by seed."""
    by_cell: dict[tuple[str, str, str], dict[int, float]] = {}
    draws: dict[tuple[str, str], dict[int, list[float]]] = {}
    for row in rows:
        cell = (row["method"], f"{row['sparsity']:.0%}", row["allocation"])
        by_cell.setdefault(cell, {})[row["seed"]] = row["value"]
        if row["allocation"] == "shuffled":
            draws.setdefault(cell[:2], {})[row["seed"]] = row["draws"]
    found: dict[str, Any] = {"dense": summary(by_cell.pop(("none", "0%", "dense")).values())}
    for (method, sparsity, allocation), values in by_cell.items():
        uniform = by_cell[method, sparsity, "uniform"]
        cell = summary(values.values())
        if allocation != "uniform":
            cell["over uniform"] = summary(values[seed] / uniform[seed] for seed in values)
        if allocation == "shuffled":
            of_draws = draws[method, sparsity]
            cell["draws over uniform"] = [_short(value / uniform[seed]) for seed in of_draws for value in of_draws[seed]]
            alpha = by_cell[method, sparsity, "alpha"]
            cell["draws below alpha"] = sum(value < alpha[seed] for seed in of_draws for value in of_draws[seed])
        found.setdefault(f"{method}, {sparsity}", {})[allocation] = cell
    found["largest error of the global sparsity"] = _short(max(row["missed"] for row in rows if "missed" in row))
    return found


def _short(value: float) -> float:
    return float(f"{value:.4g}")


def _compact(content: Any) -> str:
    """Write JSON with the innermost objects and lists on one line each."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    for innermost in (r"\[[^][{}]*\]", r"\{[^{}]*\}"):
        text = re.sub(innermost, lambda match: re.sub(r"\s+", " ", match.group()), text)
    return text


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("SPECTRA_DATA_DIR"))
    parser.add_argument("--models", type=Path, required=True)
    given = parser.parse_args(argv)
    if given.data_dir is None:
        parser.error("say where the data are: --data-dir, or the environment variable SPECTRA_DATA_DIR")
    started = time.perf_counter()
    sst2, folder = Path(given.data_dir) / "glue" / "SST-2", given.models / "stories260K"
    plans = {"stories260K": plans_for(folder), "all-MiniLM-L6-v2": plans_for("demo")}
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        tasks = {
            "all-MiniLM-L6-v2": [pool.submit(sentences.rows, sst2, plans["all-MiniLM-L6-v2"], seed) for seed in SEEDS],
            "stories260K": [pool.submit(stories.rows, folder, plans["stories260K"], seed) for seed in SEEDS],
        }
        rows = {name: [row for future in futures for row in future.result()] for name, futures in tasks.items()}
    results = {name: {**described(plans[name]), **summarized(rows[name])} for name in plans}
    (HERE / "results.json").write_text(_compact(results) + "\n", encoding="utf-8")
    draw(results, HERE / "alpha_pruning.png")
    update(HERE / "README.md", results)
    sys.stderr.write(f"done after {time.perf_counter() - started:.0f} s\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
