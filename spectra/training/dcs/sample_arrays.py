"""What is kept of every sample of a training set, as arrays: made, filled in, and checked when they come from a checkpoint."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra.errors import InputError, ResultsError

Arrays = dict[str, NDArray[Any]]

# One number for each sample: its type, and what it is at the start.
ARRAYS: Mapping[str, tuple[type, float]] = {
    "weights": (np.float64, 1.0),
    "recorded": (np.float64, 0.0),  # as it was given: a discordance, or the error of a regression
    "discordance": (np.float64, math.nan),  # of the last round
    "losses": (np.float64, math.nan),
    "predicted": (np.int64, -1),
    "steps": (np.int64, -1),
    "is_pending": (np.bool_, False),
}
# What is kept of them after each round: 16 N bytes.
ROWS: Mapping[str, type] = {"weights": np.float32, "discordance": np.float32, "losses": np.float32, "predicted": np.int32}

_ARGUMENTS = {"recorded": "discordance", "losses": "loss", "steps": "step"}  # what callers call them


def fresh_arrays(num_samples: int) -> Arrays:
    """Return arrays of samples of which nothing is known."""
    return {name: np.full(num_samples, start, dtype) for name, (dtype, start) in ARRAYS.items()}


def stacked_rows(rows: Mapping[str, list[NDArray[Any]]], num_samples: int) -> Arrays:
    """Return rows as arrays, shape ``(R, N)`` also for R = 0, by the names they have in histories."""
    return {f"{name}_by_round": np.array(rows[name], dtype=dtype).reshape(-1, num_samples) for name, dtype in ROWS.items()}


def record_into(arrays: Arrays, index: ArrayLike, columns: Mapping[str, ArrayLike | None]) -> None:
    """Fill in records: for each sample that of the latest step, the first of these if there are more.

    Args:
        arrays: Of all samples.
        index: Shape ``(M,)``: which samples.
        columns: ``recorded``, ``steps``, ``losses`` and ``predicted``: shape ``(M,)``, or one number; ``None``: not known.

    Raises:
        InputError: Shapes that do not fit, or an index that no sample has.
    """
    places = _checked_index(index, len(arrays["steps"]))
    filled = {name: _column(name, values, len(places)) for name, values in columns.items()}
    steps = filled["steps"]
    order = np.lexsort((-steps, places))  # stable: the first of equal ones stays first
    latest = order[np.unique(places[order], return_index=True)[1]]
    latest = latest[steps[latest] >= arrays["steps"][places[latest]]]
    for name, values in filled.items():
        arrays[name][places[latest]] = values[latest]
    arrays["is_pending"][places[latest]] = True


def read_arrays(state: Mapping[str, Any], num_samples: int, num_rows: int) -> tuple[Arrays, dict[str, list[NDArray[Any]]]]:
    """Take arrays and rows out of a state.

    Args:
        state: As it was saved.
        num_samples: N.
        num_rows: Rounds of which a row was kept.

    Returns:
        Copies.

    Raises:
        ResultsError: One is missing, or of another shape or type.
    """
    of_arrays = {name: _read(state, name, dtype, (num_samples,)) for name, (dtype, _) in ARRAYS.items()}
    of_rows = {name: list(_read(state, f"{name}_by_round", dtype, (num_rows, num_samples))) for name, dtype in ROWS.items()}
    return of_arrays, of_rows


def _read(state: Mapping[str, Any], name: str, dtype: type, shape: tuple[int, ...]) -> NDArray[Any]:
    found = state.get(name)
    if not isinstance(found, np.ndarray) or found.dtype != dtype or found.shape != shape:
        raise ResultsError(
            f"saved sample weights: '{name}' is missing or damaged, expected {np.dtype(dtype)} of shape {shape}. Continue from "
            "another checkpoint."
        )
    return found.copy()


def _checked_index(index: ArrayLike, num_samples: int) -> NDArray[np.int64]:
    places = np.atleast_1d(np.asarray(index))
    if places.ndim != 1 or not np.issubdtype(places.dtype, np.integer):
        raise InputError(f"index: expected whole numbers in one dimension, got {places.dtype} of shape {places.shape}.")
    outside = places[(places < 0) | (places >= num_samples)]
    if len(outside):
        raise InputError(f"index: there is no sample {outside[0]}, only 0 to {num_samples - 1}.")
    return places.astype(np.int64)


def _column(name: str, values: ArrayLike | None, length: int) -> NDArray[Any]:
    dtype, unknown = ARRAYS[name]
    column: NDArray[Any] = np.asarray(unknown if values is None else values, dtype=dtype)
    if column.ndim and column.shape != (length,):
        argument = _ARGUMENTS.get(name, name)
        raise InputError(f"{argument}: expected one number for each of {length} samples, got shape {column.shape}.")
    return np.broadcast_to(column, (length,))
