"""Files of rows: JSON lines, JSON and CSV, written whole, in letters and not in escapes."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from spectra.errors import InputError, did_you_mean
from spectra.training.data_files import Record

_SURROGATE = re.compile("[\ud800-\udfff]")


def write_rows(path: Path, rows: Sequence[Record]) -> None:
    """Write rows into a file that appears as a whole.

    Args:
        path: As :func:`encoded_rows` takes it.
        rows: By column.

    Raises:
        InputError: The rows cannot be written into such a file.
        ResultsError: The file cannot be written.
    """
    from spectra.results.writing import write_whole  # imports numpy, which reading rows does not need

    write_whole(path, encoded_rows(path, rows))


def encoded_rows(path: Path, rows: Sequence[Record]) -> bytes:
    """Return the content of a file of rows; before a long run it tells whether its rows can be written.

    Args:
        path: ``.jsonl`` (an object per line), ``.json`` (a list of objects) or ``.csv``.
        rows: By column.

    Returns:
        The content, in UTF-8.

    Raises:
        InputError: The file is of another kind, or a value cannot be written into it.
    """
    encode = _ENCODERS.get(path.suffix.lower())
    if encode is None:
        hint = did_you_mean(path.suffix.lower(), _ENCODERS)
        raise InputError(f"'{path}' is not a kind of file that rows are written to.{hint} Known: {', '.join(_ENCODERS)}.")
    return encode(rows)


def _json_lines(rows: Sequence[Record]) -> bytes:
    return b"".join(line + b"\n" for line in _objects(rows))


def _json_list(rows: Sequence[Record]) -> bytes:
    return b"[\n" + b",\n".join(_objects(rows)) + b"\n]\n"


def _objects(rows: Sequence[Record]) -> Iterator[bytes]:
    for number, row in enumerate(rows, start=1):
        _check(row, number, "JSON", "Convert it, or take the column out", _is_json)
        try:
            yield json.dumps(row, ensure_ascii=False).encode()
        except UnicodeEncodeError:  # half of a surrogate pair, which JSON can escape and UTF-8 cannot hold
            yield json.dumps(row).encode()


def _csv(rows: Sequence[Record]) -> bytes:
    text = io.StringIO()
    writer = csv.DictWriter(text, list(dict.fromkeys(column for row in rows for column in row)))
    writer.writeheader()
    for number, row in enumerate(rows, start=1):
        _check(row, number, "CSV", "Choose a name that ends in .jsonl", _is_field)
        writer.writerow(row)
    return text.getvalue().encode()


def _check(row: Record, number: int, kind: str, remedy: str, is_fine: Callable[[Any], bool]) -> None:
    wrong = next((column for column, value in row.items() if not is_fine(value)), None)
    if wrong is not None:
        held = repr(row[wrong]) if isinstance(row[wrong], float) else f"a {type(row[wrong]).__name__}"
        raise InputError(f"row {number}, column '{wrong}': it holds {held}, which cannot be written as {kind}. {remedy}.")


def _is_json(value: object) -> bool:
    if isinstance(value, str):  # nearly all of them
        return True
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


def _is_field(value: object) -> bool:
    return value is None or isinstance(value, int | float) or (isinstance(value, str) and not _SURROGATE.search(value))


_ENCODERS: Mapping[str, Callable[[Sequence[Record]], bytes]] = {".jsonl": _json_lines, ".json": _json_list, ".csv": _csv}
