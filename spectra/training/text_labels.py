"""Labels of examples as the numbers a model's head gives them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from spectra.errors import InputError, did_you_mean
from spectra.training.text_data import Examples, Label


def class_names(examples: Examples) -> tuple[str, ...]:
    """Name the classes of a head that is made for these examples.

    Args:
        examples: With or without labels.

    Returns:
        The names in alphabetical order; for class numbers as many as the largest asks for, counted from 0. None without labels.
    """
    if not examples.labels:
        return ()
    labels = [label for _, labels in _by_row(examples) for label in labels]
    if all(isinstance(label, int) for label in labels):
        return tuple(str(number) for number in range(int(max(labels, default=-1)) + 1))
    return tuple(sorted({str(label) for label in labels}))


def class_indices(examples: Examples, config: Any) -> tuple[tuple[int, ...], ...]:
    """Number the labels as a model does.

    Args:
        examples: With labels, by number or name.
        config: The model's, with ``num_labels`` and ``label2id``. A name is looked up there; where the model has only the names
            that transformers gives by itself (``LABEL_0``), as many names as it has classes are numbered in alphabetical order.

    Returns:
        The numbers of every example: one, or for token classification one per word.

    Raises:
        InputError: A label that the model does not have, with its row.
    """
    known = _numbered_names(examples, config)
    return tuple(tuple(_index(label, known, config.num_labels, row) for label in labels) for row, labels in _by_row(examples))


def values(examples: Examples) -> tuple[float, ...]:
    """Take the labels as the numbers of a regression.

    Args:
        examples: With labels.

    Returns:
        A number per example.

    Raises:
        InputError: A label that is no number, with its row.
    """
    for row, labels in _by_row(examples):
        if len(labels) != 1 or isinstance(labels[0], str):
            raise InputError(
                f"row {row}: label {labels[0]!r} is no number, and task 'regression' needs one. Choose another column."
            )
    return tuple(float(labels[0]) for _, labels in _by_row(examples))


def _by_row(examples: Examples) -> list[tuple[int, tuple[Label, ...]]]:
    rows = zip(examples.rows, examples.labels, strict=True)
    return [(row, label if isinstance(label, tuple) else (label,)) for row, label in rows]


def _numbered_names(examples: Examples, config: Any) -> Mapping[str, int]:
    known: Mapping[str, int] = config.label2id or {}
    is_generic = all(name.startswith("LABEL_") for name in known)
    names = class_names(examples)
    return {name: index for index, name in enumerate(names)} if is_generic and len(names) == config.num_labels else known


def _index(label: Label, known: Mapping[str, int], num_classes: int, row: int) -> int:
    if isinstance(label, float):
        raise InputError(f"row {row}: label {label} is no class. Take task 'regression' (--task), or another column.")
    index = known.get(label, -1) if isinstance(label, str) else label
    if not 0 <= index < num_classes:
        names: Sequence[str] = list(known)
        raise InputError(
            f"row {row}: label {label!r} is none of the model's {num_classes} classes.{did_you_mean(str(label), names)} Known: "
            f"{', '.join(names[:20])} (0 to {num_classes - 1}). Correct it, or choose another column or model."
        )
    return index
