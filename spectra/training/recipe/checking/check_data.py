"""Checks of a recipe's data: files, columns, and labels that the model has and training shows."""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from spectra.errors import SpectraWarning, did_you_mean
from spectra.training.recipe.assembly.examples import USES
from spectra.training.recipe.assembly.hub_data import hub_data
from spectra.training.recipe.checking.data_columns import columns_of
from spectra.training.recipe.checking.findings import Findings
from spectra.training.recipe.checking.stored_model import StoredModel
from spectra.training.recipe.parts import DataPart, Recipe
from spectra.training.sdft.samples import read_training_data
from spectra.training.text_data import Examples, check_record_columns, read_examples
from spectra.training.text_labels import class_indices, class_names, values

# What a task reads beside the texts: must have, may have. As spectra.training.text_batches, which imports torch; a test
# compares them.
COLUMNS: Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]] = {
    "causal-lm": ((), ("target",)),
    "masked-lm": ((), ("pair",)),
    "seq2seq": (("target",), ()),
    "sequence-classification": (("label",), ("pair",)),
    "token-classification": (("label",), ()),
    "regression": (("label",), ("pair",)),
}
_OF_TEXTS = ("text", "pair", "label", "target")
_OF_RESPONSES = ("prompt", "response")
_LABELS = ("data", "label_column")
_TOKENS = "token-classification"
CLASSIFIERS = ("sequence-classification", _TOKENS)
# Without labels, larger files are not read further than their first line: reading these takes about a second.
_READ_WHOLE = 16 * 2**20


def check_data(recipe: Recipe, model: StoredModel | None, task: str | None, found: Findings) -> dict[str, int]:
    """Check files, columns and labels. Tasks of ``meta_peft`` are checked with the method.

    Args:
        recipe: The recipe.
        model: Its model, where it is at hand.
        task: What it is trained for, if that is known.
        found: What is wrong is added.

    Returns:
        The number of examples by use, where files were read whole and are as they should be.
    """
    data = recipe.data
    if recipe.method.name == "meta_peft" or data.tasks is not None:
        return {}
    has_responses = recipe.method.name == "sdft" or (task == "causal-lm" and bool(data.prompt_column or data.response_column))
    if data.eval_size is not None and data.eval is None:
        found.add("there is no data.eval to take them from. Give it, or leave this out.", "data", "eval_size")
    _check_columns_of_task(data, "sdft" if has_responses else task, found)
    files = {use: path for use in USES if (path := _file(data, use, found)) is not None}
    if has_responses:
        return _responses(data, files, found)
    examples = {use: read for use, path in files.items() if (read := _examples(data, task, use, path, found)) is not None}
    _check_words(examples, files, task, found)
    if data.label_column is not None and task is not None and not found.has("data", "text_column"):
        _check_labels(examples, files, task, model, found)
    return {use: len(one) for use, one in examples.items()}


def _file(data: DataPart, use: str, found: Findings) -> Path | None:
    """Return the file of a use; none for data of the hub, and where there are none."""
    name = getattr(data, use)
    if name is None:
        return None
    if hub_data(name) is None:
        return Path(name).expanduser()
    if find_spec("datasets") is None:
        found.add('reading data of the hub needs datasets: pip install "spectra-nn[train]"', "data", use)
    return None


def _check_columns_of_task(data: DataPart, task: str | None, found: Findings) -> None:
    """Say which columns the task misses, and which it does not read."""
    if task is None:
        return
    needed, allowed = COLUMNS.get(task, ((), ()))
    read = _OF_RESPONSES if task not in COLUMNS else ("text", *needed, *allowed)
    for name in needed:
        if getattr(data, f"{name}_column") is None:
            found.add(
                f"task '{task}' needs a {name} per text. Say which column holds it: --{name}-column NAME.",
                "data",
                f"{name}_column",
            )
    for name in (*_OF_TEXTS, *_OF_RESPONSES):
        if name not in read and getattr(data, f"{name}_column") is not None:
            what = f"task '{task}'" if task in COLUMNS else "training on prompts and responses"
            found.add(f"{what} reads no {name}. Leave it out.", "data", f"{name}_column")


def _examples(data: DataPart, task: str | None, use: str, path: Path, found: Findings) -> Examples | None:
    """Read a file, unless it is large and has no labels; say what is wrong with its columns, each for itself."""
    columns = _columns(path, use, found)
    if columns:
        check_columns(data, path, columns, found)
    if not columns or any(found.has("data", f"{name}_column") for name in _OF_TEXTS):
        return None
    if data.label_column is None and path.stat().st_size > _READ_WHOLE:
        return None
    with found.of("data", use):
        return read_examples(
            path,
            data.text_column,
            pair_column=data.pair_column,
            label_column=data.label_column,
            target_column=data.target_column,
        )
    return None


def _columns(path: Path, use: str, found: Findings) -> tuple[str, ...]:
    with found.of("data", use):
        return columns_of(path)
    return ()


