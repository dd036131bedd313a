"""Many result folders → one table, for studies of many models: a row for each layer, or one for each model.

Folders are read one after the other, without their spectra. What cannot be read is told and left out, never silently.
"""

from __future__ import annotations

import dataclasses
import json
import os
import warnings
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra.errors import ResultsError, SpectraWarning
from spectra.results.fleet import FLEET, fleet_models
from spectra.results.records import LayerDiagnostics, Summary
from spectra.results.report import Report
from spectra.results.settings import AnalysisSettings
from spectra.results.shards import SHARD
from spectra.results.store import is_result_folder, load
from spectra.results.typed_columns import TypedColumns
from spectra.results.words import counted
from spectra.results.writing import REPORT

if TYPE_CHECKING:
    import pandas as pd

_LABELS = {"over-trained": "num_over_trained", "under-trained": "num_under_trained"}
_STATISTICS = ("mean", "std", "median", "min", "max", "count")
_TYPES = {"str": "string", "LayerStatus": "string", "int": "int64", "int | None": "Int64", "float": "float64", "bool": "bool"}


@dataclass(frozen=True, kw_only=True)
class CollectedRun:
    """The columns that say which analysis a row of a collected table is from; all are text.

    Attributes:
        run: Name of the result folder.
        folder: Its path, as it was found.
        model_name: Short name of the model.
        location: Of the model, as it was given to the analysis.
        base: Location of the base model, if a difference to one was analysed.
        fingerprint: Of the weights: equal for the same weights in other files.
        profile: Named set of defaults.
        settings: The settings that differ from the defaults, as JSON: alphas compare where profile and settings are equal.
        spectra_version: Of Spectra, which analysed it.
        started_at: When, in UTC.
    """

    run: str
    folder: str
    model_name: str
    location: str
    base: str
    fingerprint: str
    profile: str
    settings: str
    spectra_version: str
    started_at: str


def collect(
    folders: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    summary: bool = False,
    left_out: Callable[[Path, ResultsError], None] | None = None,
) -> pd.DataFrame:
    """Put the tables of many analyses into one.

    Args:
        folders: Result folders, or folders of result folders, such as those of several models that were analysed together. A
            result that is found twice counts once.
        summary: A row for each model instead of each layer: counts, and mean, std, median, min, max and count of the main
            metrics, such as ``alpha_mean``.
        left_out: Called with each folder that cannot be read, and why. Default: a :class:`spectra.errors.SpectraWarning`.

    Returns:
        A row for each layer, in the order of the folders and of their models: the columns of :class:`CollectedRun`, then those
        of :class:`spectra.LayerDiagnostics` which any of the analyses has. Types do not depend on what is missing: integers
        with gaps are ``Int64``, text is ``string``.

    Raises:
        ResultsError: No folder holds a finished result.
        MissingPackageError: pandas is not installed.
    """
    table = TypedColumns(_types(summary=summary))
    _for_each(folders, lambda folder, report: _add(table, folder, report, summary=summary), left_out or _warn)
    return table.to_pandas()


def collect_summaries(
    folders: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    left_out: Callable[[Path, ResultsError], None],
) -> list[tuple[CollectedRun, Summary]]:
    """Read the summaries of many analyses.

    Args:
        folders: As :func:`collect` takes them.
        left_out: Likewise.

    Returns:
        Of each which analysis it is, and its summary.

    Raises:
        ResultsError: No folder holds a finished result.
    """
    found: list[tuple[CollectedRun, Summary]] = []
    _for_each(folders, lambda folder, report: found.append((_run_of(folder, report), report.summary)), left_out)
    return found


def _for_each(
    folders: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    take: Callable[[Path, Report], None],
    left_out: Callable[[Path, ResultsError], None],
) -> None:
    found = result_folders([folders] if isinstance(folders, str | os.PathLike) else folders)
    if not found:
        raise ResultsError("collect: expected at least one result folder. Make one: spectra analyze MODEL --output DIR")
    num_left_out = 0
    for folder, reason in found.items():
        try:
            if reason:
                raise ResultsError(f"'{folder}' has no result: {reason}")
            if (folder / SHARD).is_file():
                raise ResultsError(f"'{folder}' is a shard, and no whole result. Merge it with the others: spectra merge DIR")
            take(folder, load(folder))
        except ResultsError as error:
            num_left_out += 1
            left_out(folder, error)
    if num_left_out == len(found):
        raise ResultsError(
            f"no finished result in {counted(len(found), 'folder')}. Make one: spectra analyze MODEL --output DIR"
        )


