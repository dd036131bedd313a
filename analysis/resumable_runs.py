"""Runs of a study that are written down one by one as they finish, so that the same command continues where it stopped."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterable
from concurrent.futures import Executor, as_completed
from pathlib import Path
from typing import Any, TypeVar

Run = TypeVar("Run")
Row = dict[str, Any]


def finished(file: Path, read: Callable[[Row], Run]) -> dict[Run, Row]:
    """Read the runs that are done; a line that a crash cut off is none."""
    found: dict[Run, Row] = {}
    for line in file.read_text(encoding="utf-8").splitlines() if file.exists() else ():
        try:
            row = json.loads(line)
        except ValueError:
            continue
        found[read(row)] = row
    return found


def completed(
    runs: Iterable[Run],
    found: dict[Run, Row],
    file: Path,
    pool: Executor,
    work: Callable[..., Row],
    *arguments: Any,
    about: Callable[[Run, Row], str],
) -> None:
    """Do the runs that are missing, in their order, and write each down, and say so, as soon as it is done."""
    started = {pool.submit(work, each, *arguments): each for each in runs if each not in found}
    for number, future in enumerate(as_completed(started), 1):
        run, row = started[future], future.result()
        found[run] = row
        with file.open("a", encoding="utf-8") as opened:
            opened.write(json.dumps(row, allow_nan=False) + "\n")
        sys.stderr.write(f"{number}/{len(started)}: {about(run, row)}\n")
