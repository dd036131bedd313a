"""The examples that a recipe names, from files, the hub or a folder of tasks: read, drawn, and with the names of classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import InputError
from spectra.training.data_files import Record, read_records
from spectra.training.meta_peft.tasks import read_tasks
from spectra.training.recipe.assembly.hub_data import hub_data, read_hub_data
from spectra.training.recipe.parts import DataPart, Recipe
from spectra.training.text_data import (
    Examples,
    check_record_columns,
    drawn_places,
    label_value,
    read_examples,
    text_value,
    typed_labels,
)
from spectra.training.text_labels import class_names

USES = ("train", "eval", "test")

# Examples, or those of each task.
Source = Examples | Mapping[str, Examples]


@dataclass(frozen=True)
class RunExamples:
    """Examples by use, and the classes of all training examples, whether drawn or not.

    Attributes:
        of: By ``train``, ``eval`` and ``test``, where there are any.
        classes: Names of the classes, in the order of their numbers.
    """

    of: Mapping[str, Source]
    classes: tuple[str, ...]


def run_examples(recipe: Recipe, *, has_classes: bool) -> RunExamples:
    """Read the examples of a run.

    With ``data.tasks``, a folder with a folder for each task, ``data.eval`` and ``data.test`` are names of files in these,
    without suffix: ``eval`` for ``books/eval.tsv``. Training is on the files ``train``.

    Args:
        recipe: What is asked for.
        has_classes: Whether labels are classes.

    Returns:
        The examples, drawn where a size is given; of tasks, that many of each.

    Raises:
        InputError: Data that cannot be read, labels of one class only, or tasks whose classes differ.
        SourceError: Data of the hub that cannot be had.
    """
    data = recipe.data
    read = _of_tasks if data.tasks is not None else _of_texts
    whole = {use: read(data, use, name) for use in USES if (name := _name(data, use)) is not None}
    classes = _classes(recipe, whole["train"]) if has_classes else ()
    sizes = {"train": data.train_size, "eval": data.eval_size, "test": None}
    return RunExamples({use: _drawn(one, sizes[use], data.data_seed) for use, one in whole.items()}, classes)


def run_rows(recipe: Recipe, use: str) -> list[Record] | None:
    """Read the rows of a run whose data are prompts and responses.

    Args:
        recipe: What is asked for.
        use: ``train``, ``eval`` or ``test``.

    Returns:
        The rows, drawn where a size is given; ``None`` where the recipe names none.

    Raises:
        InputError: Rows that cannot be read.
        SourceError: Data of the hub that cannot be had.
    """
    data = recipe.data
    name = getattr(data, use)
    if name is None:
        return None
    found = hub_data(name)
    rows = read_records(Path(name).expanduser()) if found is None else read_hub_data(found, use)[0]
    size = {"train": data.train_size, "eval": data.eval_size}.get(use)
    return [rows[place] for place in drawn_places(len(rows), size, data.data_seed)]


def examples_of(records: Sequence[Record], what: str, data: DataPart) -> Examples:
    """Take the examples of records.

    Args:
        records: With values by column.
        what: Where they are from, for messages.
        data: Which column is what.

    Returns:
        The examples.

    Raises:
        InputError: A column that is not there or not said, or a row without a value or with one of another type.
    """
    columns = [data.text_column, data.pair_column, data.label_column, data.target_column]
    check_record_columns(Path(what), records[0], columns)
    if data.text_column is None:
        raise InputError(f"data.text_column: say which column of '{what}' holds the texts: {', '.join(records[0])}.")
    places = [(f"'{what}', row {place}", record) for place, record in enumerate(records, start=1)]

    def texts(column: str | None) -> tuple[str, ...]:
        return tuple(text_value(record, column, where) for where, record in places) if column else ()

    labels = [label_value(record, data.label_column, where) for where, record in places] if data.label_column else []
    return Examples(
        texts=texts(data.text_column),
        rows=tuple(range(1, len(records) + 1)),
        pairs=texts(data.pair_column),
        targets=texts(data.target_column),
        labels=typed_labels(labels, [where for where, _ in places]),
    )


def drawn_examples(examples: Examples, limit: int | None, seed: int) -> Examples:
    """Draw examples, as ``read_examples`` does.

    Args:
        examples: To draw from.
        limit: Most that are taken; ``None``: all.
        seed: Of the draw.

    Returns:
        The examples, in their order.
    """
    places = drawn_places(len(examples), limit, seed)

    def taken(column: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(column[place] for place in places) if column else ()

    return Examples(
        texts=taken(examples.texts),
        rows=taken(examples.rows),
        pairs=taken(examples.pairs),
        targets=taken(examples.targets),
        labels=taken(examples.labels),
        num_blank=examples.num_blank,
    )


def _name(data: DataPart, use: str) -> str | None:
    if data.tasks is not None and use == "train":
        return "train"
    name: str | None = getattr(data, use)
    return name


def _of_texts(data: DataPart, use: str, name: str) -> Source:
    found = hub_data(name)
    if found is None:
        return read_examples(
            Path(name),
            data.text_column,
            pair_column=data.pair_column,
            label_column=data.label_column,
            target_column=data.target_column,
        )
    records, names = read_hub_data(found, use)
    return examples_of(_with_names(records, data.label_column, names), name, data)


def _of_tasks(data: DataPart, use: str, name: str) -> Source:
    records = read_tasks(str(data.tasks), split=name)
    return {task: examples_of(of_task, f"{data.tasks}/{task}/{name}", data) for task, of_task in records.items()}


def _drawn(source: Source, limit: int | None, seed: int) -> Source:
    if isinstance(source, Examples):
        return drawn_examples(source, limit, seed)
    return {task: drawn_examples(examples, limit, seed) for task, examples in source.items()}


def _classes(recipe: Recipe, source: Source) -> tuple[str, ...]:
    of_tasks = {str(recipe.data.train): source} if isinstance(source, Examples) else source
    found = {task: class_names(examples) for task, examples in of_tasks.items()}
    first = max(found, key=lambda task: len(found[task]))
    where = recipe.where("data", "label_column")
    for task, classes in found.items():
        if not (classes == found[first] or (_are_numbers(classes) and _are_numbers(found[first]))):
            raise InputError(
                f"{where}: '{first}' has the classes {', '.join(found[first])}, and '{task}' has {', '.join(classes)}. All "
                "tasks share one set of classes."
            )
    if len(found[first]) == 1:
        raise InputError(f"{where}: all labels of '{first}' are {found[first][0]!r}, and there is nothing to tell apart.")
    return found[first]


def _are_numbers(classes: Sequence[str]) -> bool:
    return all(name.isdigit() for name in classes)


def _with_names(records: Sequence[Record], column: str | None, names: Mapping[str, Sequence[str]]) -> Sequence[Record]:
    """Write the names of classes in place of their numbers; a number below 0 is no class, as in tests without labels."""
    if column is None or column not in names:
        return records
    numbers = [record[column] for record in records]
    labels = [names[column][number] if number is not None and number >= 0 else None for number in numbers]
    return [{**record, column: label} for record, label in zip(records, labels, strict=True)]
