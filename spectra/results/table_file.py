"""Tables as files of pandas: Parquet, Feather and CSV, by the name of the file."""

from __future__ import annotations

import io
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra.errors import InputError, MissingPackageError, ResultsError
from spectra.results.csv_text import csv_lines
from spectra.results.writing import made, write_whole

if TYPE_CHECKING:
    import pandas as pd

_WRITERS: dict[str, Callable[[Any, io.BytesIO], Any]] = {
    ".parquet": lambda frame, buffer: frame.to_parquet(buffer, index=False),
    ".feather": lambda frame, buffer: frame.to_feather(buffer),
    ".csv": lambda frame, buffer: buffer.writelines(part.encode() for part in _csv(frame)),
}
_ROWS_AT_ONCE = 10_000  # as values of Python's, which take several times the room that they have in the table


def _csv(frame: pd.DataFrame) -> Iterator[str]:
    yield csv_lines([list(frame.columns)])
    for start in range(0, len(frame), _ROWS_AT_ONCE):
        part = frame.iloc[start : start + _ROWS_AT_ONCE]
        yield csv_lines(part.astype(object).where(part.notna(), None).itertuples(index=False))


def check_table_file(path: str | os.PathLike[str], *, force: bool = False) -> Path:
    """Refuse a file that a table could not be written to, before the table is made.

    Args:
        path: Of the file.
        force: Replace it if it exists.

    Returns:
        The path.

    Raises:
        InputError: Another suffix.
        ResultsError: The file exists.
    """
    file = Path(path).expanduser()
    if file.suffix not in _WRITERS:
        raise InputError(f"'{file}' has no suffix of a table. Name it *{', *'.join(_WRITERS)}.")
    if file.is_dir():
        raise ResultsError(f"'{file}' is a folder. Choose another name.")
    if file.exists() and not force:
        raise ResultsError(f"'{file}' exists. Choose another name, or replace it with --force.")
    return file


def write_table(frame: pd.DataFrame, path: str | os.PathLike[str], *, force: bool = False) -> None:
    """Write a table; the file appears whole or not at all.

    Args:
        frame: The table; its index is left out.
        path: ``*.parquet``, ``*.feather`` or ``*.csv``.
        force: Replace the file if it exists.

    Raises:
        InputError: Another suffix.
        ResultsError: The file exists, or cannot be written.
        MissingPackageError: pyarrow is not installed, and the file is no CSV.
    """
    file = check_table_file(path, force=force)
    buffer = io.BytesIO()
    try:
        _WRITERS[file.suffix](frame, buffer)
    except ImportError as error:
        raise MissingPackageError(f'{file.suffix} files need pyarrow: pip install "spectra-nn[frames]"') from error
    made(file.parent)
    write_whole(file, buffer.getvalue())
