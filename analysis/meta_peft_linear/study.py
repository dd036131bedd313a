"""Put the linear theory of meta-PEFT to the test: what base is found, and what it is worth for a new task.

    python -m analysis.meta_peft_linear.study [--quick]

Needs no data. Every finished cell (settings of one shape, with all their seeds) is a line of ``runs.jsonl`` in this folder, and
the same command continues there; at the end it writes ``results.json``, the figure and the tables of ``README.md``. Everything
is seeded; two processes. ``--quick`` takes a few steps and writes to a folder of its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before NumPy: two processes on two cores
os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import argparse
import json
import re
import sys
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from analysis.meta_peft_linear.figure import draw
from analysis.meta_peft_linear.measuring import cell_of, run
from analysis.meta_peft_linear.protocol import FULL, QUICK, Cell, Protocol, cells
from analysis.meta_peft_linear.summary import results_of
from analysis.meta_peft_linear.tables import update
from analysis.resumable_runs import completed, finished

HERE = Path(__file__).parent
RUNS = "runs.jsonl"


def about(cell: Cell, row: dict[str, Any]) -> str:
    """Say which cell is done."""
    of = cell.settings[0]
    shape = f"d {of.d}, T {of.T}, k {of.k}, q {of.retraining_rank}, {of.schedule}, length {of.length}"
    return f"{shape}: {len(cell.settings)} settings in {row['seconds']} s"


def study(protocol: Protocol, folder: Path) -> list[dict[str, Any]]:
    """Do the cells that are missing, and summarise all."""
    file, wanted = folder / RUNS, cells(protocol)
    found = finished(file, cell_of)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        completed(wanted, found, file, pool, run, about=about)
    return results_of(wanted, found)


def compact(content: Any) -> str:
    """Write JSON with the innermost objects and lists on one line each."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    for innermost in (r"\[[^][{}]*\]", r"\{[^{}]*\}"):
        text = re.sub(innermost, lambda match: re.sub(r"\s+", " ", match.group()), text)
    return text


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few steps, to see that all is in place")
    parser.add_argument("--output", type=Path, help="folder of what is written, and continued  [default: this one]")
    given = parser.parse_args(argv)
    folder = given.output or (Path(tempfile.mkdtemp(prefix="meta-peft-quick-")) if given.quick else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    protocol = QUICK if given.quick else FULL
    results = study(protocol, folder)
    (folder / "results.json").write_text(compact(results) + "\n", encoding="utf-8")
    draw(results, protocol.steps, folder / "meta-peft-linear.png")
    if folder == HERE:
        update(HERE / "README.md", results)
    sys.stderr.write(f"done after {time.perf_counter() - started:.0f} s: {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
