"""Folders of comparisons: reading them, and keeping the progress of a run in them.

``comparison.json`` (schema version, models, settings, rows, skipped), ``comparison.csv`` and ``changes.safetensors`` (float64
eigenvalues and directions of the changes, and the eigenvalues before and after of what changed). While a run is under way
finished matrices are appended to ``progress.jsonl``, so that the same command continues where it stopped. Files appear whole or
not at all.
"""

from __future__ import annotations

import base64
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import ResultsError
from spectra.results.comparison import COMPARISON_SCHEMA_VERSION, ComparedModel, Comparison, MatrixComparison
from spectra.results.comparison_rows import row_from_dict
from spectra.results.comparison_writing import CHANGES, COMPARISON, TABLE, write_comparison
from spectra.results.journal import Journal, read_journal
from spectra.results.records import LayerStatus, ModelInfo, SkippedTensor
from spectra.results.settings import AnalysisSettings
from spectra.results.store import PROGRESS, SavedSpectra
from spectra.results.versioned_json import read_versioned
from spectra.results.writing import holds_others, made, names_in, remove_leftovers

_AGAIN = "Make one: spectra compare BASE MODEL --output DIR"


def load_comparison(folder: str | os.PathLike[str]) -> Comparison:
    """Read a folder of a comparison; spectra and directions are read when they are asked for.

    Args:
        folder: What ``spectra compare --output`` or ``comparison.save`` wrote.

    Returns:
        The comparison.

    Raises:
        ResultsError: No such folder, an unfinished or damaged one, or of another schema version.
    """
    path = Path(folder).expanduser()
    if not (path / COMPARISON).is_file() and (path / PROGRESS).is_file():
        raise ResultsError(f"'{path}' holds an unfinished run. Run the same command again to finish it.")
    changes = SavedSpectra(path / CHANGES)
    return read_versioned(
        path / COMPARISON,
        "comparison",
        COMPARISON_SCHEMA_VERSION,
        lambda content: _comparison(content, changes),
        again=_AGAIN,
    )


@dataclass(frozen=True)
class FinishedMatrix:
    """One matrix of the base, beside every other model.

    Attributes:
        rows: One for each other model, in order.
        arrays: Eigenvalues and directions of the changes, by their keys.
    """

    rows: tuple[MatrixComparison, ...]
    arrays: Mapping[str, NDArray[np.float64]]


class ComparisonRun:
    """A folder while its comparison is under way.

    Args:
        folder: Where results go.
        header: What identifies the run; a folder with another one is not continued.
        force: Start over in a folder that holds another run or comparison, or other files (which are left alone).

    Attributes:
        finished: Matrices of an interrupted run of the same header, by name.
        complete: The comparison, if the folder holds the finished one of this header.

    Raises:
        ResultsError: The folder holds something else, or cannot be written.
    """

    def __init__(self, folder: str | os.PathLike[str], header: Mapping[str, Any], *, force: bool = False) -> None:
        self.folder = Path(folder).expanduser()
        self.finished: dict[str, FinishedMatrix] = {}
        self.complete: Comparison | None = None
        self._header = json.loads(json.dumps(header))
        if not force:
            self._look_around()
        self._journal: Journal | None = None
        if self.complete is None:
            self._start()

    def add(self, matrix_name: str, found: FinishedMatrix) -> None:
        """Append a finished matrix; it survives the process from here on.

        Args:
            matrix_name: Of the base.
            found: Its rows and arrays.

        Raises:
            ResultsError: The disk is full or gone.
        """
        assert self._journal is not None
        self._journal.append(_record(matrix_name, found))

    def finish(self, comparison: Comparison) -> None:
        """Write the finished comparison and remove the record of progress.

        Args:
            comparison: With all rows.

        Raises:
            ResultsError: The folder cannot be written.
        """
        write_comparison(self.folder, comparison.to_dict(), comparison.to_csv(), comparison.changes)
        self.close()
        (self.folder / PROGRESS).unlink(missing_ok=True)
        remove_leftovers(self.folder)

    def close(self) -> None:
        """Close the record of progress; what was added stays there for the next run."""
        if self._journal is not None:
            self._journal.close()
            self._journal = None

    def _look_around(self) -> None:
        names = names_in(self.folder)
        if PROGRESS in names:
            self._resume()
        elif COMPARISON in names:
            self._take(load_comparison(self.folder))
        elif names:
            raise holds_others(self.folder, names)

    def _resume(self) -> None:
        records = read_journal(self.folder / PROGRESS)
        header = records[0].get("comparison") if records else None
        if header is None:
            raise ResultsError(
                f"'{self.folder}' holds a file '{PROGRESS}' of something else. Choose another folder, or overwrite "
                "it with --force."
            )
        self._refuse_another("an unfinished run of another comparison", header)
        for record in records[1:]:
            found = _finished(record)
            if not _is_to_retry(found):
                self.finished[record["matrix"]] = found

    def _take(self, comparison: Comparison) -> None:
        version = str(comparison.environment.get("spectra"))
        self._refuse_another("the result of another comparison", comparison_header(comparison, version=version))
        if not any(row.status == LayerStatus.UNREADABLE for row in comparison.rows):
            self.complete = comparison

    def _refuse_another(self, what: str, header: Mapping[str, Any]) -> None:
        difference = _difference(header, self._header)
        if difference:
            raise ResultsError(
                f"'{self.folder}' holds {what} ({difference}). Run that command again, choose another folder, or start over "
                "with --force."
            )

    def _start(self) -> None:
        made(self.folder)
        for name in (PROGRESS, COMPARISON, TABLE, CHANGES):  # an earlier result must not stand beside the files of this run
            if name != PROGRESS or not self.finished:
                (self.folder / name).unlink(missing_ok=True)
        self._journal = Journal(self.folder / PROGRESS)
        if not self.finished:
            self._journal.append({"comparison": self._header})


