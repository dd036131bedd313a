"""Result folders: reading them, and keeping the progress of a run in them. How files are written: ``writing.py``.

``report.json`` (schema version, model, settings, environment, summary, layers, skipped), ``layers.csv`` and
``spectra.safetensors`` (float64 eigenvalues by matrix name). While a run is under way finished layers are appended to
``progress.jsonl``, spectra included, so that the same command continues where it stopped. Files appear whole or not at all.
"""

from __future__ import annotations

import base64
import io
import json
import os
from collections.abc import Collection, ItemsView, Iterator, Mapping
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
from spectra.results.settings import AnalysisSettings
from spectra.results.writing import (
    LAYERS,
    REPORT,
    SPECTRA,
    holds_others,
    made,
    names_in,
    remove_leftovers,
    unwritable,
    write_result,
    write_whole,
)

PROGRESS, SHARDS = "progress.jsonl", "shards"
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


def _loaded(path: Path) -> tuple[Report, int]:
    """Read a result folder, and tell which schema version it was written in."""
    file = path / REPORT
    if not path.exists():
        raise ResultsError(f"there is no folder '{path}'. Give one with a result, such as: spectra analyze MODEL --output DIR")
    if not file.is_file():
        if (path / SHARDS).is_dir():
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


class Run:
    """A result folder while its analysis is under way.

    Args:
        folder: Where results go.
        header: What identifies the run: model and settings. A folder with another header is not continued.
        force: Start over in a folder that holds another run or report of Spectra's, or other files (which are left alone).
        among: Names of files of others that may be there.

    Attributes:
        finished: Rows of an interrupted run of the same header, by matrix name, with their spectra.
        complete: The report, if the folder already holds the finished result of this header.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        header: Mapping[str, Any],
        *,
        force: bool = False,
        among: Collection[str] = (),
    ) -> None:
        self.folder = Path(folder).expanduser()
        self._header = json.loads(json.dumps(header))
        self._among = frozenset(among)
        self.finished: dict[str, tuple[LayerDiagnostics, NDArray[np.float64] | None]] = {}
        self.complete: Report | None = None
        if not force:
            self._look_around()
        made(self.folder)
        self._progress = self._started()
        if self.complete is None:
            # An earlier result must not stand beside the files of this run; what is taken over from it is in the progress now.
            for name in (REPORT, LAYERS, SPECTRA):
                (self.folder / name).unlink(missing_ok=True)

    def add(self, layer: LayerDiagnostics, eigenvalues: NDArray[np.float64] | None) -> None:
        """Append a finished layer; it survives the process from here on.

        Args:
            layer: The row.
            eigenvalues: Its spectrum, or ``None``.

        Raises:
            ResultsError: The disk is full or gone.
        """
        try:
            self._progress.write(_progress_line(layer, eigenvalues) + "\n")
            self._progress.flush()
        except OSError as error:
            raise ResultsError(unwritable(self.folder, error)) from error

    def finish(self, report: Report) -> None:
        """Write the finished report and remove the record of progress.

        Args:
            report: With all layers.

        Raises:
            ResultsError: The folder cannot be written.
        """
        write_result(self.folder, report.to_dict(), report.to_csv(), report.spectra)
        self.close()
        (self.folder / PROGRESS).unlink(missing_ok=True)
        remove_leftovers(self.folder)

    def close(self) -> None:
        """Close the record of progress; what was added stays there for the next run."""
        self._progress.close()

    def _look_around(self) -> None:
        names = names_in(self.folder) - self._among
        if PROGRESS in names:
            self._resume()
        elif REPORT in names:
            report, version = _loaded(self.folder)
            if reason := difference(_header_of(report, version), self._header):
                raise ResultsError(
                    f"'{self.folder}' holds the result of another analysis ({reason}). "
                    "Choose another folder, or replace it with --force."
                )
            if any(layer.status == LayerStatus.UNREADABLE for layer in report.layers):
                self._take(report)
            else:
                self.complete = report
        elif names:
            raise holds_others(self.folder, names)

    def _resume(self) -> None:
        lines = (self.folder / PROGRESS).read_text(encoding="utf-8", errors="replace").splitlines()
        header = (_parsed(lines[0]) or {}).get("header") if lines else None
        if not isinstance(header, dict):
            raise ResultsError(
                f"'{self.folder}' holds a file '{PROGRESS}' that is not Spectra's. Choose another folder, or overwrite it with "
                "--force."
            )
        if reason := difference(header, self._header):
            raise ResultsError(
                f"'{self.folder}' holds an unfinished run of another analysis ({reason}). Run that command again, "
                "choose another folder, or start over with --force."
            )
        for line in lines[1:]:
            try:
                content = _parsed(line) or {}
                layer, data = layer_from_dict(content["layer"]), content["spectrum"]
                spectrum = None if data is None else np.frombuffer(base64.b64decode(data), dtype="<f8").astype(np.float64)
            except (AttributeError, KeyError, TypeError, ValueError):
                continue  # torn or damaged: this layer is computed again
            if layer.status != LayerStatus.UNREADABLE:  # what could not be read then is tried again
                self.finished[layer.matrix_name] = (layer, spectrum)

    def _take(self, report: Report) -> None:
        for layer in report.layers:
            if layer.status != LayerStatus.UNREADABLE:
                self.finished[layer.matrix_name] = (layer, report.spectra.get(layer.matrix_name))

    def _started(self) -> io.TextIOWrapper:
        """Write the header and what is already finished anew (atomically: a torn line goes), then append to it."""
        if self.complete is not None:
            return io.TextIOWrapper(io.BytesIO())
        lines = [json.dumps({"header": self._header})]
        lines += [_progress_line(layer, spectrum) for layer, spectrum in self.finished.values()]
        write_whole(self.folder / PROGRESS, ("\n".join(lines) + "\n").encode())
        try:
            return (self.folder / PROGRESS).open("a", encoding="utf-8")
        except OSError as error:
            raise ResultsError(unwritable(self.folder, error)) from error


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


def _progress_line(layer: LayerDiagnostics, eigenvalues: NDArray[np.float64] | None) -> str:
    spectrum = None if eigenvalues is None else base64.b64encode(eigenvalues.astype("<f8").tobytes()).decode()
    return json.dumps({"layer": layer.to_dict(), "spectrum": spectrum}, allow_nan=False)


def _parsed(line: str) -> dict[str, Any] | None:
    try:
        content = json.loads(line)
    except ValueError:
        return None
    return content if isinstance(content, dict) else None


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
