r"""The comparison of models: a base against every other one, matrix by matrix, in long form.

A row is one matrix of one model beside the same matrix of the base: both rows of ``spectra.analyze``, the spectrum of the
change :math:`\Delta = W' - W`, how far the leading singular subspaces have turned, and which leading singular vectors are new.
Missing numbers are NaN (``None`` for integers) in memory, ``null`` in JSON and empty in CSV; ``status`` says why.

**Which matrix.** Left singular vectors belong to a layer's outputs and right ones to its inputs: of a weight stored as
``(in, out)`` (``is_transposed``) the transpose is meant. Subspaces and directions of a convolution are those of its kernel as
one matrix ``(first axis, all others)``; the spectrum of its change pools the kernel positions, as its rows of
``spectra.analyze`` do. Several experts pooled into one row are no single matrix and have a spectrum, but no directions.
"""

from __future__ import annotations

import dataclasses
import math
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, MissingPackageError, ResultsError, did_you_mean
from spectra.results.comparison_rows import csv_columns, csv_row, table_text
from spectra.results.comparison_words import comparison_words
from spectra.results.comparison_writing import write_comparison
from spectra.results.matrix_comparison import (
    CHANGE_METRICS,
    METRICS,
    METRICS_ONLY,
    NO_COUNTERPART,
    Finding,
    Intruder,
    MatrixComparison,
    change_key,
    check_metric,
    share,
)
from spectra.results.records import FAILURES, LayerStatus, ModelInfo, SkippedTensor
from spectra.results.settings import AnalysisSettings
from spectra.results.weight_rounds import plain_json
from spectra.results.writing import made

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

__all__ = [
    "CHANGE_METRICS",
    "METRICS",
    "METRICS_ONLY",
    "NO_COUNTERPART",
    "ChangeDirections",
    "ComparedModel",
    "Comparison",
    "Finding",
    "Intruder",
    "MatrixComparison",
    "change_key",
]

COMPARISON_SCHEMA_VERSION = 1


