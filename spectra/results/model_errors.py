"""Models with known test errors: a table of result folders, as ``metric-scatter`` and its correlations take it.

| column | meaning |
|---|---|
| ``report`` | a result folder of ``spectra analyze``, relative to the table |
| ``test_error`` | a number; smaller is better |
| ``name`` | of the model; default: that in the report |
| ``group`` | which models belong together, such as an architecture; may be left out |

Other columns are left alone.
"""

from __future__ import annotations

import csv
import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from spectra.errors import InputError, ResultsError, did_you_mean
from spectra.results.records import LayerDiagnostics
from spectra.results.report import Report
from spectra.results.store import load

_NEEDED, _OPTIONAL = ("report", "test_error"), ("name", "group")
#: Columns of numbers that have a mean over layers.
METRICS = tuple(name for name, kind in LayerDiagnostics.__annotations__.items() if kind in ("float", "int | None", "int"))


@dataclass(frozen=True)
class ModelError:
    """An analysed model and its test error.

    Attributes:
        name: Of the model.
        group: Which models it belongs to; empty for none.
        test_error: In the unit of the table.
        report: Its analysis.
    """

    name: str
    group: str
    test_error: float
    report: Report

    def mean(self, metric: str) -> float:
        """Average a column over the layers that have it, as WeightWatcher's summary does.

        Args:
            metric: A column of numbers.

        Returns:
            The mean; NaN if no layer has it.

        Raises:
            InputError: No such column.
        """
        if metric not in METRICS:
            raise InputError(f"unknown metric '{metric}'.{did_you_mean(metric, METRICS)} A metric is a column of numbers.")
        values = [getattr(layer, metric) for layer in self.report.layers]
        finite = [float(value) for value in values if value is not None and math.isfinite(value)]
        return math.fsum(finite) / len(finite) if finite else math.nan


def load_model_errors(path: str | os.PathLike[str]) -> tuple[ModelError, ...]:
    """Read a table of models and the reports it names.

    Args:
        path: A CSV file with a header.

    Returns:
        The models, in the order of the table.

    Raises:
        ResultsError: The file cannot be read, lacks a column or has no rows; or rows that cannot be read, all at once.
    """
    file = Path(path).expanduser()
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            reader = csv.DictReader(lines, restval="")
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            rows = [(reader.line_num, row) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ResultsError(f"the table '{file}' cannot be read: {error}.") from error
    _check_columns(file, columns)
    found, faults = [], []
    for number, row in rows:
        try:
            found.append(_model(file.parent, row))
        except (ResultsError, InputError) as error:
            faults.append(f"line {number}: {error}")
    if faults or not found:
        raise ResultsError(f"the table '{file}' has no rows." if not faults else f"'{file}', {'; '.join(faults)}")
    return tuple(found)


def _check_columns(file: Path, columns: Sequence[str]) -> None:
    missing = [name for name in _NEEDED if name not in columns]
    if missing:
        near = "".join(did_you_mean(name, columns) for name in missing)
        raise ResultsError(
            f"the table '{file}' has no column {' and '.join(missing)}.{near} It needs {' and '.join(_NEEDED)}, and may have "
            f"{' and '.join(_OPTIONAL)}."
        )


def _model(folder: Path, row: Mapping[str, str]) -> ModelError:
    place, text = (row[name].strip() for name in _NEEDED)
    name, group = ((row.get(column) or "").strip() for column in _OPTIONAL)
    try:
        test_error = float(text)
    except ValueError:
        test_error = math.nan
    if not math.isfinite(test_error):
        raise InputError(f"test_error '{text}' is no number.")
    if not place:
        raise InputError("no report is named.")
    report = load(folder / Path(place).expanduser())
    return ModelError(name or report.model.name, group, test_error, report)
