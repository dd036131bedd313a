"""Compare TempBalance with a tuned baseline when there is little data: a sentence encoder, 64 and 256 examples, two tasks.

    python -m analysis.tempbalance_low_data.study DATA [--quick]

``DATA`` holds ``sentiment_domains/`` and ``glue/``. Every finished run is a line of ``runs.jsonl`` in this folder, and the same
command continues there; at the end it writes ``results.json``, the figure and the tables of ``README.md``. Everything is
seeded; two processes. ``--quick`` makes nine runs of two steps and writes to a folder of its own.
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

from analysis.resumable_runs import completed, finished
from analysis.tempbalance_low_data.figure import draw
from analysis.tempbalance_low_data.protocol import FULL, QUICK, Protocol, balanced_runs, coarse_runs, final_runs, finer_runs
from analysis.tempbalance_low_data.summary import results_of
from analysis.tempbalance_low_data.tables import update
from analysis.tempbalance_low_data.training import Run, run

HERE = Path(__file__).parent
RUNS = "runs.jsonl"


def run_of(row: dict[str, Any]) -> Run:
    """Return the run that a line is of."""
    return Run(**{field.name: row[field.name] for field in fields(Run)})


def about(what: Run, row: dict[str, Any]) -> str:
    """Say what a run has given."""
    settings = f"{what.task} {what.size} {what.arm} lr {what.learning_rate:.2g} s {what.strength:g} seed {what.seed}"
    return f"{settings}: {row['accuracy']:.3f} ({row['seconds']:.0f} s)"


def study(protocol: Protocol, data: Path, folder: Path) -> dict[str, Any]:
    """Tune, then compare; each stage needs the results of the one before it."""
    file = folder / RUNS
    found = finished(file, run_of)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        for stage in (coarse_runs, lambda p, f: [*finer_runs(p, f), *balanced_runs(p, f)], final_runs):
            longest_first = sorted(stage(protocol, found), key=lambda each: -each.num_steps)
            completed(longest_first, found, file, pool, run, data, about=about)
    return results_of(protocol, found)


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path)
    parser.add_argument("--quick", action="store_true", help="a few small runs, to see that all is in place")
    parser.add_argument("--output", type=Path, help="folder of what is written, and continued  [default: this one]")
    given = parser.parse_args(argv)
    folder = given.output or (Path(tempfile.mkdtemp(prefix="tempbalance-quick-")) if given.quick else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    results = study(QUICK if given.quick else FULL, given.data, folder)
    (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(results, folder / "tempbalance-low-data.png")
    if folder == HERE:
        update(HERE / "README.md", results)
    sys.stderr.write(f"done after {time.perf_counter() - started:.0f} s: {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
