"""What the process of a tested program runs: its limits, the program, the tests; the exit status says that all was done."""

from __future__ import annotations

import os
import sys

DONE = 87  # other than 0: a program may end itself before its tests are run
NO_LIMITS = 88
_LARGEST_FILE = 2**24  # bytes


def main() -> None:
    """Run ``program.py`` and ``tests.py`` of this folder: CPU seconds and bytes of memory are the arguments."""
    seconds, memory = map(int, sys.argv[1:])
    try:
        _limit(seconds, memory)
    except (OSError, OverflowError, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        os._exit(NO_LIMITS)
    sys.argv = ["program"]
    sys.path.insert(0, os.getcwd())
    try:
        import program  # type: ignore[import-not-found]

        with open("tests.py", encoding="utf-8") as file:
            exec(compile(file.read(), "tests.py", "exec"), vars(program))  # noqa: S102  (what this process is for)
    except SystemExit:
        raise
    except BaseException as error:
        sys.stderr.write(f"\n{_line(error)}\n")
        os._exit(1)
    os._exit(DONE)  # without waiting for threads that the program left


def _limit(seconds: int, memory: int) -> None:
    import resource

    limits = {
        resource.RLIMIT_CPU: (seconds, seconds + 1),  # a signal that names the reason, and a second later the end
        resource.RLIMIT_AS: (memory, memory),
        resource.RLIMIT_FSIZE: (_LARGEST_FILE, _LARGEST_FILE),
        resource.RLIMIT_CORE: (0, 0),
    }
    for limit, values in limits.items():
        resource.setrlimit(limit, values)


def _line(error: BaseException) -> str:
    """Say in a line what was raised, and where."""
    import traceback

    said = " ".join(f"{type(error).__name__}: {error}".split()).removesuffix(":")
    frames = [(os.path.basename(frame.filename), frame) for frame in traceback.extract_tb(error.__traceback__)]
    places = [f"{name}, line {frame.lineno}: {frame.line}" for name, frame in frames if name in ("program.py", "tests.py")]
    return f"{said} ({places[-1]})" if places else said


if __name__ == "__main__":
    main()
