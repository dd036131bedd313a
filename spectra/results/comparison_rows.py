"""Rows of a comparison as lines of a table, and from what JSON gives back."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

from spectra.results.csv_text import csv_text
from spectra.results.matrix_comparison import DERIVED, METRICS, Finding, Intruder, MatrixComparison
from spectra.results.records import LayerDiagnostics, columns, layer_from_dict
from spectra.results.settings import AnalysisSettings, requested_groups

# Fields that hold several values: in the table by what they come to (overlaps and largest angles, counts), or one by one.
_NESTED = ("before", "after", "energy", "principal_angles_left", "principal_angles_right", "intruders", "findings")


def csv_columns(rows: Sequence[MatrixComparison], settings: AnalysisSettings) -> list[str]:
    """Return the columns of the table.

    Args:
        rows: Of the comparison.
        settings: Of its analyses, which say which columns these have.

    Returns:
        Fields and what follows from them; shares of the energy (``energy_1``, ...); then for each column of
        ``spectra.analyze`` its values before and after, and of a number the change: ``alpha_before``, ``alpha_after``,
        ``alpha_change``.
    """
    own = [f.name for f in dataclasses.fields(MatrixComparison) if f.name not in _NESTED]
    shares = [f"energy_{count}" for count in sorted({count for row in rows for count in row.energy})]
    shared = {*own, "part", "expert", "stack"}
    diagnosed = [name for name in columns(requested_groups(settings)) if name not in shared]
    both = [f"{name}_{when}" for name in diagnosed for when in _whens(name)]
    derived = [name for name in DERIVED if name not in both]
    return [*own, *derived, "findings", *shares, "status_before", "status_after", "notes_before", "notes_after", *both]


def csv_row(row: MatrixComparison, names: Sequence[str]) -> dict[str, Any]:
    """Return the line of a row.

    Args:
        row: The row.
        names: The columns.

    Returns:
        Plain values by column; ``None`` for what is not known.
    """
    found: dict[str, Any] = {f.name: getattr(row, f.name) for f in dataclasses.fields(row)}
    found |= {name: getattr(row, name) for name in DERIVED}
    found |= {f"energy_{count}": value for count, value in row.energy.items()}
    found["findings"] = "; ".join(row.findings)
    for when, layer in (("before", row.before), ("after", row.after)):
        values = layer.to_dict() if layer else {}
        found |= {f"{name}_{when}": value for name, value in values.items()}
    found |= {f"{metric}_change": row.change(metric) for metric in METRICS}
    return {name: _plain(found.get(name)) for name in names}


def table_text(rows: Sequence[MatrixComparison], settings: AnalysisSettings) -> str:
    r"""Return the table.

    Args:
        rows: Of the comparison.
        settings: Of its analyses.

    Returns:
        Text with ``\n`` line ends.
    """
    names = csv_columns(rows, settings)
    return csv_text(names, (csv_row(row, names) for row in rows))


def row_from_dict(content: Mapping[str, Any]) -> MatrixComparison:
    """Make a row of what JSON gives back.

    Args:
        content: From :meth:`MatrixComparison.to_dict`.

    Returns:
        The row.

    Raises:
        KeyError: A field is missing.
        TypeError: A field holds something else.
        ValueError: A text that is no number, or an unknown finding.
    """
    values: dict[str, Any] = {}
    for f in dataclasses.fields(MatrixComparison):
        value = content[f.name]
        values[f.name] = _number(value) if f.type == "float" else value
    return MatrixComparison(
        **values
        | {
            "before": _layer(content["before"]),
            "after": _layer(content["after"]),
            "energy": {int(count): _number(value) for count, value in content["energy"].items()},
            "principal_angles_left": tuple(map(float, content["principal_angles_left"])),
            "principal_angles_right": tuple(map(float, content["principal_angles_right"])),
            "intruders": tuple(Intruder(**each) for each in content["intruders"]),
            "findings": tuple(map(Finding, content["findings"])),
        }
    )


def _whens(name: str) -> tuple[str, ...]:
    return ("before", "after", "change") if name in METRICS else ("before", "after")


def _layer(content: dict[str, Any] | None) -> LayerDiagnostics | None:
    return None if content is None else layer_from_dict(content)


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _plain(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
