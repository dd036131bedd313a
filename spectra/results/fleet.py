"""The result of a fleet: many models, each in a result folder of its own, and ``fleet.json``, which says which is where."""

from __future__ import annotations

import csv
import dataclasses
import io
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import InputError, ResultsError, did_you_mean
from spectra.results.csv_text import csv_lines, name_from_csv
from spectra.results.fleet_names import folder_names
from spectra.results.records import Summary
from spectra.results.report import Report
from spectra.results.run_locks import locked
from spectra.results.store import load
from spectra.results.versioned_json import read_versioned, write_json
from spectra.results.words import conclusion, counted
from spectra.results.writing import LOCK, REPORT, made, names_in

FLEET = "fleet.json"
FLEET_SCHEMA_VERSION = 1
_AGAIN = "Make one: spectra analyze MODEL MODEL ... --output DIR"
_SECONDS_FOR_A_RECORD = 60.0  # our choice: others write theirs in milliseconds, over a slow network in seconds


@dataclass(frozen=True)
class FleetModel:
    """One model of a fleet.

    Attributes:
        name: Of its folder.
        location: Absolute path, or hub id.
        error: Why there is no report of it; empty if there is one, or if it is still to be analysed.
        summary: Of its report; ``None`` where there is none.
    """

    name: str
    location: str
    error: str = ""
    summary: Summary | None = None

    def __str__(self) -> str:
        if self.summary is None:
            return f"{self.name}: {self.error or 'not analysed yet'}"
        return f"{self.name}: {counted(self.summary.num_layers, 'layer')}, {conclusion(self.summary)}"


@dataclass(frozen=True)
class FleetReport:
    """The result of :func:`spectra.analyze_fleet`; its string is a line for each model.

    Attributes:
        folder: That holds the folders of the models.
        models: In the order given.
    """

    folder: Path
    models: tuple[FleetModel, ...]

    @property
    def num_failed(self) -> int:
        """Models without a report, or with layers that could not be analysed."""
        return sum(model.summary is None or model.summary.num_failed > 0 for model in self.models)

    def report(self, name: str) -> Report:
        """Read the report of a model.

        Args:
            name: Of its folder, or its location.

        Returns:
            The report.

        Raises:
            InputError: No such model, or none that could be analysed.
            ResultsError: Its folder cannot be read.
        """
        for model in self.models:
            if name in (model.name, model.location):
                if model.error:
                    raise InputError(f"model '{name}' has no report: {model.error}")
                return load(self.folder / model.name)
        raise InputError(
            f"no model '{name}' in the fleet.{did_you_mean(name, [m.name for m in self.models])} See fleet.models."
        )

    def to_dict(self) -> dict[str, Any]:
        """Return plain values, ``None`` for missing numbers: the content of ``fleet.json``, with the summary of each model."""
        return {"schema_version": FLEET_SCHEMA_VERSION, "models": [self._entry(model) for model in self.models]}

    def to_csv(self) -> str:
        r"""Return the layers of all models in one table.

        Returns:
            The tables of the reports after each other, with a first column ``model``: the name of the folder.
        """
        lines: list[list[str]] = []
        for place, model in enumerate(model for model in self.models if model.summary is not None):
            header, *rows = csv.reader(io.StringIO(self.report(model.name).to_csv(), newline=""))
            lines += [] if place else [["model", *header]]
            lines += [[model.name, *map(name_from_csv, row)] for row in rows]
        return csv_lines(lines)

    def _entry(self, model: FleetModel) -> dict[str, Any]:
        summary = None if model.summary is None else self.report(model.name).to_dict()["summary"]
        return dataclasses.asdict(model) | {"summary": summary}

    def __str__(self) -> str:
        return "\n".join(map(str, self.models))


def load_fleet(folder: str | os.PathLike[str]) -> FleetReport:
    """Read the folder of a fleet.

    Args:
        folder: What ``spectra analyze MODEL MODEL ... --output`` wrote.

    Returns:
        The fleet; a model that is not finished has neither summary nor error.

    Raises:
        ResultsError: Not the folder of a fleet, or a damaged one.
    """
    path = Path(folder).expanduser()
    return FleetReport(path, tuple(_with_summary(path, model) for model in fleet_models(path)))


def fleet_models(folder: Path) -> list[FleetModel]:
    """Read which models a fleet has, and why some could not be analysed.

    Args:
        folder: Of the fleet.

    Returns:
        The models without their summaries, whether or not there are any.

    Raises:
        ResultsError: Not the folder of a fleet, or a damaged record.
    """
    return read_versioned(folder / FLEET, "record of a fleet", FLEET_SCHEMA_VERSION, _models, again=_AGAIN)


def begin_fleet(folder: str | os.PathLike[str], locations: Mapping[str, Any], *, force: bool) -> FleetReport:
    """Name the folders of models, and record the names before anything is analysed.

    Args:
        folder: New, empty, or of a fleet, whose names stay and whose other models are kept in the record.
        locations: Of the models.
        force: Write among files of others.

    Returns:
        These models, none of them analysed.

    Raises:
        ResultsError: The folder holds something else, or cannot be written.
    """
    path = Path(folder).expanduser()
    held = names_in(path)
    if held and FLEET not in held and not force:
        what = "the result of one model" if REPORT in held else f"other files ('{min(held)}')"
        raise ResultsError(f"'{path}' holds {what}. Choose another folder for several models, or write among it with --force.")
    with _record_held(path):
        names = folder_names(locations, {model.location: model.name for model in _recorded(path)})
        fleet = FleetReport(path, tuple(FleetModel(name, location) for location, name in names.items()))
        _record(fleet)
    return fleet


def write_fleet(fleet: FleetReport) -> None:
    """Write ``fleet.json``; models that it lists and the fleet does not are kept.

    Args:
        fleet: With what is known by now.

    Raises:
        ResultsError: It cannot be written.
    """
    with _record_held(fleet.folder):
        _record(fleet)


@contextmanager
def _record_held(folder: Path) -> Iterator[None]:
    """Let no other process change the record meanwhile: several jobs may add models to one folder."""
    with locked(made(folder) / LOCK, folder, wait=_SECONDS_FOR_A_RECORD, removed=True):
        yield


def _recorded(folder: Path) -> list[FleetModel]:
    return fleet_models(folder) if (folder / FLEET).exists() else []


def _record(fleet: FleetReport) -> None:
    models = {model.location: model for model in (*_recorded(fleet.folder), *fleet.models)}
    plain = [{"name": model.name, "location": model.location, "error": model.error} for model in models.values()]
    write_json(fleet.folder / FLEET, {"schema_version": FLEET_SCHEMA_VERSION, "models": plain})


def _models(content: Mapping[str, Any]) -> list[FleetModel]:
    return [FleetModel(str(row["name"]), str(row["location"]), str(row["error"])) for row in content["models"]]


def _with_summary(folder: Path, model: FleetModel) -> FleetModel:
    if model.error or not (folder / model.name / REPORT).is_file():
        return model
    return dataclasses.replace(model, summary=load(folder / model.name).summary)
