"""A small source of fixed numbers for every figure of ``spectra plot``, and the golden SVG files drawn from them.

    python -m tests.report.golden_sources    # draws the goldens anew, from a checkout, under the matplotlib of constraints.txt

Look at what changed before you commit it: a golden says what readers see.
"""

from __future__ import annotations

import importlib.metadata
import math
import re
import sys
import tempfile
from pathlib import Path

import numpy as np

from spectra.cli.main import main
from spectra.results.comparison import ComparedModel
from spectra.results.fisher import Fisher, FisherTensor
from spectra.results.journal import json_line
from spectra.results.surface import LossSurface, SurfaceInfo, SurfaceRegion
from tests.base_shifts import base_shift_of, change_of
from tests.comparisons import comparison_of, layer_of, row_of
from tests.data_shifts import shift_of as data_shift_of
from tests.distilled import run_of
from tests.drawn_reports import fitted_row, report_of, transformer_report
from tests.fishers import info_of
from tests.histories import tiny_history
from tests.policies.plans import tiny_plan
from tests.run_folders import write_run
from tests.shifts import matrix_of
from tests.shifts import shift_of as model_shift_of

GOLDENS = Path(__file__).parent / "goldens"
PINNED = re.search(r"^matplotlib==(\S+)", (Path(__file__).parents[2] / "constraints.txt").read_text(), re.MULTILINE)[1]
HEADER = f"<!-- Drawn by python -m tests.report.golden_sources under matplotlib {PINNED}. -->\n"
_RUN = ("losses", "metrics", "alpha-trajectory", "tempbalance-trajectory")


def write_sources(folder: Path) -> dict[str, list[str]]:
    """Write all sources; return what stands behind ``spectra plot`` for each figure."""
    transformer_report().save(folder / "report")
    _models(folder)
    _fisher(folder)
    _surface(folder)
    _comparison(folder)
    tiny_plan().save(folder / "plan.yaml")
    write_run(folder / "run")
    tiny_history().save(folder / "sample_weights.safetensors")
    records = run_of(accepted=(0.5, 0.75, 1.0, 1.5, 2.0), identical=2, rejected={"mismatch": 3, "empty": 1})
    (folder / "own.records.jsonl").write_bytes(b"".join(json_line(record.to_dict()) for record in records))
    data_shift_of(-0.5, -0.25, -0.25, 0.125, 0.5, kept=2).save(folder / "own.shift.json")
    moved = [
        matrix_of(f"layers.{block}.{part}", norm_change=0.3 + 0.1 * block + 0.2 * place, alpha_after=2.5 + 0.25 * block * place)
        for block in range(3)
        for place, part in enumerate(("query", "up"))
    ]
    model_shift_of(*moved).save(folder / "own.model-shift.json")
    base_shift_of(*(change_of(f"layers.{block}.fc", stable_rank=2.0 + block) for block in range(3))).save(
        folder / "maml.base-shift.json"
    )
    sources = {
        "esd": ["report", "--layer", "layers.0.mlp.up"],
        "esd-grid": ["report", "--layers", "layers.[12].attn.*"],
        "mp-overlay": ["report", "--layer", "layers.1.attn.query"],
        "alpha-by-depth": ["report"],
        "alpha-histogram": ["report"],
        "metric-scatter": ["models.csv"],
        "fisher-by-layer": ["fisher.safetensors"],
        "fisher-vs-alpha": ["report", "--fisher", str(folder / "fisher.safetensors")],
        "loss-surface": ["surface.npz"],
        "plan": ["plan.yaml"],
        **{figure: ["run"] for figure in _RUN},
        "sample-weights": ["sample_weights.safetensors"],
        "selection": ["own.records.jsonl"],
        "data-shift": ["own.shift.json"],
        "model-shift": ["own.model-shift.json"],
        "base-shift": ["maml.base-shift.json"],
        "compare": ["comparison", "--model", "checkpoint-20"],
        "trajectory": ["comparison"],
    }
    return {figure: [str(folder / given[0]), figure, *given[1:]] for figure, given in sources.items()}


def drawn(arguments: list[str], file: Path) -> str:
    """Draw a figure and return its SVG."""
    assert main(["plot", *arguments, "-o", str(file)]) == 0
    declaration, rest = file.read_text(encoding="utf-8").split("\n", 1)
    return f"{declaration}\n{HEADER}{rest}"


def _models(folder: Path) -> None:
    lines = ["report,test_error,name,group"]
    for number, (error, alpha) in enumerate([(8.0, 4.5), (7.0, 4.0), (6.5, 3.0), (6.0, 3.5), (5.0, 2.5)]):
        report_of([fitted_row("fc", alpha)]).save(folder / f"model{number}")
        lines.append(f"model{number},{error},net-{number},{'deep' if number > 1 else 'shallow'}")
    (folder / "models.csv").write_text("\n".join(lines) + "\n", encoding="utf-8")


def _fisher(folder: Path) -> None:
    names = [(layer.layer_name, layer.kind) for layer in transformer_report().layers if layer.status == "ok"]
    tensors = tuple(
        FisherTensor(f"{name}.weight", name, kind, (90, 60), 5400, 2.0**-n, 0.1 * 2.0**-n, math.nan, "batched")
        for n, (name, kind) in enumerate(names)
    )
    Fisher(info_of(64, keep="traces", model="toy", num_params=5400 * len(names)), tensors).save(folder / "fisher.safetensors")


def _surface(folder: Path) -> None:
    grid = np.linspace(-1.5, 1.5, 3)
    bowl = grid[:, None] ** 2 + grid[None, :] ** 2
    info = SurfaceInfo("tensor", True, True, 3, 1.5, 0, "masked-lm", "toy", 4, 100, 10.0, 64, "", "", "0")
    regions = tuple(SurfaceRegion(name, 2, 50, 10.0, 1.0) for name in ("whole", "top"))  # the third would add 25 kB
    losses = {region.name: bowl * (i + 1) for i, region in enumerate(regions)}
    LossSurface(info, regions, 0.0, grid, losses).save(folder / "surface.npz")


def _comparison(folder: Path) -> None:
    rows = [
        row_of(f"layers.{block}.{part}", model=f"checkpoint-{step}", norm_change=0.02 * step * (block + 1),
               before=layer_of(f"layers.{block}.{part}", alpha=3.0 + block),
               after=layer_of(f"layers.{block}.{part}", alpha=3.0 + block + 0.01 * step * (1 if part == "up" else -1)))
        for step in (10, 20) for block in range(3) for part in ("query", "up")
    ]  # fmt: skip
    models = tuple(ComparedModel(name=f"checkpoint-{step}", location="", step=step) for step in (10, 20))
    comparison_of(*rows, models=models, over_time=True).save(folder / "comparison")


def refresh() -> None:
    """Draw all goldens anew."""
    if importlib.metadata.version("matplotlib") != PINNED:
        sys.exit(f"goldens are drawn under matplotlib {PINNED}, as constraints.txt pins it")
    GOLDENS.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as place:
        for figure, arguments in write_sources(Path(place)).items():
            (GOLDENS / f"{figure}.svg").write_text(drawn(arguments, Path(place) / f"{figure}.svg"), encoding="utf-8")


if __name__ == "__main__":
    refresh()
