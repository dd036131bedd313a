"""A run as its page shows it: what it has left so far, whether it is over, and whether it was ever taken up again."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.report.run_content import RECIPE, RunContent, RunFiles, read_run, read_run_files
from spectra.results.run_record import RESULTS
from spectra.results.versioned_json import read_versioned

ENVIRONMENT = "environment.json"
_ENVIRONMENT_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class RunState:
    """A run.

    Attributes:
        name: Of it; its folder's as long as it is not finished.
        files: What it has left: a ``RunContent`` where it is finished.
        environment: What it was made with; empty where that is not known.
    """

    name: str
    files: RunFiles
    environment: Mapping[str, Any]

    @property
    def content(self) -> RunContent | None:
        """The finished run; ``None`` of one that is not."""
        return self.files if isinstance(self.files, RunContent) else None

    @property
    def last_step(self) -> int:
        """The last optimizer step that is known to be done."""
        steps = [line.step for line in self.files.lines] + [one.step for one in self.files.spectra]
        return max(steps, default=0)

    @property
    def resumed_at(self) -> tuple[str, ...]:
        """When the run was taken up again."""
        return tuple(self.environment.get("resumed_at", ()))


def is_run(folder: Path) -> bool:
    """Say whether a folder is one of a run, finished or not.

    Args:
        folder: Any.

    Returns:
        Whether a recipe and what it was made with, or what came out, lie in it.
    """
    return (folder / RESULTS).is_file() or ((folder / RECIPE).is_file() and (folder / ENVIRONMENT).is_file())


def read_run_state(folder: str | os.PathLike[str]) -> RunState:
    """Read a run, finished or not.

    Args:
        folder: Of it.

    Returns:
        What is known of it.

    Raises:
        ResultsError: A file is damaged.
    """
    path = Path(folder).expanduser()
    files = read_run(path) if (path / RESULTS).is_file() else read_run_files(path)
    name = files.record.name if isinstance(files, RunContent) else path.resolve().name
    return RunState(name=name, files=files, environment=_environment(path / ENVIRONMENT))


def _environment(file: Path) -> Mapping[str, Any]:
    if not file.is_file():
        return {}
    again = "It comes with a run: 'spectra finetune RECIPE.yaml'."
    return read_versioned(file, "environment of a run", _ENVIRONMENT_SCHEMA_VERSION, dict, again=again)
