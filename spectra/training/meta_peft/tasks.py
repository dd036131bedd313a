"""Tasks from files: a folder per task, and texts with classes as the rows a classifier is trained on."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from spectra.errors import InputError, did_you_mean
from spectra.training.data_files import Record, read_records
from spectra.training.text_data import Label, check_record_columns, drawn_places, label_value, text_value, typed_labels

_SUFFIXES = (".tsv", ".csv", ".jsonl", ".json", ".parquet")


def read_tasks(folder: str | Path, *, tasks: Sequence[str] | None = None, split: str = "train") -> dict[str, list[Record]]:
    """Read one file of each task.

    Args:
        folder: Has a folder for each task, named as the task, with a file for each split: ``books/train.tsv``. Folders without
            a file for this split are no tasks.
        tasks: Names of those wanted, in the order that round robin shall follow. Default: all, in alphabetical order.
        split: Name of the file without its suffix, which is one of ``.tsv``, ``.csv``, ``.jsonl``, ``.json`` and ``.parquet``.

    Returns:
        The records of each task, as :func:`spectra.training.data_files.read_records` reads them.

    Raises:
        InputError: No such folder, no task in it, a task that is not there, two files for one split, or a file that cannot be
            read.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise InputError(f"'{folder}' is no folder. Give one that has a folder for each task.")
    files = {place.name: found for place in sorted(folder.iterdir()) if (found := _split_files(place, split))}
    if not files:
        raise InputError(f"no task in '{folder}': none of its folders has a file {split}{' or '.join(_SUFFIXES)}. Check split.")
    wanted = list(files) if tasks is None else list(tasks)
    for task in wanted:
        if task not in files:
            hint = did_you_mean(task, files)
            raise InputError(f"no task '{task}' with a file for '{split}' in '{folder}'.{hint} Tasks: {', '.join(files)}.")
        if len(files[task]) > 1:
            names = " and ".join(file.name for file in files[task])
            raise InputError(f"'{folder / task}' has {names}: two files for one split. Keep one.")
    return {task: read_records(files[task][0]) for task in wanted}


def classification_tasks(
    tasks: Mapping[str, Sequence[Record]],
    tokenizer: Any,
    *,
    text_column: str = "sentence",
    pair_column: str | None = None,
    label_column: str = "label",
    max_length: int = 128,
    limit: int | None = None,
    seed: int = 0,
) -> dict[str, list[dict[str, Any]]]:
    """Turn records of texts with classes into rows for a sequence classifier.

    All tasks share one label space. Labels are whole numbers, which stay as they are, or names, which all tasks must have
    alike; those are numbered in alphabetical order. Give splits that hold every name, so that all are numbered alike.

    Args:
        tasks: Records by task.
        tokenizer: Of the model.
        text_column: The texts.
        pair_column: The second text of a pair.
        label_column: The labels; text that looks like whole numbers in all records of a task is taken for numbers.
        max_length: Tokens a text is cut to. Default 128: our choice, as everywhere in this package.
        limit: Most rows of a task, drawn at random, and kept in the order of the records; a larger limit adds to them.
        seed: Of that draw.

    Returns:
        For every task its rows: what the tokenizer gives, not padded, and ``labels``, a number. The collators of transformers
        make batches of them.

    Raises:
        InputError: A task without records, a column or value that is missing or of another kind, tasks whose labels differ, or
            a length that cannot be.
    """
    check_length(max_length, tokenizer, tokenizer.num_special_tokens_to_add(pair_column is not None))
    for task, records in tasks.items():
        if not len(records):
            raise InputError(f"task '{task}' has no records. Leave it out.")
        check_record_columns(Path(task), records[0], [text_column, pair_column, label_column])
    numbers = _class_numbers({task: _task_labels(task, records, label_column) for task, records in tasks.items()})
    rows = {}
    for task, records in tasks.items():
        places = drawn_places(len(records), limit, seed)
        texts, pairs = (_texts(task, records, places, column) for column in (text_column, pair_column))
        encoded = tokenizer(texts, pairs, truncation=True, max_length=max_length)
        rows[task] = [
            {name: values[number] for name, values in encoded.items()} | {"labels": numbers[task][place]}
            for number, place in enumerate(places)
        ]
    return rows


def check_length(max_length: int, tokenizer: Any, num_special: int) -> None:
    """Refuse a length that leaves no room for words, or that the tokenizer does not allow.

    Args:
        max_length: Tokens of a row.
        tokenizer: Of the model.
        num_special: Tokens of a row that are the tokenizer's own.

    Raises:
        InputError: Such a length.
    """
    if max_length <= num_special:
        raise InputError(f"max_length: expected more than the {num_special} tokens of the tokenizer's own, got {max_length}.")
    if max_length > tokenizer.model_max_length:
        raise InputError(f"max_length: the tokenizer allows {tokenizer.model_max_length} tokens, got {max_length}. Lower it.")


def _split_files(folder: Path, split: str) -> list[Path]:
    return [file for suffix in _SUFFIXES if (file := folder / f"{split}{suffix}").is_file()]


def _texts(task: str, records: Sequence[Record], places: Sequence[int], column: str | None) -> list[str] | None:
    if column is None:
        return None
    return [text_value(records[place], column, _where(task, place)) for place in places]


def _task_labels(task: str, records: Sequence[Record], column: str) -> list[int | str]:
    """Read all labels of a task, so that what they are does not depend on the rows that are drawn."""
    places = [_where(task, place) for place in range(len(records))]
    labels = typed_labels([label_value(record, column, where) for where, record in zip(places, records, strict=True)], places)
    return [_class(label, column, where) for where, label in zip(places, labels, strict=True)]


def _class(label: Label | tuple[Label, ...], column: str, where: str) -> int | str:
    if isinstance(label, float | tuple) or (isinstance(label, int) and label < 0):
        raise InputError(f"{where}: label {label!r} in column '{column}' is no whole number from 0 on and no name. Correct it.")
    return label


def _class_numbers(labels: Mapping[str, Sequence[int | str]]) -> dict[str, list[int]]:
    """Number the classes alike in all tasks."""
    spaces = {task: _label_space(of_task) for task, of_task in labels.items()}
    first = next(iter(spaces), "")
    for task, space in spaces.items():
        if space != spaces[first]:
            raise InputError(
                f"task '{first}' has {_listed(spaces[first])} as labels, and task '{task}' has {_listed(space)}: all tasks "
                "share one label space. Give all of them the same names, or whole numbers."
            )
    names = spaces.get(first)
    if names is None:
        return {task: [int(label) for label in of_task] for task, of_task in labels.items()}
    numbers = {name: number for number, name in enumerate(names)}
    return {task: [numbers[str(label)] for label in of_task] for task, of_task in labels.items()}


def _label_space(labels: Sequence[int | str]) -> tuple[str, ...] | None:
    """Return the names of the classes in alphabetical order; None for whole numbers, of which a task may miss some."""
    if all(isinstance(label, int) for label in labels):
        return None
    return tuple(sorted({str(label) for label in labels}))


def _listed(space: Sequence[str] | None) -> str:
    return "whole numbers" if space is None else ", ".join(map(repr, space[:10]))


def _where(task: str, place: int) -> str:
    return f"task '{task}', row {place + 1}"
