"""Files of records: CSV, TSV, JSON, JSON lines, Parquet, and text with one record per line.

A tab-separated file may be quoted as CSV is, or not at all, as GLUE's are, where a ``"`` is a character. It is unquoted if all
of its lines have as many fields as the header and some field holds a quotation mark where no CSV writer would put it.
"""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from spectra.errors import InputError, MissingPackageError, did_you_mean

# A record by column; None where the file has no value.
Record = Mapping[str, Any]

# How CSV writes a field that holds a quotation mark: all of it in quotes, each mark doubled.
_QUOTED = re.compile(r'"(?:[^"]|"")*"')
_LONGEST_FIELD = 2**31 - 1  # documents are longer than the csv module's 131,072 characters


def read_records(path: Path) -> list[Record]:
    """Read a file of records by its suffix.

    Args:
        path: ``.csv``, ``.tsv``, ``.json`` (a list of objects), ``.jsonl`` (an object per line), ``.parquet``, or ``.txt`` (a
            text per line, in a column ``text``).

    Returns:
        The records in the order of the file, values as the file has them: text in CSV and TSV.

    Raises:
        InputError: Missing, empty, damaged, of another kind, or not in UTF-8.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        hint = did_you_mean(path.suffix.lower(), _READERS)
        raise InputError(f"'{path}' is not a kind of data file that is read.{hint} Known: {', '.join(_READERS)}.")
    try:
        records = reader(path)
    except UnicodeDecodeError as error:
        raise InputError(f"'{path}' is not in UTF-8 (byte {error.start}). Convert it, for example with iconv.") from error
    except OSError as error:
        raise InputError(f"cannot read '{path}': {error.strerror or error}. Check the path.") from error
    if not records:
        raise InputError(f"'{path}' holds no examples. Give a file with at least one.")
    return records


def _read_text(path: Path) -> list[Record]:
    with path.open(encoding="utf-8-sig") as file:
        return [{"text": line.removesuffix("\n")} for line in file]


def _read_csv(path: Path) -> list[Record]:
    return _read_table(path, delimiter=",", quoting=csv.QUOTE_MINIMAL)


def _read_tsv(path: Path) -> list[Record]:
    with path.open(encoding="utf-8-sig") as file:
        quoting = csv.QUOTE_NONE if _is_unquoted(file) else csv.QUOTE_MINIMAL
    return _read_table(path, delimiter="\t", quoting=quoting)


def _is_unquoted(lines: Iterable[str]) -> bool:
    """Tell GLUE's files from quoted ones; see the module's first lines."""
    num_fields, has_loose_mark = None, False
    for line in lines:
        fields = line.removesuffix("\n").split("\t")
        if num_fields not in (None, len(fields)):
            return False
        num_fields = len(fields)
        has_loose_mark = has_loose_mark or any('"' in field and not _QUOTED.fullmatch(field) for field in fields)
    return has_loose_mark


def _read_table(path: Path, *, delimiter: str, quoting: Any) -> list[Record]:
    before = csv.field_size_limit(_LONGEST_FIELD)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            return list(_rows(path, csv.reader(file, delimiter=delimiter, quoting=quoting, strict=True)))
    finally:
        csv.field_size_limit(before)


def _rows(path: Path, reader: Any) -> Iterator[Record]:
    """Pair every row with the header; a row of another length would put values under wrong names."""
    try:
        header: list[str] = next(reader, [])
        if len(set(header)) < len(header):
            raise InputError(f"'{path}' has two columns of one name: {', '.join(header)}. Rename one.")
        for row in reader:
            if not row:
                continue  # an empty line, which is no record in CSV
            if len(row) != len(header):
                wrong = f"{len(row)} fields where the header has {len(header)}"
                raise InputError(f"'{path}', line {reader.line_num}: {wrong}. Correct the line or its quotes.")
            yield dict(zip(header, row, strict=True))
    except csv.Error as error:
        raise InputError(f"'{path}', line {reader.line_num}: {error}. Correct its quotes.") from error


def _read_json(path: Path) -> list[Record]:
    content = _parsed(path.read_text(encoding="utf-8-sig"), f"'{path}'")
    if not isinstance(content, list):
        raise InputError(f"'{path}' holds no list of objects. Write one object per example into a list, or use .jsonl.")
    return [_object(record, f"'{path}', row {number}") for number, record in enumerate(content, start=1)]


def _read_json_lines(path: Path) -> list[Record]:
    with path.open(encoding="utf-8-sig") as file:
        lines = [(f"'{path}', line {number}", line) for number, line in enumerate(file, start=1) if line.strip()]
    return [_object(_parsed(line, where), where) for where, line in lines]


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{where}: not readable JSON ({error}). Correct or copy the file again.") from error


def _object(value: Any, where: str) -> Record:
    if not isinstance(value, dict):
        raise InputError(f"{where}: expected an object with a value per column, got {type(value).__name__}.")
    return value


def _read_parquet(path: Path) -> list[Record]:
    try:
        import pandas

        frame = pandas.read_parquet(path, engine="pyarrow", dtype_backend="pyarrow")  # whole numbers with gaps stay whole
    except ImportError as error:
        raise MissingPackageError('Parquet needs pandas and pyarrow: pip install "spectra-nn[frames]"') from error
    except ValueError as error:  # pyarrow's own is one
        raise InputError(f"'{path}' is no Parquet file, or damaged ({str(error).splitlines()[0]}) Copy it again.") from error
    rows = frame.to_dict(orient="records")
    return [{str(name): None if value is pandas.NA else value for name, value in row.items()} for row in rows]


_READERS: Mapping[str, Callable[[Path], list[Record]]] = {
    ".csv": _read_csv,
    ".tsv": _read_tsv,
    ".json": _read_json,
    ".jsonl": _read_json_lines,
    ".parquet": _read_parquet,
    ".txt": _read_text,
}
