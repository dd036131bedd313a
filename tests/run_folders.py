"""Folders of finished runs, as a recipe leaves them; shared by tests."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from spectra import analyze
from spectra.results.journal import json_line
from spectra.results.run_metrics import METRICS, LogLine
from spectra.results.run_record import RunRecord
from spectra.results.run_spectra import AFTER, BEFORE, DIAGNOSTICS, epoch_name
from spectra.results.scale_log import ScaleLog, ScaleLogHeader, ScaleRecord

RECIPE = """\
model: {name: demo}
data: {train: train.tsv, max_length: 64}
method: {name: plain}
adapter: {name: none}
diagnostics: {budget: 0.05}
training: {learning_rate: 5.0e-05, per_device_train_batch_size: 16, metric_for_best_model: null}
"""


def run_record(**changes: Any) -> RunRecord:
    """A small run with an evaluation and a test."""
    fields: dict[str, Any] = {
        "name": "first",
        "method": "plain",
        "adapter": "none",
        "model": "demo",
        "task": "sequence-classification",
        "data": {"train": "train.tsv", "eval": "eval.tsv", "test": "test.tsv"},
        "seed": 3,
        "num_train": 300,
        "num_eval": 50,
        "num_test": 100,
        "num_parameters": 22_713_986,
        "num_trainable": 22_713_986,
        "num_steps": 40,
        "num_epochs": 2.0,
        "eval_metrics": {"eval_loss": 0.5, "eval_accuracy": 0.76, "eval_runtime": 1.5, "epoch": 2.0},
        "test_metrics": {"test_loss": 0.6, "test_accuracy": 0.78, "test_perplexity": 22.0, "test_runtime": 1.4},
        "seconds": {"assembling": 2.0, "training": 100.0, "spectra": 2.5, "multipliers": 1.5, "evaluation": 3.0},
        "diagnostics_share": 0.04,
        "spectra": (BEFORE, AFTER),
        "output": "runs/first",
        "spectra_version": "0.1.0",
    }
    return RunRecord(**fields | changes)


def log_lines() -> list[LogLine]:
    """A loss every ten steps, and an evaluation every twenty."""
    logged: dict[int, list[dict[str, float]]] = {
        10: [{"loss": 0.7, "learning_rate": 1e-4}],
        20: [{"loss": 0.6}, {"eval_loss": 0.65, "eval_accuracy": 0.5, "eval_perplexity": 30.0, "eval_runtime": 1.0}],
        30: [{"loss": 0.5}],
        40: [
            {"loss": 0.4},
            {"eval_loss": 0.5, "eval_accuracy": 0.76, "eval_perplexity": 20.0, "eval_runtime": 1.0},
            {"train_runtime": 100.0, "train_loss": 0.55},
        ],
    }
    return [
        LogLine(step=step, epoch=step / 20, seconds=float(step), numbers=numbers)
        for step, lines in logged.items()
        for numbers in lines
    ]


def write_log(folder: Path, lines: list[LogLine]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / METRICS).write_bytes(b"".join(json_line(line.to_dict()) for line in lines))


def heavy_tailed(alphas: dict[str, float], *, size: int = 200) -> dict[str, np.ndarray]:
    """Diagonal matrices whose eigenvalues are quantiles of Pareto laws, so that each alpha is known to a few per cent."""
    u = (np.arange(size) + 0.5) / size
    return {f"{name}.weight": np.diag((1.0 - u) ** (-0.5 / (alpha - 1.0))) for name, alpha in alphas.items()}


def write_spectra(folder: Path, name: str, weights: dict[str, np.ndarray], *, step: int, epoch: float) -> None:
    report = analyze(weights, workers=1)
    report = dataclasses.replace(report, environment={**report.environment, "step": step, "epoch": epoch})
    report.save(folder / DIAGNOSTICS / name, force=True)


def block_alphas(shift: float = 0.0) -> dict[str, float]:
    """Two blocks of two layers; the last layer moves."""
    return {"layers.0.query": 2.1, "layers.0.dense": 2.2, "layers.1.query": 2.4, "layers.1.dense": 2.6 + shift}


def write_scales(folder: Path) -> None:
    units = {f"layers.{n}": (f"layers.{n}.query", f"layers.{n}.dense") for n in range(2)}
    header = ScaleLogHeader(policy={"metric": "alpha", "name": "recommended"}, units=units, model="Toy", version="0.1.0")
    log = ScaleLog(folder / "tempbalance.jsonl", header)
    for step, scale in ((0, 0.5), (20, 0.8)):
        log.append(
            ScaleRecord(
                step=step,
                seconds=1.0,
                share=0.01,
                scores={"layers.0": 2.7, "layers.1": 3.7},
                scales={"layers.0": scale, "layers.1": 2.0},
                num_measured=4,
                target="learning_rate",
            )
        )


def write_run(folder: Path, **changes: Any) -> Path:
    """Everything a run leaves for figures and a summary."""
    write_log(folder, log_lines())
    (folder / "recipe.yaml").write_text(RECIPE)
    write_spectra(folder, BEFORE, heavy_tailed(block_alphas()), step=0, epoch=0.0)
    write_spectra(folder, epoch_name(1), heavy_tailed(block_alphas(-0.2)), step=20, epoch=1.0)
    write_spectra(folder, AFTER, heavy_tailed(block_alphas(-0.4)), step=40, epoch=2.0)
    write_scales(folder)
    run_record(output=str(folder), **changes).save(folder)
    return folder
