"""A sweep: runs of one recipe in several settings, each with several seeds; what each is, and what became of it.

A sweep's folder holds ``recipe.yaml`` (what all runs have in common), ``sweep.json`` (the cells), ``runs/NAME`` (a run folder
each), ``logs/NAME.log`` (what a run printed), ``table.csv`` and the summary. Whether a cell is done, its run folder says.
"""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.results.csv_text import csv_lines
from spectra.results.run_record import RESULTS, RunRecord, load_run
from spectra.results.versioned_json import read_versioned, write_json
from spectra.results.writing import write_whole

SWEEP_SCHEMA_VERSION = 1
SWEEP, TABLE, RUNS, LOGS = "sweep.json", "table.csv", "runs", "logs"
FINISHED, FAILED, BEGUN, WAITING = "finished", "failed", "begun", "waiting"
SETTING = "setting"  # the axis of settings that have names of their own

# Parts of a recipe whose options are known without them.
_PARTS = ("model", "data", "training", "diagnostics")
_WITHIN_TRAINING = ("spectra", "multipliers")  # phases that are in the seconds of training, too
_AGAIN = "'spectra sweep RECIPE.yaml --grid OPTION=VALUE,VALUE --seeds 0..4 -o DIR' makes it."


@dataclass(frozen=True, kw_only=True)
class SweepCell:
    """One setting with one seed.

    Attributes:
        name: Of its run folder.
        options: What its setting is: values by option, as they were given.
        seed: Of the run.
        parts: Of its recipe that differ from the common one, whole.
        error: Why its last try failed, in a line; ``None`` if it did not.
    """

    name: str
    options: Mapping[str, Any]
    seed: int
    parts: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    error: str | None = None

    @property
    def setting(self) -> str:
        """What its setting is called."""
        return setting_words(self.options)


@dataclass(frozen=True, kw_only=True)
class SweepRun:
    """A cell and what became of it.

    Attributes:
        cell: Its setting and seed.
        state: ``finished``, ``failed``, ``begun`` or ``waiting``.
        metrics: ``eval_*`` and ``test_*`` of the final model; empty unless it is finished.
        num_steps: Of the optimizer; ``None`` unless it is finished.
        seconds: Of preparation, training and evaluation; ``None`` unless it is finished.
    """

    cell: SweepCell
    state: str
    metrics: Mapping[str, float] = dataclasses.field(default_factory=dict)
    num_steps: int | None = None
    seconds: float | None = None


@dataclass(frozen=True, kw_only=True)
class SweepRecord:
    """All runs of a sweep's folder.

    Attributes:
        recipe: Path of the recipe, as it was given.
        runs: In the order in which they run.
    """

    recipe: str
    runs: tuple[SweepRun, ...]

    @property
    def options(self) -> tuple[str, ...]:
        """What settings differ in, in the order in which it came up."""
        return tuple(dict.fromkeys(option for run in self.runs for option in run.cell.options))

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of the metrics there are: ``eval_*``, then ``test_*``."""
        return tuple(sorted({name for run in self.runs for name in run.metrics}))


def setting_words(options: Mapping[str, Any]) -> str:
    """Return what a setting is called, such as ``learning_rate=0.0001 method=dcs``.

    Args:
        options: Values by option.

    Returns:
        The words; a setting that has a name is called by it.
    """
    words = [value_words(options[SETTING])] if SETTING in options else []
    words += [f"{short_option(option)}={value_words(value)}" for option, value in options.items() if option != SETTING]
    return " ".join(words) or "recipe"


def short_option(option: str) -> str:
    """Return an option without the part of a recipe that goes without saying: ``learning_rate``."""
    part, _, rest = option.partition(".")
    return rest if part in _PARTS and rest else option


def value_words(value: Any) -> str:
    """Return a value of an option as one would say it.

    Args:
        value: As YAML gives it.

    Returns:
        Words as they are, and all others in JSON.
    """
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def write_cells(folder: Path, recipe: str, cells: Iterable[SweepCell]) -> None:
    """Write down which cells a sweep has.

    Args:
        folder: Of the sweep.
        recipe: Path of the recipe, as it was given.
        cells: All of them.

    Raises:
        ResultsError: The folder cannot be written.
    """
    listed = [dataclasses.asdict(cell) for cell in cells]
    write_json(folder / SWEEP, {"schema_version": SWEEP_SCHEMA_VERSION, "recipe": recipe, "cells": listed})


def read_cells(folder: Path) -> tuple[str, list[SweepCell]]:
    """Read which cells a sweep has.

    Args:
        folder: Of the sweep.

    Returns:
        The path of its recipe, as it was given, and the cells.

    Raises:
        ResultsError: It is no folder of a sweep, or a damaged one.
    """
    return read_versioned(folder / SWEEP, "sweep", SWEEP_SCHEMA_VERSION, _cells, again=_AGAIN)


def load_sweep(folder: str | os.PathLike[str]) -> SweepRecord:
    """Read a sweep, which may be at work.

    Args:
        folder: Of the sweep.

    Returns:
        Its runs as they stand.

    Raises:
        ResultsError: It is no folder of a sweep, or something in it is damaged.
    """
    place = Path(folder).expanduser()
    recipe, cells = read_cells(place)
    return SweepRecord(recipe=recipe, runs=tuple(read_run(place, cell) for cell in cells))


def read_run(folder: Path, cell: SweepCell) -> SweepRun:
    """Read what became of a cell.

    Args:
        folder: Of the sweep.
        cell: One of its own.

    Returns:
        Its state, and if it is finished its results.
    """
    place = folder / RUNS / cell.name
    if (place / RESULTS).is_file():
        return _finished(cell, load_run(place))
    if cell.error is not None:
        return SweepRun(cell=cell, state=FAILED)
    return SweepRun(cell=cell, state=BEGUN if place.exists() else WAITING)


def write_table(folder: Path, record: SweepRecord) -> None:
    """Write ``table.csv``: one row for each run, failed ones included.

    Args:
        folder: Of the sweep.
        record: Its runs.

    Raises:
        ResultsError: The folder cannot be written.
    """
    columns = [*record.options, "seed", "state", *record.metrics, "steps", "seconds", "folder", "error"]
    lines = (_row(run, record.options, record.metrics) for run in record.runs)
    write_whole(folder / TABLE, csv_lines([columns, *lines]).encode())


def _row(run: SweepRun, options: Sequence[str], metrics: Sequence[str]) -> list[Any]:
    cell = run.cell
    values = [value_words(cell.options[option]) if option in cell.options else "" for option in options]
    measured = [run.metrics.get(name, "") for name in metrics]
    seconds = "" if run.seconds is None else f"{run.seconds:.1f}"
    steps = "" if run.num_steps is None else run.num_steps
    return [*values, cell.seed, run.state, *measured, steps, seconds, f"{RUNS}/{cell.name}", cell.error or ""]


def _finished(cell: SweepCell, found: RunRecord) -> SweepRun:
    return SweepRun(
        cell=cell,
        state=FINISHED,
        metrics={**found.eval_metrics, **found.test_metrics},
        num_steps=found.num_steps,
        seconds=sum(seconds for phase, seconds in found.seconds.items() if phase not in _WITHIN_TRAINING),
    )


def _cells(content: Mapping[str, Any]) -> tuple[str, list[SweepCell]]:
    return str(content["recipe"]), [SweepCell(**cell) for cell in content["cells"]]
