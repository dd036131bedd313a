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
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import ResultsError
from spectra.results.comparison import COMPARISON_SCHEMA_VERSION, ComparedModel, Comparison, MatrixComparison
from spectra.results.comparison_rows import row_from_dict
from spectra.results.comparison_writing import CHANGES, COMPARISON, COMPARISON_FILES, write_comparison
from spectra.results.records import LayerStatus, ModelInfo, SkippedTensor
from spectra.results.resumable_run import PROGRESS, ResumableRun
from spectra.results.settings import AnalysisSettings
from spectra.results.store import SavedSpectra
from spectra.results.versioned_json import read_versioned

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


class ComparisonRun(ResumableRun[FinishedMatrix, Comparison]):
    """A folder while its comparison is under way; arguments and attributes are those of :class:`ResumableRun`.

    Parts are matrices of the base, by name. While it lasts no other process writes there.
    """

    what, key, files = "comparison", "comparison", COMPARISON_FILES

    def add(self, matrix_name: str, found: FinishedMatrix) -> None:
        """Append a finished matrix; it survives the process from here on.

        Args:
            matrix_name: Of the base.
            found: Its rows and arrays.

        Raises:
            ResultsError: The disk is full or gone.
        """
        self._add(matrix_name, found)

    def _load(self) -> tuple[dict[str, Any], Comparison]:
        comparison = load_comparison(self.folder)
        return comparison_header(comparison, version=str(comparison.environment.get("spectra"))), comparison

    def _write(self, result: Comparison) -> None:
        write_comparison(self.folder, result.to_dict(), result.to_csv(), result.changes)

    def _to_continue(self, result: Comparison) -> dict[str, FinishedMatrix] | None:
        return {} if _is_to_retry(result.rows) else None

    def _record(self, name: str, part: FinishedMatrix) -> dict[str, Any]:
        arrays = {
            key: {"shape": array.shape, "data": base64.b64encode(np.ascontiguousarray(array, "<f8").tobytes()).decode()}
            for key, array in part.arrays.items()
        }
        return {"matrix": name, "rows": [row.to_dict() for row in part.rows], "arrays": arrays}

    def _part(self, record: Mapping[str, Any]) -> tuple[str, FinishedMatrix] | None:
        rows = tuple(map(row_from_dict, record["rows"]))
        if _is_to_retry(rows):
            return None
        arrays = {
            key: np.frombuffer(base64.b64decode(array["data"]), dtype="<f8").reshape(array["shape"]).astype(np.float64)
            for key, array in record["arrays"].items()
        }
        return record["matrix"], FinishedMatrix(rows, arrays)

    def _difference(self, old: Mapping[str, Any], new: Mapping[str, Any]) -> str:
        return _difference(old, new)


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


def _is_to_retry(rows: Sequence[MatrixComparison]) -> bool:
    """Tell what could not be read then, and is tried again."""
    return any(row.status == LayerStatus.UNREADABLE for row in rows)


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
