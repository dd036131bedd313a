"""A matrix turned on its side: its columns, read as rows."""

from __future__ import annotations

from functools import cache
from typing import Any

from spectra.matrices.cuts import Array, ReadRows
from spectra.sources.stored_rows import StoredRows


def columns_of(read: ReadRows, num_rows: int) -> ReadRows:
    """Read a matrix by its columns.

    Args:
        read: Reads its rows. Called once, for all of them, at the first block; held as they are stored if it is a
            :class:`~spectra.sources.stored_rows.StoredRows`.
        num_rows: How many there are.

    Returns:
        ``columns(start, stop)``, which gives those columns as rows.
    """
    held, widen = (read.held, read.widen) if isinstance(read, StoredRows) else (read, None)

    @cache
    def whole() -> Any:
        return held(0, num_rows)

    def columns(start: int, stop: int) -> Array:
        found = whole()[:, start:stop]
        return (widen(found) if widen else found).T

    return columns