def result_folders(paths: Iterable[str | os.PathLike[str]]) -> dict[Path, str]:
    """Find result folders, unfinished ones among them.

    Args:
        paths: Result folders, or folders of them.

    Returns:
        Each once, with the reason why it is none where the record of a fleet tells: those given, and in place of one that is no
        result the results in it, in the order of the fleet or by name. One without any stays.

    Raises:
        ResultsError: A damaged record of a fleet.
    """
    found: dict[Path, tuple[Path, str]] = {}
    for path in map(Path, paths):
        path = path.expanduser()
        inside = {} if is_result_folder(path) else _results_in(path)
        for folder, reason in (inside or {path: ""}).items():
            found.setdefault(folder.resolve(), (folder, reason))
    return dict(found.values())


def _results_in(path: Path) -> dict[Path, str]:
    if not path.is_dir():
        return {}
    models = fleet_models(path) if (path / FLEET).is_file() else []
    listed = {path / model.name: model.error or "not analysed yet" for model in models}
    found = listed | dict.fromkeys(sorted(entry for entry in path.iterdir() if is_result_folder(entry)), "")
    return {folder: "" if is_result_folder(folder) else reason for folder, reason in found.items()}


def _warn(folder: Path, error: ResultsError) -> None:
    warnings.warn(f"left out: {error}", SpectraWarning, stacklevel=4)


def _add(table: TypedColumns, folder: Path, report: Report, *, summary: bool) -> None:
    rows = [_summary_of(report)] if summary else [vars(layer) for layer in report.layers]
    names = list(rows[0]) if summary else report.columns
    columns = {name: [value] * len(rows) for name, value in dataclasses.asdict(_run_of(folder, report)).items()}
    columns |= {name: [row[name] for row in rows] for name in names}
    try:
        table.add(columns)
    except TypeError as error:  # JSON of the right form with values of other types
        raise ResultsError(f"'{folder / REPORT}' is damaged: {error}. Run 'spectra analyze' again.") from error


def _run_of(folder: Path, report: Report) -> CollectedRun:
    defaults = AnalysisSettings().to_dict() | {"profile": report.settings.profile}
    changed = {name: value for name, value in report.settings.to_dict().items() if value != defaults[name]}
    return CollectedRun(
        run=folder.resolve().name,
        folder=str(folder),
        model_name=report.model.name,
        location=report.model.location,
        base=report.model.base,
        fingerprint=report.model.fingerprint,
        profile=report.settings.profile,
        settings=json.dumps(changed, ensure_ascii=False) if changed else "",
        spectra_version=str(report.environment.get("spectra", "")),
        started_at=str(report.environment.get("started_at", "")),
    )


def _summary_of(report: Report) -> dict[str, Any]:
    counts = {name: value for name, value in dataclasses.asdict(report.summary).items() if isinstance(value, int)}
    labels = {column: report.summary.labels.get(label, 0) for label, column in _LABELS.items()}
    # Experts that are only summarized have no rows to add up.
    num_params = None if report.settings.moe == "summary" else sum(layer.num_params for layer in report.layers)
    metrics = {
        f"{metric}_{statistic}": getattr(found, statistic)
        for metric, found in report.summary.metrics.items()
        for statistic in _STATISTICS
    }
    return counts | labels | {"num_params": num_params} | metrics


def _types(*, summary: bool) -> dict[str, str]:
    of_run = dict.fromkeys((f.name for f in dataclasses.fields(CollectedRun)), "string")
    return of_run | (_summary_types() if summary else _layer_types())


def _layer_types() -> dict[str, str]:
    """Return the type of every column a table of layers can have, in order."""
    return {f.name: _TYPES[str(f.type)] for f in dataclasses.fields(LayerDiagnostics)}


def _summary_types() -> dict[str, str]:
    """Return the type of every column a table of models can have, in order."""
    counts = [f.name for f in dataclasses.fields(Summary) if f.type == "int"]
    metrics = {
        f"{f.name}_{statistic}": "Int64" if statistic == "count" else "float64"
        for f in dataclasses.fields(LayerDiagnostics)
        for statistic in _STATISTICS
    }
    return dict.fromkeys([*counts, *_LABELS.values(), "num_params"], "Int64") | metrics