def check_columns(data: DataPart, path: Path, columns: Sequence[str], found: Findings) -> None:
    """Check that columns of texts are there, each for itself; one that another file lacks, too, is told once.

    Args:
        data: Which column is what.
        path: Where the columns are from.
        columns: There are.
        found: What is wrong is added.
    """
    to_check = [name for name in _OF_TEXTS if not found.has("data", f"{name}_column")]
    for name in to_check:
        with found.of("data", f"{name}_column"):
            check_record_columns(path, dict.fromkeys(columns), [getattr(data, f"{name}_column")])
    if data.text_column is None and "text" in to_check and path.suffix.lower() != ".txt":
        found.add(f"say which column of '{path}' holds the texts: {', '.join(columns)}.", "data", "text_column")


def _responses(data: DataPart, files: Mapping[str, Path], found: Findings) -> dict[str, int]:
    """Read prompts and responses."""
    named = [f"{name}_column" for name in _OF_RESPONSES if getattr(data, f"{name}_column") is not None]
    if len(named) == 1:
        other = next(f"{name}_column" for name in _OF_RESPONSES if f"{name}_column" not in named)
        found.add(f"name this column, too; only data.{named[0]} is named.", "data", other)
        return {}
    sizes = {}
    for use, path in files.items():
        columns = _columns(path, use, found)
        for option in named if columns else ():
            with found.of("data", option):
                check_record_columns(path, dict.fromkeys(columns), [getattr(data, option)])
        if any(found.has("data", option) for option in (*named, use)):
            continue
        with found.of("data", use), warnings.catch_warnings():
            warnings.simplefilter("ignore", SpectraWarning)  # of rows that call tools: the run says it
            read = read_training_data(path, prompt_column=data.prompt_column, response_column=data.response_column)
            sizes[use] = len(read.samples)
    return sizes


def _check_words(examples: Mapping[str, Examples], files: Mapping[str, Path], task: str | None, found: Findings) -> None:
    """Refuse words where texts are needed, and texts where labeled words are."""
    rows = ((use, row, place) for use, one in examples.items() for place, row in enumerate(one.rows))
    for use, row, place in rows if task is not None else ():
        text, labels = examples[use].texts[place], examples[use].labels[place] if examples[use].labels else ()
        sentence = _words_fault(text, _each(labels)) if task == _TOKENS else _text_fault(text, str(task))
        if sentence is not None:
            found.add(f"'{files[use]}', row {row}: {sentence}", "data", "text_column")
            return


def _text_fault(text: Any, task: str) -> str | None:
    return (
        None
        if isinstance(text, str)
        else f"the text is a list of words, and task '{task}' needs a text. Choose another column."
    )


def _words_fault(words: Any, labels: Sequence[Any]) -> str | None:
    if not isinstance(words, str) and len(words) == len(labels):
        return None
    counted = f"a text with {len(labels)}" if isinstance(words, str) else f"{len(words)} words with {len(labels)}"
    return (
        f"{counted} labels, and task 'token-classification' needs a list of words with one label each, as .json and .jsonl "
        "files can hold them."
    )


def _check_labels(
    examples: Mapping[str, Examples], files: Mapping[str, Path], task: str, model: StoredModel | None, found: Findings
) -> None:
    if task == "regression":
        for use, one in examples.items():
            if not found.has(*_LABELS):
                with found.of(*_LABELS, begin=f"'{files[use]}', "):
                    values(one)
    elif task in CLASSIFIERS and model is not None and model.adapter is None:
        if model.task == task:
            _check_numbered(examples, files, SimpleNamespace(num_labels=model.num_labels, label2id=model.label2id), found)
        elif "train" in examples:
            _check_shown(examples, files, found)


def _check_numbered(examples: Mapping[str, Examples], files: Mapping[str, Path], head: Any, found: Findings) -> None:
    """Refuse labels that a head does not have; the first is told."""
    for use, one in examples.items():
        if not found.has(*_LABELS):
            with found.of(*_LABELS, begin=f"'{files[use]}', "):
                class_indices(one, head)


def _check_shown(examples: Mapping[str, Examples], files: Mapping[str, Path], found: Findings) -> None:
    """Refuse what a new head cannot learn: a single class, numbers that are none, and classes that training never shows."""
    names = class_names(examples["train"])
    head = SimpleNamespace(num_labels=len(names), label2id={name: number for number, name in enumerate(names)})
    _check_numbered({"train": examples["train"]}, files, head, found)
    shown = {label for labels in examples["train"].labels for label in _each(labels)}
    if len(shown) == 1:
        found.add(f"all labels of '{files['train']}' are {str(*shown)!r}, and there is nothing to tell apart.", *_LABELS)
        return
    for use in ("eval", "test"):
        rows = zip(one.rows, one.labels, strict=True) if (one := examples.get(use)) else ()
        strange = next(((row, label) for row, labels in rows for label in _each(labels) if label not in shown), None)
        if strange is not None:
            row, label = strange
            known = sorted(map(str, shown))
            found.add(
                f"'{files[use]}', row {row}: no row of data.train has the label {label!r}, so that nothing is learned of it."
                f"{did_you_mean(str(label), known)} Known: {', '.join(known[:20])}. Correct it, or take the row out.",
                *_LABELS,
            )


def _each(labels: Any) -> tuple[Any, ...]:
    return labels if isinstance(labels, tuple) else (labels,)
