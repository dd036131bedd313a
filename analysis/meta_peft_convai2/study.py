"""Retrain the demo model on personas of ConvAI2 in three ways, adapt each base to new personas, and compare.

    python -m analysis.meta_peft_convai2.study --data-dir DATA [--quick]

``DATA`` holds ``convai2/`` (or is named by ``SPECTRA_DATA_DIR``). Every finished cell (a base, with all models adapted from it)
is a line of ``runs.jsonl`` in this folder, and the same command continues there; at the end it writes ``results.json``, the
figure and the tables of ``README.md``. Everything is seeded; two processes. ``--quick`` takes two personas on each side and an
epoch, and writes to a folder of its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two processes on two cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import json
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from dataclasses import fields
from multiprocessing import get_context
from pathlib import Path
from statistics import fmean
from typing import Any

from analysis.meta_peft_convai2.figure import draw
from analysis.meta_peft_convai2.protocol import FULL, QUICK, Cell, Protocol, final_cells, measured, tuning_cells
from analysis.meta_peft_convai2.summary import results_of
from analysis.meta_peft_convai2.tables import update
from analysis.meta_peft_convai2.training import run
from analysis.resumable_runs import completed, finished

HERE = Path(__file__).parent
RUNS = "runs.jsonl"


def cell_of(row: dict[str, Any]) -> Cell:
    """Return the cell that a line is of."""
    given = {field.name: row[field.name] for field in fields(Cell)}
    return Cell(**given | {"adapting_rates": tuple(row["adapting_rates"])})


def about(cell: Cell, row: dict[str, Any]) -> str:
    """Say what a cell has given: mean accuracies after the last epoch."""
    means = (f"{rate:g}: {fmean(of['last'] for of in measured(row, rate).values()):.3f}" for rate in cell.adapting_rates)
    return f"{cell.arm}, seed {cell.seed}, adapted at {', '.join(means)}"


def study(protocol: Protocol, data: Path, folder: Path) -> dict[str, Any]:
    """Tune, then compare."""
    file = folder / RUNS
    found = finished(file, cell_of)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        completed(tuning_cells(protocol), found, file, pool, run, data, about=about)
        completed(final_cells(protocol, found), found, file, pool, run, data, about=about)
    return results_of(protocol, found)


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("SPECTRA_DATA_DIR"))
    parser.add_argument("--quick", action="store_true", help="a few small runs, to see that all is in place")
    parser.add_argument("--output", type=Path, help="folder of what is written, and continued  [default: this one]")
    given = parser.parse_args(argv)
    if given.data_dir is None:
        parser.error("say where the data are: --data-dir, or the environment variable SPECTRA_DATA_DIR")
    folder = given.output or (Path(tempfile.mkdtemp(prefix="convai2-quick-")) if given.quick else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    results = study(QUICK if given.quick else FULL, given.data_dir, folder)
    (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(results, folder / "meta-peft-convai2.png")
    if folder == HERE:
        update(HERE / "README.md", results)
    sys.stderr.write(f"done after {time.perf_counter() - started:.0f} s: {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
