"""Killing a piece of work at any moment, in processes that are forked from one that has imported Spectra already.

A kill costs the start of no interpreter. Work is a function of a module, whose arguments can be pickled; it is judged by what
is in its folder. Some kills come after a time; others hit every step, whatever the machine: between any two operations on files
in the folder, and where the work itself says ``step(folder)``.
"""

from __future__ import annotations

import itertools
import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import filelock  # noqa: F401 - this and what follows: so that no child has to import them
import numpy.random  # noqa: F401
import pytest
import safetensors.numpy  # noqa: F401

import spectra.sources.safetensors_file  # noqa: F401
from tests import forked

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")

_FILE_STEPS = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.listdir", "os.scandir"}
_STEP = "tests.step"
_TIMES = ("started_at", "seconds")


def in_child(work: Callable[..., Any], *arguments: Any) -> int:
    """Run work to its end; return the exit code."""
    return _ended(_started(work, arguments))


def is_killed_after(seconds: float, work: Callable[..., Any], *arguments: Any) -> bool:
    """Run work and kill it after a time; tell whether it was still at work."""
    child = _started(work, arguments)
    child.join(seconds)
    child.kill()
    return _ended(child) == -signal.SIGKILL


def is_killed_at(number: int, folder: Path, work: Callable[..., Any], *arguments: Any) -> bool:
    """Run work and kill it before its n-th step in a folder; tell whether there was such a step."""
    code = _ended(_started(_work_to_step, (number, str(folder), work, arguments)))
    assert code in (0, -signal.SIGKILL), f"the work failed by itself, with exit code {code}"
    return code == -signal.SIGKILL


def killed_at_every_step(folder: Path, work: Callable[..., Any], *arguments: Any) -> Iterator[int]:
    """Kill work before its first step, its second and so on, and yield after each kill, for a look at what is left.

    The folder is to be as before the work whenever this goes on.
    """
    for number in itertools.count(1):
        if not is_killed_at(number, folder, work, *arguments):
            return
        yield number


def seconds_of(work: Callable[..., Any], *arguments: Any) -> float:
    """Return how long work takes in a process of its own."""
    started = time.perf_counter()
    assert in_child(work, *arguments) == 0
    return time.perf_counter() - started


def step(folder: Path) -> None:
    """Say in work that a step in a folder is done, at which it may be killed."""
    sys.audit(_STEP, str(folder))


def content_of(folder: Path) -> dict[str, Any]:
    """Return what the files of a result folder hold, hidden ones included, without the times of its run."""
    files: dict[str, Any] = {path.name: path.read_bytes() for path in folder.iterdir()}
    for name in files:
        if name.endswith(".json"):
            files[name] = json.loads(files[name])
            for time_of_run in _TIMES:
                files[name].get("environment", {}).pop(time_of_run, None)
    return files


def _started(work: Callable[..., Any], arguments: tuple[Any, ...]) -> multiprocessing.process.BaseProcess:
    child = forked.server().Process(target=work, args=arguments)
    child.start()
    return child


def _ended(child: multiprocessing.process.BaseProcess) -> int:
    child.join()
    code = child.exitcode
    child.close()
    assert code is not None
    return code


def _work_to_step(number: int, folder: str, work: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
    steps = itertools.count(1)

    def look(event: str, given: tuple[Any, ...]) -> None:
        if (event in _FILE_STEPS or event == _STEP) and str(given[0]).startswith(folder) and next(steps) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(look)  # of a process that ends with the work
    work(*arguments)
