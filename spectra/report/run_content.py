"""Everything that a run has left in its folder, read for figures, for the summary and for the page."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from spectra.errors import ResultsError
from spectra.policies.dropout_plan import DropoutPlan
from spectra.policies.plan import Plan, load_plan
from spectra.results.run_metrics import METRICS, LogLine, load_run_metrics
from spectra.results.run_record import RunRecord, load_run
from spectra.results.run_spectra import RunSpectra, load_run_spectra
from spectra.results.scale_log import ScaleLogContent, load_scale_log

RECIPE = "recipe.yaml"
SCALE_LOGS = ("tempbalance", "alphadecay")
DROPOUT_PLAN, RANK_PLAN = "dropout-plan.yaml", "rank-plan.yaml"


@dataclass(frozen=True, kw_only=True)
class RunFiles:
    """What a run has left so far, finished or not.

    Attributes:
        recipe: Its options by name, as they stand in YAML.
        lines: Of its log.
        spectra: Analyses, by time.
        scales: Logs of multipliers by what made them, ``tempbalance`` and ``alphadecay``; those that there are.
        drop_rates: The plan of guided dropout, or ``None``.
        ranks: The plan of the adapter's ranks, or ``None``.
    """

    recipe: Mapping[str, Any]
    lines: tuple[LogLine, ...] = ()
    spectra: tuple[RunSpectra, ...] = ()
    scales: Mapping[str, ScaleLogContent]
    drop_rates: DropoutPlan | None = None
    ranks: Plan | None = None


@dataclass(frozen=True, kw_only=True)
class RunContent(RunFiles):
    """A finished run.

    Attributes:
        record: Of the run.
    """

    record: RunRecord


def read_run(folder: str | os.PathLike[str]) -> RunContent:
    """Read the folder of a finished run.

    Args:
        folder: Of the run.

    Returns:
        What it holds.

    Raises:
        ResultsError: The run is not finished, or a file is damaged.
    """
    path = Path(folder).expanduser()
    return RunContent(record=load_run(path), **vars(read_run_files(path)))


def read_run_files(folder: str | os.PathLike[str]) -> RunFiles:
    """Read what a run has left so far.

    Args:
        folder: Of the run, finished or not.

    Returns:
        What it holds.

    Raises:
        ResultsError: A file is damaged.
    """
    path = Path(folder).expanduser()
    drop_rates, ranks = (_plan(path / name) for name in (DROPOUT_PLAN, RANK_PLAN))
    return RunFiles(
        recipe=_recipe(path / RECIPE),
        lines=load_run_metrics(path) if (path / METRICS).is_file() else (),
        spectra=load_run_spectra(path),
        scales=load_run_scales(path),
        drop_rates=drop_rates if isinstance(drop_rates, DropoutPlan) else None,
        ranks=ranks if isinstance(ranks, Plan) else None,
    )


def load_run_scales(folder: Path) -> dict[str, ScaleLogContent]:
    """Read the logs of multipliers of a run.

    Args:
        folder: Of the run.

    Returns:
        By what made them, those that hold an update.

    Raises:
        ResultsError: One is damaged.
    """
    found = {name: load_scale_log(folder / f"{name}.jsonl") for name in SCALE_LOGS if (folder / f"{name}.jsonl").is_file()}
    return {name: log for name, log in found.items() if log.records}


def _plan(file: Path) -> Plan | DropoutPlan | None:
    return load_plan(file) if file.is_file() else None


def _recipe(file: Path) -> Mapping[str, Any]:
    """Read the resolved recipe as plain values: what to say of it needs no more."""
    try:
        content = yaml.safe_load(file.read_text(encoding="utf-8")) if file.is_file() else {}
    except (OSError, ValueError, yaml.YAMLError) as error:
        raise ResultsError(f"'{file}' cannot be read ({' '.join(str(error).split())}). Put the run's recipe there.") from error
    return content if isinstance(content, dict) else {}
