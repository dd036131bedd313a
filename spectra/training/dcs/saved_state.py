"""The part of a checkpoint that is DCS's own: sample weights, and which data and which teacher they belong to."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import ResultsError
from spectra.results.writing import made, write_whole

STATE_FILE = "dcs_state.safetensors"


@dataclass(frozen=True)
class SavedState:
    """What a run continues from.

    Attributes:
        weights: State of the sample weights.
        dataset: Fingerprint of the data.
        teacher: Fingerprint of what is kept of the teacher; empty without.
        options: Of the run, as plain values.
    """

    weights: Mapping[str, Any]
    dataset: str
    teacher: Mapping[str, str]
    options: Mapping[str, Any]


def save_state(folder: Path, state: SavedState) -> None:
    """Write into a checkpoint.

    Args:
        folder: The checkpoint's; made if it is missing.
        state: All of it.

    Raises:
        ResultsError: It cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save

    arrays = {name: value for name, value in state.weights.items() if isinstance(value, np.ndarray)}
    words = {name: value for name, value in state.weights.items() if isinstance(value, str)}
    metadata = {
        "weights": json.dumps(words),
        "dataset": state.dataset,
        "teacher": json.dumps(dict(state.teacher)),
        "options": _as_text(state.options),
    }
    write_whole(made(folder) / STATE_FILE, save(arrays, metadata=metadata))


def load_state(folder: Path, dataset: str, options: Mapping[str, Any]) -> SavedState:
    """Read from a checkpoint.

    Args:
        folder: The checkpoint's.
        dataset: Fingerprint of the data that the run goes on with.
        options: Its options, as plain values.

    Returns:
        All of it.

    Raises:
        ResultsError: There is none, it cannot be read, or it is of other data or options.
    """
    from safetensors import SafetensorError, safe_open

    path = folder / STATE_FILE
    try:
        with safe_open(str(path), framework="numpy") as file:
            metadata = file.metadata() or {}
            arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 - not a mapping
        words, teacher, began = (json.loads(metadata[name]) for name in ("weights", "teacher", "options"))
    except FileNotFoundError:
        raise ResultsError(f"'{folder}' is no checkpoint of DCS: it has no {STATE_FILE}. Give another.") from None
    except (OSError, SafetensorError, KeyError, ValueError) as error:
        raise ResultsError(f"'{path}' cannot be read: {error}. Continue from another checkpoint.") from error
    if metadata["dataset"] != dataset:
        raise ResultsError(
            f"'{folder}': its sample weights are of another training set. Continue with the data and labels, and in the order, "
            "that it began with."
        )
    goes_on: Mapping[str, Any] = json.loads(_as_text(options))
    other = next((name for name in goes_on if goes_on[name] != began.get(name)), None)
    if other is not None:
        raise ResultsError(
            f"'{folder}': this run began with {other} = {began.get(other)!r}, and is to go on with {goes_on[other]!r}. "
            "Continue with the options it began with, or start anew."
        )
    return SavedState({**arrays, **words}, metadata["dataset"], teacher, began)


def _as_text(options: Mapping[str, Any]) -> str:
    def plain(value: Any) -> Any:
        return str(value) if isinstance(value, float) and not math.isfinite(value) else value

    return json.dumps({name: plain(value) for name, value in options.items()}, default=str)