@dataclass(frozen=True, kw_only=True)
class ComparedModel:
    """One of the models that are compared with the base.

    Attributes:
        name: Short and unique: what rows call it.
        location: As the user gave it.
        step: Of training, as far as its location says (``checkpoint-500``); else ``None``.
        fingerprint: Identifies its weights, as in :class:`~spectra.results.records.ModelInfo`.
        revision: Likewise; empty for a comparison without folder.
        notes: What to know about it as a whole, such as weights that the base does not have.
    """

    name: str
    location: str
    step: int | None = None
    fingerprint: str = ""
    revision: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class ChangeDirections:
    """The leading singular vectors of a change.

    Attributes:
        left: Shape ``(outputs, k)``, float64, orthonormal columns.
        singular_values: Shape ``(k,)``, float64, descending.
        right: Shape ``(inputs, k)``, likewise.
    """

    left: NDArray[np.float64]
    singular_values: NDArray[np.float64]
    right: NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class Comparison:
    """The result of :func:`spectra.compare`.

    Attributes:
        base: The model that the others are compared with.
        models: The others.
        rows: Model by model, each in the order of the base.
        over_time: The models are checkpoints of one run, in order, and the base is the first of them.
        base_step: Step of the base, as far as its location says.
        num_directions: Size of the leading subspaces that was asked for.
        intruder_threshold: Cosine under which a leading singular vector is new.
        settings: Of the analyses before and after.
        skipped: Tensors of the base that are no row, with the reason.
        environment: Versions and machine, start time and duration.
        notes: What to know about the whole.
        changes: Eigenvalues and directions of the changes by :func:`change_key`; a saved comparison reads them when asked.
    """

    base: ModelInfo
    models: tuple[ComparedModel, ...]
    rows: tuple[MatrixComparison, ...]
    settings: AnalysisSettings
    over_time: bool = False
    base_step: int | None = None
    num_directions: int = 10
    intruder_threshold: float = 0.5
    skipped: tuple[SkippedTensor, ...] = ()
    environment: Mapping[str, Any] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    changes: Mapping[str, NDArray[np.float64]] = field(default_factory=dict, repr=False)

    @property
    def matrix_names(self) -> tuple[str, ...]:
        """The matrices, in the order of the base."""
        return tuple(dict.fromkeys(row.matrix_name for row in self.rows))

    @property
    def is_identical(self) -> bool:
        """Whether every matrix of every model is equal to the base's, and none is missing."""
        return bool(self.rows) and all(row.status == LayerStatus.UNCHANGED for row in self.rows)

    @property
    def num_failed(self) -> int:
        """Rows whose weights could not be analysed."""
        return sum(row.status in FAILURES for row in self.rows)

    def of(self, model: str) -> tuple[MatrixComparison, ...]:
        """Return the rows of a model.

        Args:
            model: Its name.

        Returns:
            In the order of the base.

        Raises:
            InputError: No such model.
        """
        names = [each.name for each in self.models]
        if model not in names:
            raise InputError(f"no model '{model}' in the comparison.{did_you_mean(model, names)} Known: {', '.join(names)}.")
        return tuple(row for row in self.rows if row.model == model)

    def relative_change(self, model: str) -> float:
        """Compute the norm of all known changes of a model over that of the same matrices of the base.

        Args:
            model: Its name.

        Returns:
            The share; NaN where no change is known.

        Raises:
            InputError: No such model.
        """
        known = [row for row in self.of(model) if math.isfinite(row.norm_change)]
        return share(math.hypot(*(r.norm_change for r in known)), math.hypot(*(r.norm_before for r in known)))

    def trajectory(self, metric: str) -> dict[str, list[float]]:
        """Follow a number of every matrix from model to model.

        Args:
            metric: A numeric column of ``spectra.analyze`` (``METRICS``), or one of the change (``CHANGE_METRICS``).

        Returns:
            By matrix name the value at the base and at each model, in order; NaN where there is none.

        Raises:
            InputError: No such metric.
        """
        check_metric(metric)
        table: dict[str, list[float]] = {name: [math.nan] * (1 + len(self.models)) for name in self.matrix_names}
        places = {model.name: place for place, model in enumerate(self.models, start=1)}
        for row in self.rows:
            values = table[row.matrix_name]
            values[0], values[places[row.model]] = row.value_at_base(metric), row.value(metric)
        return table

    def eigenvalues_of_change(self, matrix_name: str, model: str | None = None) -> NDArray[np.float64]:
        """Return the spectrum of a change.

        Args:
            matrix_name: Of a matrix that changed.
            model: Its model; may be left out where there is only one.

        Returns:
            Shape ``(n,)``, float64, ascending: squared singular values of the change, the zeros of a low-rank one left out.

        Raises:
            InputError: No such matrix or model, or a matrix whose change has no spectrum.
        """
        return self._array("eigenvalues", matrix_name, model)

    def directions(self, matrix_name: str, model: str | None = None) -> ChangeDirections:
        """Return the leading singular vectors of a change.

        Args:
            matrix_name: Of a matrix that changed.
            model: Its model; may be left out where there is only one.

        Returns:
            At most ``num_directions`` of them, those that the arithmetic resolves.

        Raises:
            InputError: No such matrix or model, or a matrix whose change has no directions.
        """
        return ChangeDirections(*(self._array(part, matrix_name, model) for part in ("left", "singular_values", "right")))

    def _array(self, part: str, matrix_name: str, model: str | None) -> NDArray[np.float64]:
        if model is None:
            if len(self.models) > 1:
                raise InputError(f"model: which of {', '.join(each.name for each in self.models)} is meant? Name it.")
            model = self.models[0].name
        rows = {row.matrix_name: row for row in self.of(model)}
        if matrix_name not in rows:
            raise InputError(
                f"no matrix '{matrix_name}' in the comparison.{did_you_mean(matrix_name, rows)} See comparison.rows."
            )
        key = change_key(model, matrix_name, part)
        if key not in self.changes:
            what = "spectrum" if part == "eigenvalues" else "directions"
            raise InputError(f"the change of '{matrix_name}' has no {what}: its status is '{rows[matrix_name].status}'.")
        return self.changes[key]

    def to_dict(self) -> dict[str, Any]:
        """Return everything as JSON can hold it, without spectra and directions."""
        settings = {"settings": self.settings.to_dict(), "environment": dict(self.environment)}
        plain = {
            name: getattr(self, name) for name in ("over_time", "base_step", "num_directions", "intruder_threshold", "notes")
        }
        lists = {
            "models": [dataclasses.asdict(model) for model in self.models],
            "rows": [row.to_dict() for row in self.rows],
            "skipped": [tensor.to_dict() for tensor in self.skipped],
        }
        content: dict[str, Any] = plain_json({"base": dataclasses.asdict(self.base)} | plain | settings | lists)
        return {"schema_version": COMPARISON_SCHEMA_VERSION} | content

    def to_csv(self) -> str:
        r"""Return a row for each matrix and model, as text.

        Returns:
            Text with ``\n`` line ends, empty for what is not known; numbers read back to the same float64.
        """
        return table_text(self.rows, self.settings)

    def to_pandas(self) -> pd.DataFrame:
        """Return a row for each matrix and model, with the columns of the CSV.

        Returns:
            The table; NaN for numbers that are not known.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        try:
            import pandas
        except ImportError as error:
            raise MissingPackageError('tables need pandas: pip install "spectra-nn[frames]"') from error
        names = csv_columns(self.rows, self.settings)
        return pandas.DataFrame([csv_row(row, names) for row in self.rows], columns=names)

    def save(self, folder: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write ``comparison.json``, ``comparison.csv`` and ``changes.safetensors``, atomically.

        Args:
            folder: New or empty, or any when ``force`` is set.
            force: Replace an earlier comparison; other files in the folder are left alone.

        Raises:
            ResultsError: The folder holds something, or cannot be written.
        """
        path = Path(folder).expanduser()
        if not force and path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ResultsError(f"'{path}' exists and is not empty. Choose another folder, or pass force=True (--force).")
        write_comparison(made(path), self.to_dict(), self.to_csv(), self.changes)

    def __str__(self) -> str:
        models = [(model.name, self.relative_change(model.name), self.of(model.name)) for model in self.models]
        return comparison_words(self.base.name, models)
