"""What workers of a Ray cluster do in tests; they import it from here."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

from spectra.errors import SourceError


def act(words: list[str], folder: str) -> list[str]:
    """Do what each word says, and return the words."""
    for word in words:
        if word == "die" or (word == "die once" and _is_first(Path(folder) / "died")):
            os.kill(os.getpid(), signal.SIGKILL)
        if word == "miss":
            raise SourceError("no file here")
        if word == "err":
            raise TypeError("a mistake of ours")
        if word == "lack":
            raise ModuleNotFoundError("No module named 'spectra'")
        if word in ("stay", "stay too") or (word == "stay once" and _is_first(Path(folder) / "stayed")):
            (Path(folder) / word).touch()
            time.sleep(600)
    return words


def _is_first(path: Path) -> bool:
    try:
        path.touch(exist_ok=False)
    except FileExistsError:
        return False
    return True
