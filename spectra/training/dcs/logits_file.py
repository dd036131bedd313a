"""Files of what a teacher answered: arrays that know whose answers they are, read where they lie on the disk."""

from __future__ import annotations

import json
import os
import warnings
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from spectra.errors import ResultsError, SpectraWarning
from spectra.results.writing import made, unwritable

_HEADER = "spectra_teacher"
_VERSION = 1


def map_arrays(path: str | os.PathLike[str], kind: str, fingerprint: Mapping[str, str]) -> dict[str, Tensor] | None:
    """Open the arrays of a file, without reading them.

    Args:
        path: A ``.safetensors`` file: nothing in it can be executed.
        kind: Of answers.
        fingerprint: Of the teacher and the data.

    Returns:
        Tensors mapped from the file; ``None`` if they have to be computed anew: there is no file, it is damaged (which is said
        in a warning), or it holds answers of another kind, teacher or data.

    Raises:
        ResultsError: It cannot be read, or was not written here: it would be lost.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="pt") as file:
            header = (file.metadata() or {}).get(_HEADER)
            if header is None:
                raise ResultsError(f"'{path}' is no cache of a teacher's answers, but another file. Choose another path.")
            return {name: file.get_tensor(name) for name in file.keys()} if header == _header(kind, fingerprint) else None  # noqa: SIM118
    except FileNotFoundError:
        return None
    except OSError as error:
        raise ResultsError(
            f"cannot read '{path}': {error.strerror or error}. Check what it is, and its permissions."
        ) from error
    except SafetensorError as error:
        message = f"'{path}' is damaged ({error}): the teacher is asked again. If it comes back, check the disk."
        warnings.warn(message, SpectraWarning, stacklevel=3)
        return None


def write_arrays(
    path: str | os.PathLike[str], arrays: Mapping[str, NDArray[Any]], kind: str, fingerprint: Mapping[str, str]
) -> None:
    """Write a file whole or not at all, from arrays that may lie on the disk themselves: none is copied in memory.

    Args:
        path: Replaced if it exists; its folder is made if missing.
        arrays: By name; contiguous.
        kind: Of answers.
        fingerprint: Of the teacher and the data.

    Raises:
        ResultsError: It cannot be written.
    """
    from safetensors import SafetensorError
    from safetensors.numpy import save_file

    file = Path(path)
    temporary = made(file.parent) / f".{file.name}.{os.getpid()}.tmp"
    try:
        temporary.touch()
        mode = temporary.stat().st_mode
        # safetensors takes memory as it lies, whatever the strides, and makes files that only their owner can read.
        save_file(
            {name: np.asarray(array, order="C") for name, array in arrays.items()},
            temporary,
            {_HEADER: _header(kind, fingerprint)},
        )
        temporary.chmod(mode)
        os.replace(temporary, file)
    except (OSError, SafetensorError) as error:
        with suppress(OSError):  # the folder may be the trouble
            temporary.unlink(missing_ok=True)
        reason = error if isinstance(error, OSError) else OSError(str(error))
        raise ResultsError(unwritable(file, reason)) from error


def _header(kind: str, fingerprint: Mapping[str, str]) -> str:
    return json.dumps({"version": _VERSION, "kind": kind, **fingerprint}, sort_keys=True)
