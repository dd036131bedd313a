"""Compare diagnostic-driven fine-tuning with a tuned baseline where data are few: a sentence encoder, four tasks, two sizes.

    python -m analysis.low_data_finetuning.study --data-dir DATA [--quick]
    python -m analysis.low_data_finetuning.study --report
    python -m analysis.low_data_finetuning.study --data-dir DATA --check 3

``DATA`` holds ``glue/`` and ``sentiment_domains/`` (or is named by ``SPECTRA_DATA_DIR``). A cell is a recipe. Every finished
cell is a line of ``runs.jsonl`` in this folder, and the same command continues there; at the end, and by ``--report`` at any
time without training, it writes ``results.json``, the figure and the tables of ``README.md``. ``--check`` runs some of the
finished cells again and compares. Everything is seeded; two processes. ``--quick`` makes small runs and writes to a folder of
its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two processes on two cores
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
os.environ.setdefault("HF_HUB_OFFLINE", "1")

import argparse
import dataclasses
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from analysis.low_data_finetuning.checking import drawn, report
from analysis.low_data_finetuning.data import write_tasks
from analysis.low_data_finetuning.figure import draw
from analysis.low_data_finetuning.protocol import (
    QUICK,
    STUDY,
    Cell,
    Found,
    Protocol,
    final_cells,
    longer_cells,
    tuning_cells,
)
from analysis.low_data_finetuning.summary import results_of
from analysis.low_data_finetuning.tables import update
from analysis.low_data_finetuning.training import run
from analysis.resumable_runs import completed, finished

HERE = Path(__file__).parent
RUNS = "runs.jsonl"


def cell_of(row: dict[str, Any]) -> Cell:
    """Return the cell that a line is of."""
    return Cell(**{field.name: row[field.name] for field in dataclasses.fields(Cell)})


def about(cell: Cell, row: dict[str, Any]) -> str:
    """Say what a cell has given."""
    settings = f"{cell.task} {cell.size} {cell.adapter} {cell.method} {cell.learning_rate:g} seed {cell.seed}"
    return f"{settings}: {row['accuracy']:.3f} on {cell.split} ({row['seconds']:.0f} s)"


def study(protocol: Protocol, data: Path, file: Path, device: str) -> None:
    """Tune, then compare; each stage needs the results of the one before it."""
    found = finished(file, cell_of)
    with _workplace(protocol, data) as (work, pool):
        for cells in (
            lambda: tuning_cells(protocol),
            lambda: final_cells(protocol, found),
            lambda: longer_cells(protocol, found),
        ):
            completed(cells(), found, file, pool, run, work, device, about=about)


def check(protocol: Protocol, data: Path, found: Found, number: int, device: str) -> tuple[str, bool]:
    """Run cells again; return what became of them, and whether all are equal."""
    cells = drawn(found, number)
    with _workplace(protocol, data) as (work, pool):
        again = [pool.submit(run, cell, work, device) for cell in cells]
        return report((cell, found[cell], future.result()) for cell, future in zip(cells, again, strict=True))


def write(results: dict[str, Any], folder: Path) -> None:
    """Write results, figure and tables."""
    (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(results, folder / "low-data-finetuning.png")
    if folder == HERE:
        update(HERE / "README.md", results)


def main(argv: list[str] | None = None) -> int:
    """Run the study, or what is asked for of it."""
    parser = _parser()
    given = parser.parse_args(argv)
    if given.data_dir is None and not given.report:
        parser.error("say where the data are: --data-dir, or the environment variable SPECTRA_DATA_DIR")
    protocol = QUICK if given.quick else STUDY
    if given.sizes:
        protocol = dataclasses.replace(protocol, sizes=tuple(sorted(given.sizes)))
    folder = given.output or (Path(tempfile.mkdtemp(prefix="low-data-quick-")) if given.quick else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    if given.check:
        text, is_equal = check(protocol, given.data_dir, finished(folder / RUNS, cell_of), given.check, given.device)
        sys.stdout.write(text + "\n")
        return 0 if is_equal else 1
    started = time.perf_counter()
    if not given.report:
        study(protocol, given.data_dir, folder / RUNS, given.device)
    write(results_of(protocol, finished(folder / RUNS, cell_of)), folder)
    sys.stderr.write(f"done after {time.perf_counter() - started:.0f} s: {folder}\n")
    return 0


@contextmanager
def _workplace(protocol: Protocol, data: Path) -> Iterator[tuple[Path, Executor]]:
    """Write the tasks' files for as long as processes work on them."""
    with tempfile.TemporaryDirectory(prefix="low-data-") as folder:
        write_tasks(data, Path(folder), protocol.tasks, protocol.num_judged)
        with ProcessPoolExecutor(2, get_context("spawn")) as pool:
            yield Path(folder), pool


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("SPECTRA_DATA_DIR"))
    parser.add_argument("--sizes", type=int, nargs="+", help="training examples; 1024, too, where there is a GPU")
    parser.add_argument("--device", default="cpu", help="cpu, cuda or auto  [default: cpu]")
    parser.add_argument("--report", action="store_true", help="write tables and figure of the finished cells, train nothing")
    parser.add_argument("--check", type=int, metavar="N", help="run N finished cells again, and compare")
    parser.add_argument("--quick", action="store_true", help="a few small runs, to see that all is in place")
    parser.add_argument("--output", type=Path, help="folder of what is written, and continued  [default: this one]")
    return parser


if __name__ == "__main__":
    sys.exit(main())
