"""One run of a sweep in a process of its own: ``python -m spectra.training.sweep.worker``, started by the sweep.

Its recipe comes in as a line of JSON; why it failed goes out, in a line. What libraries print goes where errors go, into a log.
It ends with the sweep, however that ends: what comes in then ends, too.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TextIO

from spectra.errors import SpectraError

DONE, FAILED, INTERRUPTED = 0, 1, 130
_ORPHANED = 137  # as of a process that was killed


def main(draw: Callable[[Path], object] | None = None) -> int:
    """Run the recipe that comes in.

    Args:
        draw: Makes figures and summary of the folder of a finished run.

    Returns:
        The exit code.
    """
    answer = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell lets what it runs in the background ignore it
    text = json.loads(sys.stdin.readline())["recipe"]
    threading.Thread(target=_end_with, args=(sys.stdin,), daemon=True).start()
    try:
        _run(text, draw)
    except KeyboardInterrupt:
        return INTERRUPTED
    except Exception as error:
        traceback.print_exc()
        with answer:
            answer.write(_in_a_line(error))
        return FAILED
    return DONE


def _run(text: str, draw: Callable[[Path], object] | None) -> None:
    from spectra.training.recipe.reading import parse_recipe
    from spectra.training.recipe.running import run_recipe

    run_recipe(parse_recipe(text), draw=draw)


def _end_with(incoming: TextIO) -> None:
    incoming.read()
    os._exit(_ORPHANED)


def _in_a_line(error: Exception) -> str:
    words = " ".join(str(error).split())
    if isinstance(error, SpectraError):
        return words
    return f"{type(error).__name__}: {words}" if words else type(error).__name__


if __name__ == "__main__":
    sys.exit(main())
