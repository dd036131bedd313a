"""What a checkpoint says of its run, so that no other run goes on with it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from spectra.errors import InputError, ResultsError
from spectra.results.versioned_json import read_versioned
from spectra.results.writing import write_whole
from spectra.training.dcs.data_fingerprint import dataset_fingerprint

FILE = "meta_peft_run.json"
_VERSION = 1


def rows_fingerprint(rows: Any) -> str:
    """Tell the rows of a task from others.

    Args:
        rows: By place.

    Returns:
        A hash of up to 64 of them; of rows that are drawn or changed at random, or hold what is no number and no text, their
        number alone.
    """
    try:
        first, second = (dataset_fingerprint(rows) for _ in range(2))
    except InputError:
        return f"{len(rows)} rows"
    return first if first == second else f"{len(rows)} rows"


def save_run(folder: Path, tasks: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """Write tasks and options beside a checkpoint.

    Args:
        folder: Of the checkpoint.
        tasks: Fingerprint of the rows, by task.
        options: Plain values by name.
    """
    content = {"schema_version": _VERSION, "tasks": dict(tasks), "options": _plain(options)}
    write_whole(folder / FILE, f"{json.dumps(content, indent=2)}\n".encode())


def check_run(folder: Path, tasks: Mapping[str, str], options: Mapping[str, Any]) -> None:
    """Refuse a checkpoint of other tasks or options.

    Args:
        folder: Of the checkpoint.
        tasks: Fingerprint of the rows, by task.
        options: Plain values by name.

    Raises:
        ResultsError: It is, or is none of meta-PEFT.
    """
    again = "Continue from a checkpoint of this run, or start anew."
    began = read_versioned(folder / FILE, "checkpoint of meta-PEFT", _VERSION, dict, again=again)
    if list(began["tasks"]) != list(tasks):
        raise ResultsError(f"'{folder}': its tasks are {', '.join(began['tasks'])}; here they are {', '.join(tasks)}. {again}")
    other = next((name for name in tasks if tasks[name] != began["tasks"][name]), None)
    if other is not None:
        raise ResultsError(f"'{folder}': task '{other}' had other rows, or another order of them. {again}")
    goes_on = _plain(options)
    option = next((name for name in goes_on if goes_on[name] != began["options"].get(name)), None)
    if option is not None:
        raise ResultsError(
            f"'{folder}': this run began with {option} = {began['options'].get(option)!r}, and is to go on with "
            f"{goes_on[option]!r}. {again}"
        )


def _plain(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what JSON holds of options; sets in order, and what it does not know in words."""
    words = {
        name: json.dumps(value, default=lambda one: sorted(one) if isinstance(one, set) else str(one))
        for name, value in options.items()
    }
    return {name: json.loads(word) for name, word in words.items()}
