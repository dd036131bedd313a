"""Writing the two files of a Fisher: ``NAME.safetensors`` holds the arrays, ``NAME.json`` everything else.

| kept | keys of the arrays |
|---|---|
| ``values`` | the parameter's name |
| ``neurons`` | ``rows:`` or ``cols:`` and the name of a linear weight, for sums by output or input neuron |
| ``traces`` | none |

The header of the arrays' file says which Fisher it is, too, and carries a hash by which the two files know each other.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from spectra.errors import ResultsError
from spectra.results.writing import made, unwritable, write_whole

HEADER = "spectra_fisher"  # one key for all of it: safetensors writes several in random order, and equal files would differ
VALUES, ROWS, COLS = "", "rows:", "cols:"  # what stands before the names of parameters


def fisher_files(path: str | os.PathLike[str], *, force: bool = False) -> tuple[Path, Path]:
    """Return the files that a Fisher would be written to; ask before measuring, not after.

    Args:
        path: Must end in ``.safetensors``.
        force: Accept files that exist.

    Returns:
        The file of the arrays and the JSON file.

    Raises:
        ResultsError: Another ending, or a file is there already.
    """
    arrays_file = Path(path).expanduser()
    if arrays_file.suffix != ".safetensors":
        raise ResultsError(f"'{arrays_file}' must end in .safetensors; the summary goes into a .json file beside it.")
    summary_file = arrays_file.with_suffix(".json")
    there = next((file for file in (arrays_file, summary_file) if file.exists()), None)
    if there and not force:
        raise ResultsError(f"'{there}' exists. Choose another name, or replace it with force=True (--force).")
    return arrays_file, summary_file


def write_fisher(
    path: str | os.PathLike[str], content: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]], *, force: bool = False
) -> None:
    """Write both files, each whole or not at all; the JSON file last.

    Args:
        path: Must end in ``.safetensors``.
        content: Of the JSON file, as ``Fisher.to_dict()`` gives it.
        arrays: By key.
        force: Replace files of that name.

    Raises:
        ResultsError: As in :func:`fisher_files`; or an infinite number, or a file cannot be written.
    """
    arrays_file, summary_file = fisher_files(path, force=force)
    infinite = next((row["name"] for row in content["tensors"] if math.inf in row.values()), None)
    if infinite:
        raise ResultsError(f"'{infinite}' has an infinite Fisher: its gradients overflow. Measure in float32 or float64.")
    made(arrays_file.parent)
    _write_arrays(arrays_file, arrays, _header(content))
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    write_whole(summary_file, (text + "\n").encode())


def content_fingerprint(content: Mapping[str, Any]) -> str:
    """Return the hash by which the two files of a Fisher know each other.

    Args:
        content: Of the JSON file.

    Returns:
        SHA-256 over which Fisher it is and its parameters, in hex.
    """
    known = json.dumps([content["info"], content["tensors"]], sort_keys=True)
    return hashlib.sha256(known.encode()).hexdigest()


def _header(content: Mapping[str, Any]) -> dict[str, str]:
    header = {
        "schema_version": content["schema_version"],
        "fingerprint": content_fingerprint(content),
        "info": content["info"],
        "aliases": {row["name"]: row["aliases"] for row in content["tensors"] if row["aliases"]},
    }
    return {HEADER: json.dumps(header)}


def _write_arrays(path: Path, arrays: Mapping[str, NDArray[Any]], header: dict[str, str]) -> None:
    """Write straight from the arrays, so that no second copy of them is held, then move into place."""
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        # safetensors takes memory as it lies, whatever the strides, and makes files that only their owner can read.
        save_file({key: np.asarray(array, order="C") for key, array in arrays.items()}, temporary, metadata=header)
        temporary.chmod(mode)
        with temporary.open("rb") as file:
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except (OSError, SafetensorError) as error:
        temporary.unlink(missing_ok=True)
        reason = error if isinstance(error, OSError) else OSError(str(error))
        raise ResultsError(unwritable(path, reason)) from error
