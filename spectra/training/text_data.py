"""Text examples from a file: which column is what, and nothing dropped without a word."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import InputError, did_you_mean
from spectra.training.data_files import Record, read_records

# Of one example: a class by number or name, or the number to predict.
Label = int | float | str


@dataclass(frozen=True)
class Examples:
    """Texts with what belongs to them; every tuple that is not empty has an entry per example.

    Attributes:
        texts: An example each; for token classification its words.
        rows: Where each stands in the file, from 1, without the header.
        pairs: Second texts.
        targets: Texts to be predicted.
        labels: Classes or numbers; for token classification one class per word.
        num_blank: Blank lines of a ``.txt`` file, which are no examples.
    """

    texts: tuple[str | tuple[str, ...], ...]
    rows: tuple[int, ...]
    pairs: tuple[str, ...] = ()
    targets: tuple[str, ...] = ()
    labels: tuple[Label | tuple[Label, ...], ...] = ()
    num_blank: int = 0

    def __len__(self) -> int:
        return len(self.texts)


def read_examples(
    path: str | Path,
    text_column: str | None = None,
    *,
    pair_column: str | None = None,
    label_column: str | None = None,
    target_column: str | None = None,
    limit: int | None = None,
    seed: int = 0,
) -> Examples:
    """Read the examples of a file.

    Args:
        path: A kind of file that :func:`spectra.training.data_files.read_records` reads.
        text_column: The texts; lists of words for token classification. Default: the only text of a ``.txt`` file.
        pair_column: The second text of a pair.
        label_column: The labels. In CSV and TSV they are numbers if all are, and names otherwise.
        target_column: The texts to be predicted.
        limit: Most examples taken. They are drawn at random, without replacement, and kept in the order of the file; a larger
            limit adds to them.
        seed: Of that draw.

    Returns:
        The examples. An empty text is one, but a blank line of a ``.txt`` file is not; a missing one is an error.

    Raises:
        InputError: The file cannot be read, a column is not there, or a row has no value or one of another type.
    """
    path = Path(path).expanduser()
    records = read_records(path)
    text_column = text_column or _only_column(path, records[0])
    check_record_columns(path, records[0], [text_column, pair_column, label_column, target_column])
    filled = _filled(path, records)
    rows = [filled[place] for place in drawn_places(len(filled), limit, seed)]
    chosen = [(f"'{path}', row {row + 1}", records[row]) for row in rows]

    def texts(column: str | None) -> tuple[str, ...]:
        return tuple(text_value(record, column, where) for where, record in chosen) if column else ()

    return Examples(
        texts=tuple(_words(record, text_column, where) for where, record in chosen),
        rows=tuple(row + 1 for row in rows),
        pairs=texts(pair_column),
        targets=texts(target_column),
        labels=_labels(chosen, label_column) if label_column else (),
        num_blank=len(records) - len(filled),
    )


def _labels(chosen: Sequence[tuple[str, Record]], column: str) -> tuple[Label | tuple[Label, ...], ...]:
    return typed_labels([label_value(record, column, where) for where, record in chosen], [where for where, _ in chosen])


def _filled(path: Path, records: Sequence[Record]) -> Sequence[int]:
    """Return the places of the examples among the lines of a ``.txt`` file; of any other file all places."""
    if path.suffix.lower() != ".txt":
        return range(len(records))
    filled = [place for place, record in enumerate(records) if record["text"].strip()]
    if not filled:
        raise InputError(f"'{path}' holds blank lines only. Give a file with at least one text.")
    return filled


def _only_column(path: Path, record: Record) -> str:
    if path.suffix.lower() == ".txt":
        return next(iter(record))
    raise InputError(f"text_column: say which column of '{path}' holds the texts: {', '.join(record)}. (--text-column NAME)")


def check_record_columns(path: Path, record: Record, columns: Sequence[str | None]) -> None:
    """Refuse columns that a record does not have.

    Args:
        path: Where it is from, for messages.
        record: The first, which has all columns.
        columns: Names; ``None`` is none.

    Raises:
        InputError: One is not there.
    """
    unknown = [column for column in columns if column is not None and column not in record]
    if unknown:
        known = ", ".join(f"'{name}'" for name in record)
        hints = "".join(did_you_mean(column, record) for column in unknown)
        raise InputError(f"'{path}' has no column {' and no '.join(map(repr, unknown))}.{hints} Columns: {known}.")


def drawn_places(num_records: int, limit: int | None, seed: int) -> list[int]:
    """Draw records without replacement; a larger limit adds to a smaller one's.

    Args:
        num_records: To draw from.
        limit: Most that are taken; ``None``: all.
        seed: Of the draw.

    Returns:
        Their places, ascending.

    Raises:
        InputError: A limit below 1.
    """
    if limit is None:
        return list(range(num_records))
    if limit < 1:
        raise InputError(f"limit: expected at least 1 example, got {limit}.")
    import numpy as np

    return sorted(np.random.default_rng(seed).permutation(num_records)[:limit].tolist())


def _value(record: Record, column: str, where: str) -> Any:
    value = record.get(column)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        raise InputError(f"{where} has no value in column '{column}'. Fill it in, or take the row out of the file.")
    return value


def text_value(record: Record, column: str, where: str) -> str:
    """Read a text.

    Args:
        record: A row.
        column: Its column.
        where: The row in words, for messages.

    Returns:
        The text.

    Raises:
        InputError: There is none, or something else.
    """
    value = _value(record, column, where)
    if not isinstance(value, str):
        raise InputError(f"{where}: column '{column}' holds {value!r}, expected a text. Quote it, or choose another column.")
    return value


def _words(record: Record, column: str, where: str) -> str | tuple[str, ...]:
    value = _value(record, column, where)
    if isinstance(value, list) and all(isinstance(word, str) for word in value):
        return tuple(value)
    return text_value(record, column, where)


def label_value(record: Record, column: str, where: str) -> Label | tuple[Label, ...]:
    """Read a label, or the labels of words.

    Args:
        record: A row.
        column: Its column.
        where: The row in words, for messages.

    Returns:
        Classes or numbers; of true and false the names ``"True"`` and ``"False"``, as a CSV file has them.

    Raises:
        InputError: There is none, or something that is no label.
    """
    value = _value(record, column, where)
    labels = [str(label) if isinstance(label, bool) else label for label in (value if isinstance(value, list) else [value])]
    for label in labels:
        if isinstance(label, str) and not label.strip():
            raise InputError(f"{where} has no value in column '{column}'. Fill it in, or take the row out of the file.")
        if not isinstance(label, Label) or (isinstance(label, float) and not math.isfinite(label)):
            raise InputError(f"{where}: label {label!r} in column '{column}' is no name and no finite number. Correct it.")
    return tuple(labels) if isinstance(value, list) else labels[0]


def typed_labels(labels: Sequence[Label | tuple[Label, ...]], places: Sequence[str]) -> tuple[Label | tuple[Label, ...], ...]:
    """Read labels that a file without types holds as text, if all are numbers.

    Args:
        labels: As they stand in the file.
        places: The row of each in words, for messages.

    Returns:
        Numbers, or the labels as they are.

    Raises:
        InputError: Numbers among which some are not finite.
    """
    if all(isinstance(label, str) for label in labels):
        for kind in (int, float):
            try:
                numbers = tuple(kind(str(label)) for label in labels)
            except ValueError:
                continue
            if all(map(math.isfinite, numbers)):
                return numbers
            if any(map(math.isfinite, numbers)):  # else 'nan' and 'inf' are names
                odd = next(place for place, number in enumerate(numbers) if not math.isfinite(number))
                raise InputError(
                    f"{places[odd]}: label {labels[odd]!r} is no finite number, and others of its column are. Correct it."
                )
    return tuple(labels)
