"""Retrain networks of two layers on several tasks, with an adapter for each and without, and fine-tune both on a new task.

    python -m analysis.meta_peft_two_layer.study [--quick]

Needs no data. Every finished setting (a number of tasks and a width, with all its seeds and arms) is a line of ``runs.jsonl``
in this folder, and the same command continues there; at the end it writes ``results.json``, the figure and the tables of
``README.md``. Everything is seeded; two processes. ``--quick`` trains for 20 epochs and writes to a folder of its own.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two processes on two cores

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

from analysis.meta_peft_two_layer.figure import draw
from analysis.meta_peft_two_layer.protocol import FULL, QUICK, RETRAINED, Setting, run
from analysis.meta_peft_two_layer.summary import results_of
from analysis.meta_peft_two_layer.tables import update
from analysis.resumable_runs import completed, finished

HERE = Path(__file__).parent
RUNS = "runs.jsonl"


def setting_of(row: dict[str, Any]) -> Setting:
    """Return the setting that a line is of."""
    return Setting(**{field.name: row[field.name] for field in fields(Setting)})


def about(setting: Setting, row: dict[str, Any]) -> str:
    """Say what a setting has given: mean losses after retraining."""
    last = {arm: row["losses"][arm]["values"][-1] for arm in RETRAINED}
    losses = ", ".join(f"{arm} {sum(of) / len(of):.4f}" for arm, of in last.items())
    return f"{setting.tasks} tasks, width {setting.width}: {losses}"


def study(settings: tuple[Setting, ...], folder: Path) -> dict[str, Any]:
    """Do what is missing, and summarise all."""
    file = folder / RUNS
    found = finished(file, setting_of)
    with ProcessPoolExecutor(2, get_context("spawn")) as pool:
        completed(settings, found, file, pool, run, about=about)
    return results_of(settings, found)


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="a few short runs, to see that all is in place")
    parser.add_argument("--output", type=Path, help="folder of what is written, and continued  [default: this one]")
    given = parser.parse_args(argv)
    folder = given.output or (Path(tempfile.mkdtemp(prefix="two-layer-quick-")) if given.quick else HERE)
    folder.mkdir(parents=True, exist_ok=True)
    started = time.perf_counter()
    results = study(QUICK if given.quick else FULL, folder)
    (folder / "results.json").write_text(json.dumps(results, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draw(results, folder / "meta-peft-two-layer.png")
    if folder == HERE:
        update(HERE / "README.md", results)
    sys.stderr.write(f"done after {time.perf_counter() - started:.0f} s: {folder}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
