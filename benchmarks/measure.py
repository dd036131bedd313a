"""Child processes, timed from start to exit, with their own peak memory.

The kernel counts a child's peak from what its parent held when it was started, so this process stays small: nothing in
the modules that run here imports NumPy.
"""

from __future__ import annotations

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent

# What the bars were set for: two workers, against one or two BLAS threads of the peer.
CORES = 2

_THREAD_VARIABLES = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
_NUM_RESAMPLES = 2000


class ChildError(RuntimeError):
    """A measured process failed."""


@dataclass(frozen=True)
class Sample:
    """One run of a child process.

    Attributes:
        seconds: From start to exit.
        cpu_seconds: User and system time of all its threads.
        peak_mib: Largest resident memory.
        output: What it wrote to stdout, parsed as JSON.
    """

    seconds: float
    cpu_seconds: float
    peak_mib: float
    output: Any


def use_few_cores() -> None:
    """Bind this process, and so all its children, to the first cores it may use, where the system can."""
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:CORES])


def run_module(module: str, *arguments: str, threads: int = 1) -> Sample:
    """Run ``python -m module arguments`` with pinned BLAS threads.

    Args:
        module: A module that writes JSON, and only that, to stdout.
        *arguments: Its command line.
        threads: BLAS threads.

    Returns:
        The sample.

    Raises:
        ChildError: It failed, or wrote something else.
    """
    command = [sys.executable, "-m", module, *arguments]
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        start = time.perf_counter()
        child = subprocess.Popen(command, stdout=out, stderr=err, env=environment_of(threads), cwd=ROOT)
        _, status, usage = os.wait4(child.pid, 0)
        seconds = time.perf_counter() - start
        child.returncode = os.waitstatus_to_exitcode(status)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode(errors="replace"))
    if child.returncode != 0:
        raise ChildError(f"{' '.join(command)}: exit code {child.returncode}\n{texts[1][-2000:]}")
    try:
        output = json.loads(texts[0])
    except ValueError as error:
        raise ChildError(f"{' '.join(command)}: no JSON on stdout ({error})\n{texts[0][-2000:]}") from None
    bytes_per_unit = 1 if sys.platform == "darwin" else 1024
    return Sample(seconds, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * bytes_per_unit / 2**20, output)


def environment_of(threads: int) -> dict[str, str]:
    """Return the environment of a child with so many BLAS threads."""
    return {**os.environ, **dict.fromkeys(_THREAD_VARIABLES, str(threads)), "HF_HUB_OFFLINE": "1"}


def median(values: Sequence[float]) -> float:
    """Return the median as a float."""
    return float(statistics.median(values))


def median_interval(values: Sequence[float]) -> tuple[float, float]:
    """Return the percentile bootstrap interval of a median, at 95 %."""
    generator = random.Random(0)
    medians = sorted(median(generator.choices(values, k=len(values))) for _ in range(_NUM_RESAMPLES))
    return medians[_NUM_RESAMPLES // 40], medians[-1 - _NUM_RESAMPLES // 40]


def say(message: str) -> None:
    """Report progress on stderr."""
    print(message, file=sys.stderr, flush=True)
