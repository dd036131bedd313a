"""Compare DCS with plain fine-tuning, uniform self-distillation and literal AdaBoost, with right labels and with some flipped.

    python -m analysis.dcs_glue.study DATA [--quick]

``DATA`` holds ``sentiment_domains/`` and ``glue/``. Every finished cell (a task, a condition and a seed with all its arms) is a
line of ``runs.jsonl`` in this folder, and the same command continues there; at the end it writes ``results.json``, the figure
and the tables of ``README.md``. Everything is seeded; two processes. ``--quick`` makes runs of two steps and writes to a folder
of its own.
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
from typing import Any

from analysis.dcs_glue.figure import draw
from analysis.dcs_glue.protocol import FULL, QUICK, Cell, Protocol, final_cells, tuning_cells
from analysis.dcs_glue.summary import results_of
from analysis.dcs_glue.tables import update
from analysis.dcs_glue.training import run
from analysis.resumable_runs import completed, finished

HERE = Path(__file__).parent
RUNS = "runs.jsonl"


def cell_of(row: dict[str, Any]) -> Cell:
    """Return the cell that a line is of."""
    given = {field.name: row[field.name] for field in fields(Cell)}
    return Cell(**given | {"arms": tuple(row["arms"])})


def about(cell: Cell, row: dict[str, Any]) -> str:
    """Say what a cell has given."""
    accuracies = ", ".join(f"{arm} {of['accuracy']:.3f}" for arm, of in row["models"].items())
    return f"{cell.task}, {cell.condition}, lr {cell.learning_rate:.2g}, seed {cell.seed}: {accuracies}"


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
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true", help="a few small runs, to see that all is in place")
    parser.add_argument("--output", type=Path, help="folder of what is written, and continued  [default: this one]")
    given = parser.parse_args(argv)
    folder = given.output or (Path(tempfile.mkdtemp(prefix="dcs-quick-")) if given.quick else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    results = study(QUICK if given.quick else FULL, given.data, folder)
    (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(results, folder / "dcs-glue.png")
    if folder == HERE:
        update(HERE / "README.md", results)
    sys.stderr.write(f"done after {time.perf_counter() - started:.0f} s: {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
