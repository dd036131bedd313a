"""Writing a result folder: files appear whole or not at all, and nothing of others is overwritten."""

from __future__ import annotations

import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra.errors import ResultsError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

REPORT, LAYERS, SPECTRA = "report.json", "layers.csv", "spectra.safetensors"
_TEMPORARY = ".tmp"


def write_result(folder: Path, content: Mapping[str, Any], table: str, spectra: Mapping[str, NDArray[np.float64]]) -> None:
    """Write the three files of a result.

    Args:
        folder: Existing.
        content: Of ``report.json``.
        table: The text of ``layers.csv``.
        spectra: Eigenvalues by matrix name.

    Raises:
        ResultsError: The folder cannot be written.
    """
    import json

    # report.json last: a folder that has it is complete.
    write_arrays(folder / SPECTRA, spectra)
    write_whole(folder / LAYERS, table.encode())
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(folder / REPORT, (text + "\n").encode())


def write_arrays(path: Path, arrays: Mapping[str, NDArray[np.float64]]) -> None:
    """Write arrays as a safetensors file.

    Args:
        path: The file.
        arrays: By name.

    Raises:
        ResultsError: It cannot be written.
    """
    import numpy as np
    from safetensors.numpy import save as to_safetensors

    write_whole(path, to_safetensors({name: np.ascontiguousarray(arrays[name]) for name in arrays}))


def write_whole(path: Path, content: bytes) -> None:
    """Write under a temporary name and move into place, so that no reader ever sees a part.

    Args:
        path: The file.
        content: All of it.

    Raises:
        ResultsError: It cannot be written.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}{_TEMPORARY}")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        with suppress(OSError):  # on a read-only file system this fails, too
            temporary.unlink(missing_ok=True)
        raise ResultsError(unwritable(path, error)) from error


def names_in(folder: Path) -> set[str]:
    """List what a folder for results holds.

    Args:
        folder: New or existing.

    Returns:
        Names; none for a new one.

    Raises:
        ResultsError: It is a file.
    """
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise ResultsError(f"'{folder}' is a file. Choose a folder for the results.")
    return {entry.name for entry in folder.iterdir()}


def holds_others(folder: Path, names: set[str]) -> ResultsError:
    """Say that a folder is somebody else's.

    Args:
        folder: The folder.
        names: What it holds, at least one.

    Returns:
        The error.
    """
    return ResultsError(
        f"'{folder}' exists and holds other files ('{min(names)}'). Choose another folder, or write among them with --force."
    )


def remove_leftovers(folder: Path) -> None:
    """Remove what a killed process left half-written.

    Args:
        folder: A result folder.
    """
    for leftover in folder.glob(f".*{_TEMPORARY}"):
        leftover.unlink(missing_ok=True)


def made(folder: Path) -> Path:
    """Make a folder and those above it.

    Args:
        folder: New or existing.

    Returns:
        The folder.

    Raises:
        ResultsError: It cannot be made.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ResultsError(unwritable(folder, error)) from error
    return folder


def unwritable(path: Path, error: OSError) -> str:
    """Say that a path cannot be written, why, and what to do.

    Args:
        path: The file or folder.
        error: What the system said.

    Returns:
        The message.
    """
    return f"cannot write to '{path}': {error.strerror or error}. Free space or choose another folder."
