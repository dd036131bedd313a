"""Runs of a sweep side by side, each in a process of its own, so that one that fails, or is killed, takes no other with it."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from spectra.errors import ResultsError
from spectra.fisher.interrupts import deferred_interrupts
from spectra.results.writing import unwritable
from spectra.training.recipe.parts import Recipe
from spectra.training.recipe.printing import recipe_text
from spectra.training.sweep.worker import DONE, INTERRUPTED

WORKER = "spectra.training.sweep.worker"
_SECONDS_BETWEEN_LOOKS = 0.1
_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")

_INTERRUPTED = (INTERRUPTED, -signal.SIGINT)  # the latter before it could say so

Began = Callable[[str], None]
# Name and error, None without one; an interrupted run has neither failed nor finished.
Ended = Callable[[str, str | None], None]


@dataclass(frozen=True)
class _Running:
    """A process and what it answers."""

    name: str
    log: Path
    process: subprocess.Popen[bytes]
    answer: IO[bytes]

    def fault(self) -> str | None:
        """Say in a line why it failed, if it did; to be called once it has ended."""
        code = self.process.returncode
        self.answer.seek(0)
        words = self.answer.read().decode(errors="replace").strip()
        if code == DONE or code in _INTERRUPTED:
            return None
        if words:
            return words
        if code < 0:
            ended = f"it was ended by {signal.Signals(-code).name}"
            return f"{ended}; the system does so when memory runs out" if -code == signal.SIGKILL else ended
        return f"it ended with exit code {code}; '{self.log}' says why"

    def close(self) -> None:
        """Close what it is spoken to by; it ends if it has not ended."""
        self.answer.close()
        if self.process.stdin is not None:
            with suppress(BrokenPipeError):  # what it was told last, and never read
                self.process.stdin.close()


def run_side_by_side(
    recipes: Mapping[str, Recipe],
    logs: Path,
    *,
    jobs: int,
    worker: str,
    began: Began,
    ended: Ended,
    stopping: Callable[[], None],
) -> None:
    """Run recipes, some at a time.

    Args:
        recipes: By name, in the order in which they are begun.
        logs: Folder of what each prints; what it printed in an earlier try stays.
        jobs: How many at a time. They share the processors, and the number of threads changes the last digits of sums.
        worker: Module that runs one, as :mod:`spectra.training.sweep.worker` does.
        began: Called with the name of each.
        ended: Called with the name of each and why it failed; not for those that were interrupted.
        stopping: Called at the first Ctrl-C.

    Raises:
        KeyboardInterrupt: After Ctrl-C or SIGTERM. The runs have ended, with a checkpoint; at a second one at once.
    """
    waiting, running = deque(recipes), list[_Running]()
    are_told = False
    with deferred_interrupts() as interrupts:
        try:
            while running or (waiting and not interrupts.wanted):
                while waiting and len(running) < jobs and not interrupts.wanted:
                    name = waiting.popleft()
                    running.append(_started(worker, name, recipes[name], logs / f"{name}.log", _threads(jobs)))
                    began(name)
                time.sleep(_SECONDS_BETWEEN_LOOKS)
                if interrupts.wanted and not are_told:
                    are_told = True
                    stopping()
                    _tell(running)
                for each in [one for one in running if one.process.poll() is not None]:
                    running.remove(each)
                    fault = each.fault()
                    each.close()
                    if each.process.returncode not in _INTERRUPTED:
                        ended(each.name, fault)
        finally:
            _kill(running)
        if interrupts.wanted:
            raise interrupts.interrupt()


def _tell(running: Sequence[_Running]) -> None:
    for one in running:
        one.process.send_signal(signal.SIGINT)


def _kill(running: Sequence[_Running]) -> None:
    for one in running:
        one.process.kill()
        one.process.wait()
        one.close()


def _started(worker: str, name: str, recipe: Recipe, log: Path, threads: Mapping[str, str]) -> _Running:
    try:
        answer = tempfile.TemporaryFile()  # noqa: SIM115 - closed when it has been read
        with log.open("ab") as printed:
            process = subprocess.Popen(  # noqa: S603 - nothing of a user's in it
                [sys.executable, "-m", worker],
                stdin=subprocess.PIPE,
                stdout=answer,
                stderr=printed,
                env={**os.environ, **threads},
                start_new_session=True,  # Ctrl-C in a terminal reaches the sweep only, which passes it on once
            )
    except OSError as error:
        raise ResultsError(unwritable(log, error)) from error
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # it has died already, and says so by its exit code
        process.stdin.write(json.dumps({"recipe": recipe_text(recipe)}).encode() + b"\n")
        process.stdin.flush()  # and stays open: its end is that of the sweep
    return _Running(name, log, process, answer)


def _threads(jobs: int) -> dict[str, str]:
    """Divide the processors, unless the user did."""
    if jobs == 1 or any(name in os.environ for name in _THREADS):
        return {}
    processors = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return dict.fromkeys(_THREADS, str(max(1, processors // jobs)))
