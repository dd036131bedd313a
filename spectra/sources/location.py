"""Where a process in any working folder opens a model."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

from spectra.sources import demo


def absolute_location(model: str | os.PathLike[str]) -> str:
    """Return the location of a model independent of the working folder.

    Args:
        model: A path, a hub id, or ``"demo"``.

    Returns:
        The absolute path of a file or folder that is there, or was given as a ``Path``; anything else as it is.
    """
    if model == demo.NAME:  # as open_source takes it, whatever the working folder holds
        return demo.NAME
    with suppress(OSError, RuntimeError):  # a name too long, or '~nobody': told where it is opened
        path = Path(model).expanduser()
        if path.exists() or not isinstance(model, str):  # a Path is no hub id
            return str(path.absolute())
    return os.fspath(model)
