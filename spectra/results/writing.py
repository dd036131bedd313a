"""Writing a result folder: files appear whole or not at all, and nothing of others is overwritten."""

from __future__ import annotations

import errno
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra.errors import ResultsError
from spectra.results.temporary_files import is_temporary, moved_into_place

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

RESULT_FILES = REPORT, LAYERS, SPECTRA = "report.json", "layers.csv", "spectra.safetensors"
LOCK = ".lock"  # who writes to a folder of results; see run_locks.py
CACHE_TAG = "CACHEDIR.TAG"  # the mark of a cache, which tools for backups leave out: https://bford.info/cachedir/
# What a folder says that is no longer there, or whose disk, or server.
_GONE = {errno.ENOENT, errno.EIO, errno.ESTALE, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN}


def write_result(
    folder: Path,
    content: Mapping[str, Any],
    table: str,
    arrays: Mapping[str, NDArray[np.float64]],
    *,
    names: tuple[str, str, str] = RESULT_FILES,
) -> None:
    """Write the three files of a result.

    Args:
        folder: Existing.
        content: Of the first file, as JSON.
        table: The text of the second.
        arrays: By name, of the third.
        names: Of the files. Default: those of an analysis.

    Raises:
        ResultsError: The folder cannot be written.
    """
    import json

    head, rows, spectra = (folder / name for name in names)
    try:
        head.unlink(missing_ok=True)  # an earlier one must not stand beside the spectra of this result
    except OSError as error:
        raise ResultsError(unwritable(head, error)) from error
    # Written last: a folder that has it is complete.
    write_arrays(spectra, arrays)
    write_whole(rows, table.encode())
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(head, (text + "\n").encode())


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


def write_whole(path: Path, content: bytes, *, to_disk: bool = True) -> None:
    """Write under a temporary name and move into place, so that no reader ever sees a part.

    Args:
        path: The file.
        content: All of it.
        to_disk: Wait until it outlives a power failure, too.

    Raises:
        ResultsError: It cannot be written.
    """
    try:
        with moved_into_place(path, to_disk=to_disk) as file:
            file.write(content)
    except OSError as error:
        raise ResultsError(unwritable(path, error)) from error


def names_in(folder: Path) -> set[str]:
    """List what a folder for results holds.

    Args:
        folder: New or existing.

    Returns:
        Names; none for a new one. A lock, half-written files and folders that are caches are left out: they are nobody's work.

    Raises:
        ResultsError: It is a file, or cannot be read.
    """
    if not folder.exists():
        return set()
    if not folder.is_dir():
        raise ResultsError(f"'{folder}' is a file. Choose a folder for the results.")
    try:
        return {entry.name for entry in folder.iterdir() if not _is_nobodys(entry)}
    except OSError as error:
        raise ResultsError(f"cannot read '{folder}': {error.strerror or error}. Choose another folder.") from error


def _is_nobodys(entry: Path) -> bool:
    return entry.name == LOCK or is_temporary(entry.name) or (entry / CACHE_TAG).is_file()


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
    remedy = "Bring its folder or disk back" if error.errno in _GONE else "Free space"
    return f"cannot write to '{path}': {error.strerror or error}. {remedy} or choose another folder."
