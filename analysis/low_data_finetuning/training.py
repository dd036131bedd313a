"""One cell: the recipe that it is, run as a user's recipe is run, and what is kept of it."""

from __future__ import annotations

import time
import warnings
from dataclasses import asdict
from pathlib import Path
from statistics import fmean
from tempfile import TemporaryDirectory
from typing import Any

from analysis.low_data_finetuning.data import LABEL, TEXTS, file_of
from analysis.low_data_finetuning.methods import options
from analysis.low_data_finetuning.protocol import BATCH_SIZE, DEV, TEST, Cell
from spectra.errors import SpectraWarning
from spectra.results.scale_log import load_scale_log
from spectra.training.recipe import Recipe, recipe_of

WARMUP, WEIGHT_DECAY = 0.1, 0.1  # of steps, usual on GLUE; arXiv 2410.12178 and its scripts


def recipe(cell: Cell, work: Path, output: Path, device: str) -> Recipe:
    """Return a cell's recipe."""
    judged = {DEV: "eval", TEST: TEST}[cell.split]
    columns = dict(zip(("text_column", "pair_column"), TEXTS[cell.task], strict=False))
    return recipe_of(
        {
            "model": {"name": "demo", "task": "sequence-classification", "device": device},
            "data": {
                "train": str(file_of(work, cell.task, "pool")),
                judged: str(file_of(work, cell.task, cell.split)),
                **columns,
                "label_column": LABEL,
                "train_size": cell.size,
                "data_seed": cell.seed,
                "max_length": cell.max_length,
            },
            **options(cell.method, cell.adapter, interval=cell.steps_per_epoch, seed=cell.seed),
            "training": {
                "learning_rate": cell.learning_rate,
                "num_train_epochs": float(cell.epochs),
                "per_device_train_batch_size": BATCH_SIZE,
                "per_device_eval_batch_size": 32,
                "warmup_steps": WARMUP,
                "weight_decay": WEIGHT_DECAY,
                "optim": "adamw_torch_fused",  # 0.02 s in place of 0.14 s of a step of 0.5 s
                "save_strategy": "no",
                "logging_steps": cell.steps_per_epoch,
            },
            "seed": cell.seed,
            "output": str(output),
        }
    )


def run(cell: Cell, work: Path, device: str) -> dict[str, Any]:
    """Train and judge the model of a cell; return what is kept of it.

    Args:
        cell: What is run.
        work: Folder of the tasks' files.
        device: As recipes name it.

    Returns:
        The cell, and what was measured. Seconds are of the processor.
    """
    import torch

    from spectra.training import run_recipe

    torch.set_num_threads(1)
    began = time.process_time()
    with TemporaryDirectory() as folder, warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectraWarning)  # such as that few samples have all the weight of DCS
        record = run_recipe(recipe(cell, work, Path(folder) / "run", device))
        multipliers = mean_multipliers(Path(folder) / "run")
    judged = {DEV: ("eval", record.eval_metrics), TEST: ("test", record.test_metrics)}[cell.split]
    return {
        **asdict(cell),
        **{name: judged[1][f"{judged[0]}_{name}"] for name in ("accuracy", "loss")},
        "num_train": record.num_train,
        "num_steps": record.num_steps,
        "num_trainable": record.num_trainable,
        "mean_multipliers": multipliers,
        "seconds": round(time.process_time() - began, 2),
        "wall": {name: round(seconds, 2) for name, seconds in record.seconds.items()},
        "device": device,
        "torch": torch.__version__,
    }


def mean_multipliers(folder: Path) -> dict[str, list[float]]:
    """Return the mean multiplier over units after each measurement, for each kind that a run has."""
    files = {name: folder / f"{name}.jsonl" for name in ("tempbalance", "alphadecay")}
    return {
        name: [fmean(one.scales.values()) for one in load_scale_log(file).records]
        for name, file in files.items()
        if file.exists()
    }
