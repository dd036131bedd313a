"""Result folders of analyses: reading them, and keeping the progress of a run in them (how: ``resumable_run.py``).

``report.json`` (schema version, model, settings, environment, summary, layers, skipped), ``layers.csv`` and
``spectra.safetensors`` (float64 eigenvalues by matrix name). While a run is under way finished layers are appended to
``progress.jsonl``, spectra included, so that the same command continues where it stopped. Files appear whole or not at all.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import ItemsView, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import ResultsError
from spectra.results.records import (
    SCHEMA_VERSION,
    ExpertSummary,
    LayerDiagnostics,
    LayerStatus,
    MetricSummary,
    ModelInfo,
    SkippedTensor,
    Summary,
    layer_from_dict,
)
from spectra.results.report import Report
from spectra.results.resumable_run import PROGRESS, ResumableRun
from spectra.results.settings import AnalysisSettings
from spectra.results.writing import REPORT, RESULT_FILES, SPECTRA, names_in, write_result

SHARDS = "shards"
FinishedLayer = tuple[LayerDiagnostics, NDArray[np.float64] | None]

_READABLE_VERSIONS = (1, SCHEMA_VERSION)  # version 2 added columns and settings; what version 1 lacks has its default


def load(folder: str | os.PathLike[str]) -> Report:
    """Read a result folder; spectra are read when they are asked for.

    Args:
        folder: What ``spectra analyze --output`` or ``report.save`` wrote.

    Returns:
        The report.

    Raises:
        ResultsError: Not a result folder, an unfinished or damaged one, or of another schema version.
    """
    return _loaded(Path(folder).expanduser())[0]


def is_result_folder(folder: str | os.PathLike[str]) -> bool:
    """Tell whether a folder is that of an analysis, finished or not, whole or in shards.

    Args:
        folder: Existing or not; nothing in it is read.

    Returns:
        True if so.
    """
    path = Path(folder).expanduser()
    return any((path / name).is_file() for name in (REPORT, PROGRESS)) or _has_shards(path)


def _has_shards(path: Path) -> bool:
    return any((path / SHARDS).glob("*-of-*"))


def _loaded(path: Path) -> tuple[Report, int]:
    """Read a result folder, and tell which schema version it was written in."""
    file = path / REPORT
    if not path.exists():
        raise ResultsError(f"there is no folder '{path}'. Give one with a result, such as: spectra analyze MODEL --output DIR")
    if not file.is_file():
        if _has_shards(path):
            raise ResultsError(f"'{path}' holds shards that are not merged yet. Merge them: spectra merge '{path}'")
        if (path / PROGRESS).is_file():
            raise ResultsError(f"'{path}' holds an unfinished run. Run the same 'spectra analyze' command again to finish it.")
        raise ResultsError(f"'{path}' is no result folder: it has no {REPORT}. Make one: spectra analyze MODEL --output DIR")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise ResultsError(f"'{file}' cannot be read ({error}). Run 'spectra analyze' again.") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version not in _READABLE_VERSIONS:
        readable = " and ".join(map(str, _READABLE_VERSIONS))
        raise ResultsError(
            f"'{file}' has schema version {version}, this Spectra reads {readable}. Run 'spectra analyze' again."
        )
    try:
        return _report_from_dict(content, SavedSpectra(path / SPECTRA)), version
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"'{file}' is damaged: {error}. Run 'spectra analyze' again.") from error


class SavedSpectra(Mapping[str, NDArray[np.float64]]):
    """The spectra of a saved report, each read from ``spectra.safetensors`` when it is asked for.

    Args:
        file: The file.
    """

    def __init__(self, file: Path) -> None:
        self._file = file

    def __getitem__(self, name: str) -> NDArray[np.float64]:
        with self._open() as file:
            if name not in file.keys():  # noqa: SIM118 - the handle is no mapping
                raise KeyError(name)
            return np.asarray(file.get_tensor(name))

    def __iter__(self) -> Iterator[str]:
        with self._open() as file:
            return iter(list(file.keys()))

    def __len__(self) -> int:
        with self._open() as file:
            return len(file.keys())

    def items(self) -> ItemsView[str, NDArray[np.float64]]:
        """Return all spectra with their names, read one by one; the file is opened once."""
        return _SavedItems(self)

    def _open(self) -> Any:
        from safetensors import SafetensorError, safe_open

        try:
            return safe_open(self._file, framework="np")
        except (OSError, SafetensorError) as error:
            raise ResultsError(f"'{self._file}' cannot be read ({error}). Run 'spectra analyze' again.") from error


class _SavedItems(ItemsView[str, NDArray[np.float64]]):
    _mapping: SavedSpectra

    def __iter__(self) -> Iterator[tuple[str, NDArray[np.float64]]]:
        with self._mapping._open() as file:
            for name in list(file.keys()):
                yield name, np.asarray(file.get_tensor(name))


class Run(ResumableRun[FinishedLayer, Report]):
    """A result folder while its analysis is under way; arguments and attributes are those of :class:`ResumableRun`.

    Parts are rows with their spectra, by matrix name. While it lasts no other process writes there.
    """

    what, key, files = "analysis", "header", RESULT_FILES

    def add(self, layer: LayerDiagnostics, eigenvalues: NDArray[np.float64] | None) -> None:
        """Append a finished layer; it survives the process from here on.

        Args:
            layer: The row.
            eigenvalues: Its spectrum, or ``None``.

        Raises:
            ResultsError: The disk is full or gone.
        """
        self._add(layer.matrix_name, (layer, eigenvalues))

    def _look_around(self, *, is_held: bool) -> None:
        names = names_in(self.folder)
        if SHARDS not in self._among and SHARDS in names and not names & {REPORT, PROGRESS}:
            raise ResultsError(
                f"'{self.folder}' holds shards of an analysis. Run those that are left (--shard), and merge them: spectra "
                f"merge '{self.folder}'. Or choose another folder, or write beside them with --force."
            )
        super()._look_around(is_held=is_held)

    def _load(self) -> tuple[dict[str, Any], Report]:
        report, version = _loaded(self.folder)
        return _header_of(report, version), report

    def _write(self, result: Report) -> None:
        write_result(self.folder, result.to_dict(), result.to_csv(), result.spectra)

    def _to_continue(self, result: Report) -> dict[str, FinishedLayer] | None:
        if all(layer.status != LayerStatus.UNREADABLE for layer in result.layers):
            return None
        return {
            layer.matrix_name: (layer, result.spectra.get(layer.matrix_name))
            for layer in result.layers
            if layer.status != LayerStatus.UNREADABLE
        }

    def _record(self, name: str, part: FinishedLayer) -> dict[str, Any]:
        layer, eigenvalues = part
        spectrum = None if eigenvalues is None else base64.b64encode(eigenvalues.astype("<f8").tobytes()).decode()
        return {"layer": layer.to_dict(), "spectrum": spectrum}

    def _part(self, record: Mapping[str, Any]) -> tuple[str, FinishedLayer] | None:
        layer, data = layer_from_dict(record["layer"]), record["spectrum"]
        if layer.status == LayerStatus.UNREADABLE:
            return None
        spectrum = None if data is None else np.frombuffer(base64.b64decode(data), dtype="<f8").astype(np.float64)
        return layer.matrix_name, (layer, spectrum)

    def _difference(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
        return difference(old, new)


def run_header(model: ModelInfo, settings: AnalysisSettings, *, version: str) -> dict[str, Any]:
    """Return what identifies a run: the weights and every setting.

    Args:
        model: Which model.
        settings: Resolved settings.
        version: Of Spectra: another one may compute something differently.

    Returns:
        Plain values. The location is left out: the same weights elsewhere are the same run.
    """
    return {
        "schema_version": SCHEMA_VERSION,
        "spectra": version,
        "fingerprint": model.fingerprint,
        "revision": model.revision,
        "settings": settings.to_dict(),
    }


def header_of_result(folder: str | os.PathLike[str]) -> dict[str, Any]:
    """Return what identifies the analysis whose result a folder holds.

    Args:
        folder: A finished result.

    Returns:
        Its header, as :func:`run_header` made it.

    Raises:
        ResultsError: Not a result folder, an unfinished or damaged one, or of another schema version.
    """
    return _header_of(*_loaded(Path(folder).expanduser()))


def _report_from_dict(content: dict[str, Any], spectra: Mapping[str, NDArray[np.float64]]) -> Report:
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content["settings"].items()
    }
    model = content["model"]
    return Report(
        model=ModelInfo(**model | {"notes": tuple(model.get("notes", ()))}),
        layers=tuple(layer_from_dict(row) for row in content["layers"]),
        skipped=tuple(
            SkippedTensor(row["name"], tuple(row["shape"]), row["dtype"], row["reason"]) for row in content["skipped"]
        ),
        summary=Summary(**_with_metrics(content["summary"])),
        settings=AnalysisSettings(**settings),
        environment=content["environment"],
        spectra=spectra,
        experts=tuple(ExpertSummary(**_with_metrics(summary)) for summary in content.get("experts", ())),
    )


def _with_metrics(summary: dict[str, Any]) -> dict[str, Any]:
    return summary | {"metrics": {name: MetricSummary(**_none_to_nan(m)) for name, m in summary["metrics"].items()}}


def _header_of(report: Report, schema_version: int) -> dict[str, Any]:
    header = run_header(report.model, report.settings, version=str(report.environment.get("spectra")))
    return header | {"schema_version": schema_version}


def difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in words how two analyses differ.

    Args:
        old: Header of the one that is there, as :func:`run_header` made it.
        new: Header of the other.

    Returns:
        The first difference; empty if there is none.
    """
    if old.get("schema_version") != new.get("schema_version"):  # it lacks columns
        return f"schema version {old.get('schema_version')} there, {new.get('schema_version')} now"
    before, after = old.get("settings", {}), new.get("settings", {})
    changed = [key for key in after if before.get(key) != after[key]]
    if changed:
        return "; ".join(f"{key} {before.get(key)!r} there, {after[key]!r} now" for key in changed)
    if old.get("fingerprint") != new.get("fingerprint"):
        return "of other weights"
    if old.get("revision") != new.get("revision"):
        return "of files that changed since, or of a copy of them"
    return "" if old == new else f"made by Spectra {old.get('spectra')}"


def _none_to_nan(metric: dict[str, Any]) -> dict[str, Any]:
    return {key: float("nan") if value is None else value for key, value in metric.items()}
