"""The spectra of a training run: result folders of :func:`spectra.analyze` from before it, after its epochs, and after it."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from pathlib import Path

from spectra.errors import ResultsError
from spectra.results.report import Report
from spectra.results.store import load
from spectra.results.writing import REPORT

DIAGNOSTICS = "diagnostics"
BEFORE, AFTER = "before", "after"
_EPOCH = re.compile(r"epoch-\d{3,}")


@dataclass(frozen=True)
class RunSpectra:
    """An analysis at one time of a run.

    Attributes:
        name: Of its folder.
        step: Optimizer steps that were done; of a best state that was loaded at the end, those at which it was reached.
        epoch: Passes through the data, likewise.
        report: The analysis.
    """

    name: str
    step: int
    epoch: float
    report: Report


def epoch_name(epoch: int) -> str:
    """Return the name of the folder of an epoch, such as ``"epoch-001"``."""
    return f"epoch-{epoch:03d}"


def analysis_folders(folder: str | os.PathLike[str]) -> list[Path]:
    """List the analyses of a run that are finished.

    Args:
        folder: Of the run.

    Returns:
        Their folders: before training, after each epoch, after training.
    """
    inside = Path(folder).expanduser() / DIAGNOSTICS
    epochs = [path for path in inside.glob("epoch-*") if _EPOCH.fullmatch(path.name)]
    epochs.sort(key=lambda path: int(path.name.removeprefix("epoch-")))
    return [path for path in (inside / BEFORE, *epochs, inside / AFTER) if (path / REPORT).is_file()]


def load_run_spectra(folder: str | os.PathLike[str]) -> tuple[RunSpectra, ...]:
    """Read the analyses of a run.

    Args:
        folder: Of the run, over or under way.

    Returns:
        By time; none if no spectra were recorded.

    Raises:
        ResultsError: One is damaged, or was not made in a run.
    """
    found = [_loaded(path) for path in analysis_folders(folder)]
    return tuple(sorted(found, key=lambda one: (one.step, one.name != BEFORE)))


def _loaded(path: Path) -> RunSpectra:
    report = load(path)
    try:
        return RunSpectra(path.name, int(report.environment["step"]), float(report.environment["epoch"]), report)
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(
            f"'{path}' does not say at which step of a run it was made. Analyses of a run are made by 'spectra finetune'; move "
            "this one away."
        ) from error