def comparison_header(comparison: Comparison, *, version: str) -> dict[str, Any]:
    """Return what identifies a run: the weights of all models and every setting.

    Args:
        comparison: With or without rows.
        version: Of Spectra: another one may compute something differently.

    Returns:
        Plain values.
    """
    models = [(model.name, model.fingerprint, model.revision) for model in comparison.models]
    header = {
        "schema_version": COMPARISON_SCHEMA_VERSION,
        "spectra": version,
        "base": (comparison.base.fingerprint, comparison.base.revision),
        "models": models,
        "over_time": comparison.over_time,
        "directions": comparison.num_directions,
        "intruder_threshold": comparison.intruder_threshold,
        "settings": comparison.settings.to_dict(),
    }
    plain: dict[str, Any] = json.loads(json.dumps(header))
    return plain


def _difference(old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
    """Say in words how two headers differ; empty if they do not."""
    settings = [(key, old.get("settings", {}).get(key), value) for key, value in new["settings"].items()]
    own = [(key, old.get(key), new[key]) for key in ("over_time", "directions", "intruder_threshold")]
    changed = [f"{key} {before!r} there, {now!r} now" for key, before, now in (*own, *settings) if before != now]
    if changed:
        return "; ".join(changed)
    if any(old.get(key) != new[key] for key in ("base", "models")):
        return "of other models, or of files that changed since"
    return "" if dict(old) == dict(new) else f"made by Spectra {old.get('spectra')}"


def _record(matrix_name: str, found: FinishedMatrix) -> dict[str, Any]:
    arrays = {
        key: {"shape": array.shape, "data": base64.b64encode(np.ascontiguousarray(array, "<f8").tobytes()).decode()}
        for key, array in found.arrays.items()
    }
    return {"matrix": matrix_name, "rows": [row.to_dict() for row in found.rows], "arrays": arrays}


def _finished(record: Mapping[str, Any]) -> FinishedMatrix:
    arrays = {
        key: np.frombuffer(base64.b64decode(array["data"]), dtype="<f8").reshape(array["shape"]).astype(np.float64)
        for key, array in record["arrays"].items()
    }
    return FinishedMatrix(tuple(map(row_from_dict, record["rows"])), arrays)


def _is_to_retry(found: FinishedMatrix) -> bool:
    """Tell what could not be read then, and is tried again."""
    return any(row.status == LayerStatus.UNREADABLE for row in found.rows)


def _comparison(content: Mapping[str, Any], changes: Mapping[str, NDArray[np.float64]]) -> Comparison:
    settings: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in content["settings"].items()
    }
    skipped = (SkippedTensor(**{**each, "shape": tuple(each["shape"])}) for each in content["skipped"])
    return Comparison(
        base=ModelInfo(**content["base"] | {"notes": tuple(content["base"]["notes"])}),
        models=tuple(ComparedModel(**model | {"notes": tuple(model["notes"])}) for model in content["models"]),
        rows=tuple(map(row_from_dict, content["rows"])),
        settings=AnalysisSettings(**settings),
        over_time=bool(content["over_time"]),
        base_step=content["base_step"],
        num_directions=int(content["num_directions"]),
        intruder_threshold=float(content["intruder_threshold"]),
        skipped=tuple(skipped),
        environment=dict(content["environment"]),
        notes=tuple(content["notes"]),
        changes=changes,
    )
