"""The result of an analysis: layers, what was skipped, a summary, settings and environment, and the spectra."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import InputError, MissingPackageError, ResultsError, did_you_mean
from spectra.results.csv_text import csv_text
from spectra.results.records import (
    SCHEMA_VERSION,
    ExpertSummary,
    LayerDiagnostics,
    ModelInfo,
    SkippedTensor,
    Summary,
    columns,
)
from spectra.results.settings import AnalysisSettings, requested_groups
from spectra.results.weightwatcher import weightwatcher_rows
from spectra.results.words import conclusion, headline
from spectra.results.writing import made, write_result

if TYPE_CHECKING:
    import os

    import pandas as pd


@dataclass(frozen=True)
class Report:
    """The result of :func:`spectra.analyze`.

    Attributes:
        model: Which model.
        layers: One row per analysed weight, in model order.
        skipped: Every tensor of two or more dimensions that is no row, with the reason.
        summary: Counts and means.
        experts: In a mixture of experts, one entry per layer and weight: how its experts differ.
        settings: All settings of the run.
        environment: Versions and machine, start time and duration.
        spectra: Eigenvalues by matrix name; a saved report reads them from its folder when asked.
    """

    model: ModelInfo
    layers: tuple[LayerDiagnostics, ...]
    skipped: tuple[SkippedTensor, ...]
    summary: Summary
    settings: AnalysisSettings
    environment: Mapping[str, Any]
    spectra: Mapping[str, NDArray[np.float64]]
    experts: tuple[ExpertSummary, ...] = ()

    @property
    def columns(self) -> list[str]:
        """The columns of the table: those of every analysis, and those that the settings asked for."""
        return columns(requested_groups(self.settings))

    def eigenvalues(self, layer_name: str) -> NDArray[np.float64]:
        """Return the spectrum of a layer.

        Args:
            layer_name: Name of a layer or matrix of the report.

        Returns:
            Shape ``(num_eigenvalues,)``, float64, ascending, in units of squared weights.

        Raises:
            InputError: No such layer, or one that has no spectrum.
        """
        if layer_name in self.spectra:
            return self.spectra[layer_name]
        names = [layer.matrix_name for layer in self.layers]
        if layer_name in names:
            status = self.layers[names.index(layer_name)].status
            raise InputError(f"layer '{layer_name}' has no spectrum: its status is '{status}'.")
        raise InputError(f"no layer '{layer_name}' in the report.{did_you_mean(layer_name, names)} See report.layers.")

    def save(self, folder: str | os.PathLike[str], *, force: bool = False) -> None:
        """Write ``report.json``, ``layers.csv`` and ``spectra.safetensors`` into a folder, atomically.

        Args:
            folder: New or empty, or one that holds a report when ``force`` is set.
            force: Replace an earlier report; other files in the folder are left alone.

        Raises:
            ResultsError: The folder holds something, or cannot be written.
        """
        path = Path(folder).expanduser()
        if not force and path.exists() and (not path.is_dir() or any(path.iterdir())):
            raise ResultsError(f"'{path}' exists and is not empty. Choose another folder, or pass force=True (--force).")
        write_result(made(path), self.to_dict(), self.to_csv(), self.spectra)

    def to_dict(self) -> dict[str, Any]:
        """Return the content of ``report.json``: plain values, ``None`` for missing numbers, without spectra."""
        return {
            "schema_version": SCHEMA_VERSION,
            "model": dataclasses.asdict(self.model) | {"notes": list(self.model.notes)},
            "settings": self.settings.to_dict(),
            "environment": dict(self.environment),
            "summary": _nan_to_none(dataclasses.asdict(self.summary)),
            "layers": self._rows(),
            "experts": [_nan_to_none(dataclasses.asdict(summary)) for summary in self.experts],
            "skipped": [tensor.to_dict() for tensor in self.skipped],
        }

    def to_csv(self) -> str:
        r"""Return the content of ``layers.csv``: one row per layer, empty for missing numbers.

        Returns:
            Text with ``\n`` line ends; numbers read back to the same float64, names by
            :func:`~spectra.results.csv_text.name_from_csv`.
        """
        return csv_text(self.columns, self._rows())

    def to_pandas(self) -> pd.DataFrame:
        """Return the layers as a DataFrame, columns in the order of the schema.

        Returns:
            One row per layer; integers with gaps as ``Int64``.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        pandas = import_pandas()
        frame: pd.DataFrame = pandas.DataFrame(self._rows(), columns=self.columns)
        whole = [name for name, kind in LayerDiagnostics.__annotations__.items() if kind == "int | None" and name in frame]
        floats = [name for name, kind in LayerDiagnostics.__annotations__.items() if kind == "float" and name in frame]
        return frame.astype({**dict.fromkeys(whole, "Int64"), **dict.fromkeys(floats, "float64")})

    def to_weightwatcher(self) -> pd.DataFrame:
        """Return the layers under WeightWatcher's column names and in its units.

        Returns:
            The table; see :mod:`spectra.results.weightwatcher` for what differs.

        Raises:
            MissingPackageError: pandas is not installed.
        """
        frame: pd.DataFrame = import_pandas().DataFrame(weightwatcher_rows(self.layers, self.settings))
        return frame

    def _rows(self) -> list[dict[str, Any]]:
        """Return the rows of the table, without the columns that nobody asked for."""
        rows = [layer.to_dict() for layer in self.layers]
        return [{name: row[name] for name in self.columns} for row in rows]

    def __str__(self) -> str:
        return f"{headline(self.model, self.summary)}\n{conclusion(self.summary)}"


def import_pandas() -> Any:
    """Import pandas.

    Returns:
        The module.

    Raises:
        MissingPackageError: It is not installed.
    """
    try:
        import pandas
    except ImportError as error:
        raise MissingPackageError('tables need pandas: pip install "spectra-nn[frames]"') from error
    return pandas


def _nan_to_none(value: Any) -> Any:
    if isinstance(value, tuple):
        return [_nan_to_none(inner) for inner in value]
    if isinstance(value, dict):
        return {key: _nan_to_none(inner) for key, inner in value.items()}
    return None if isinstance(value, float) and value != value else value
