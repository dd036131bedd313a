"""A result as one file of JSON with a schema version: read, or refused in words."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from spectra.errors import ResultsError
from spectra.results.writing import made, write_whole

Result = TypeVar("Result")


def read_versioned(
    path: str | os.PathLike[str], what: str, version: int, read: Callable[[Mapping[str, Any]], Result], *, again: str
) -> Result:
    """Read a result.

    Args:
        path: The file.
        what: What it holds, in words.
        version: Of the schema that is read.
        read: Makes the result of the file's content.
        again: How to make such a file, as a sentence.

    Returns:
        The result.

    Raises:
        ResultsError: No such file, another kind of file, a damaged one, or one of another schema version.
    """
    file = Path(path).expanduser()
    try:
        content = json.loads(file.read_bytes())
        found = content["schema_version"]
    except FileNotFoundError as error:
        raise ResultsError(f"there is no {what} at '{file}'. {again}") from error
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ResultsError(f"'{file}' is no {what}, or a damaged one ({_one_line(error)}). {again}") from error
    if found != version:
        raise ResultsError(f"'{file}' has schema version {found}, this Spectra reads {version}. {again}")
    try:
        return read(content)
    except (KeyError, TypeError, ValueError, AttributeError) as error:
        raise ResultsError(f"'{file}' is no {what}, or a damaged one ({_one_line(error)}). {again}") from error


def write_json(path: str | os.PathLike[str], content: Mapping[str, Any], *, force: bool = True) -> None:
    """Write a result.

    Args:
        path: The file, which appears whole or not at all; its folder is made if missing.
        content: Plain values, with the schema version.
        force: Replace a file of this name.

    Raises:
        ResultsError: It exists, or cannot be written.
    """
    file = Path(path).expanduser()
    if file.exists() and not force:
        raise ResultsError(f"'{file}' exists. Choose another name, or pass force=True (--force).")
    made(file.parent)
    write_whole(file, (json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False) + "\n").encode())


def _one_line(error: Exception) -> str:
    return " ".join(str(error).split()) or type(error).__name__
