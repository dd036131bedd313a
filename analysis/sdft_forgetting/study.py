"""Tune a small model on answers in a foreign wording, and on the same answers in its own, and see what it forgets.

    python -m analysis.sdft_forgetting.study [--quick]

Needs no data: models, tokenizer and texts are made here. Every finished cell (a seed, with the model before tuning and all that
are made of it) is a line of ``runs.jsonl`` in this folder, and the same command continues there; at the end it writes
``results.json``, the figure and the tables of ``README.md``. Everything is seeded; two processes. ``--quick`` makes runs of two
steps and writes to a folder of its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two processes on two cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

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

from analysis.resumable_runs import completed, finished
from analysis.sdft_forgetting.figure import draw
from analysis.sdft_forgetting.protocol import FULL, QUICK, Cell, Protocol, final_cells, tuning_cells
from analysis.sdft_forgetting.summary import results_of
from analysis.sdft_forgetting.tables import update
from analysis.sdft_forgetting.training import run

HERE = Path(__file__).parent
RUNS = "runs.jsonl"


def cell_of(row: dict[str, Any]) -> Cell:
    """Return the cell that a line is of."""
    given = {field.name: row[field.name] for field in fields(Cell)}
    return Cell(**given | {"tunings": tuple(map(tuple, row["tunings"]))})


def about(cell: Cell, row: dict[str, Any]) -> str:
    """Say what a cell has given: new sums, and the loss on the second skill."""
    before = f"seed {cell.seed}, before: {row['base']['target']:.2f}, {row['base']['skill loss']:.3f}"
    after = (f"{one['adapter']} {one['arm']}: {one['target']:.2f}, {one['skill loss']:.3f}" for one in row["models"])
    return "; ".join((before, *after))


def study(protocol: Protocol, folder: Path) -> dict[str, Any]:
    """Tune, then compare."""
    file = folder / RUNS
    found = finished(file, cell_of)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        completed(tuning_cells(protocol), found, file, pool, run, about=about)
        completed(final_cells(protocol, found), found, file, pool, run, about=about)
    return results_of(protocol, found)


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few small runs, to see that all is in place")
    parser.add_argument("--output", type=Path, help="folder of what is written, and continued  [default: this one]")
    given = parser.parse_args(argv)
    folder = given.output or (Path(tempfile.mkdtemp(prefix="sdft-quick-")) if given.quick else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    results = study(QUICK if given.quick else FULL, folder)
    (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(results, folder / "sdft-forgetting.png")
    if folder == HERE:
        update(HERE / "README.md", results)
    sys.stderr.write(f"done after {time.perf_counter() - started:.0f} s: {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
