"""Records by what a column of the data says, for reports."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spectra.errors import InputError, did_you_mean
from spectra.results.distill_records import DistillRecord


def groups_of(rows: Sequence[Mapping[str, Any]], records: Sequence[DistillRecord], column: str | None) -> list[str] | None:
    """Return what a column says of every record.

    Args:
        rows: The data set.
        records: Of its responses.
        column: Its name, or ``None``.

    Returns:
        A value for each record; ``None`` without a column.

    Raises:
        InputError: No such column.
    """
    if column is None:
        return None
    columns = list(dict.fromkeys(name for row in rows for name in row))
    if column not in columns:
        raise InputError(f"no column '{column}'.{did_you_mean(column, columns)} Columns: {', '.join(columns)}.")
    return [" ".join(str(rows[record.row].get(column)).split()) or "(empty)" for record in records]
