"""Whether a program passes its tests: both are run, in a process of their own.

.. warning::

    This runs code that a model wrote. The process has limits of time and memory, an empty folder, no standard input and none of
    this one's environment variables; **it is no security boundary**: it may read files, use the network and harm whatever
    its user may harm. Run it in a container or virtual machine that holds nothing of value. It is off by default.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from contextlib import suppress
from pathlib import Path

from spectra.errors import InputError, SpectraError
from spectra.training.sdft.extractors.tested_program import DONE, NO_LIMITS

_RUNNER = Path(__file__).with_name("tested_program.py")
_MIB = 2**20
_LONGEST_LINE = 300


def passes_tests(program: str, tests: str, *, seconds: float = 10.0, memory_mib: int = 512) -> str | None:
    """Run a program and then its tests; read the module's warning first.

    Args:
        program: Python, imported as a module, so that what it keeps for ``__main__`` is not run.
        tests: Python that sees the program's names and raises if something is wrong, such as ``assert`` statements. Functions
            in it are run only if it calls them.
        seconds: Time that both may take. Default: our choice.
        memory_mib: Address space that both may take, with Python's own; what large libraries reserve counts, too. Default: our
            choice.

    Returns:
        ``None`` if the program passes, otherwise in a line what went wrong.

    Raises:
        InputError: No tests, or a limit that is not positive.
        SpectraError: The limits cannot be set, as on Windows.
    """
    if not tests.strip():
        raise InputError("tests: there are none, and no program can fail them. Give code that raises if something is wrong.")
    if not (seconds > 0 and memory_mib > 0):
        raise InputError(f"expected positive limits, got seconds={seconds} and memory_mib={memory_mib}.")
    if sys.platform == "win32":
        raise SpectraError("tests of programs need limits that Windows does not know. Run them on Linux or macOS.")
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder, tempfile.TemporaryFile() as said:
        for name, source in (("program.py", program), ("tests.py", tests)):
            Path(folder, name).write_text(source, encoding="utf-8", errors="replace")
        status = _status(folder, said.fileno(), seconds, memory_mib)
        said.seek(0)
        lines = [line.strip() for line in said.read().decode(errors="replace").splitlines() if line.strip()]
    if status == NO_LIMITS:
        raise SpectraError(
            f"seconds={seconds} and memory_mib={memory_mib} cannot be set as limits here ({lines[-1]}). Try others."
        )
    return None if status == DONE else _reason(status, lines, seconds)


def _status(folder: str, said: int, seconds: float, memory_mib: int) -> int | None:
    """Run the program and return its exit status; ``None``: it took too long."""
    command = [sys.executable, "-I", "-B", str(_RUNNER), str(int(seconds) + 1), str(memory_mib * _MIB)]
    quiet = subprocess.DEVNULL
    with subprocess.Popen(  # noqa: S603
        command, cwd=folder, env={}, stdin=quiet, stdout=quiet, stderr=said, start_new_session=True
    ) as process:
        try:
            return process.wait(seconds)
        except subprocess.TimeoutExpired:
            return None
        finally:
            _end_all(process)


def _end_all(process: subprocess.Popen[bytes]) -> None:
    """End what the program started, too; the group outlives the process itself."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)


def _reason(status: int | None, lines: list[str], seconds: float) -> str:
    if status is None or status == -signal.SIGXCPU:
        return f"not done after {seconds:g} s"
    if status > 0 and lines:
        return lines[-1][:_LONGEST_LINE]
    return f"ended with status {status} before the tests were done"
