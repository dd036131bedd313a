"""A long-lived process that analyses malformed checkpoints, one after the other, under a limit of memory and time.

It reads ``[name, folder, path, options]`` as a line of JSON and answers ``[name, exit code, stdout, stderr, grown]``. A case
that hangs is killed by its alarm, one that asks for more than the limit gets none: both end as what they are.
"""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import sys
import tempfile
import threading

#: A case may take so much on top of what the libraries took, and so long (the machine may be busy).
MEMORY, SECONDS = 2**30, 30


def _address_space() -> int:
    with open("/proc/self/statm") as file:
        return int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")


def _run(path: str, options: list[str]) -> tuple[int, str, str]:
    from spectra.cli.main import main

    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            code = main(["analyze", path, "--workers", "1", "--quiet", *options])
        for file in (out, err):
            file.seek(0)
        return code, out.read(), err.read()


def _warm_up() -> None:
    """Load what a run loads and start what it starts, so that a limit is one on what a case takes."""
    import torch
    from safetensors.numpy import save_file

    from tests.malformed.cases import matrix

    with tempfile.TemporaryDirectory() as folder:
        save_file({"fc.weight": matrix()}, f"{folder}/a.safetensors")
        torch.save({"fc.weight": torch.from_numpy(matrix())}, f"{folder}/a.pt")
        for name in ("a.safetensors", "a.pt"):
            assert _run(f"{folder}/{name}", [])[0] in (0, 1)


def main() -> None:
    """Answer until the lines end."""
    answers = os.fdopen(os.dup(1), "w")
    _warm_up()
    threading.stack_size(8 * 2**20)
    resource.setrlimit(resource.RLIMIT_AS, (_address_space() + MEMORY, resource.RLIM_INFINITY))
    for line in sys.stdin:
        name, folder, path, options = json.loads(line)
        os.chdir(folder)
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        signal.alarm(SECONDS)
        code, out, err = _run(path, options)
        signal.alarm(0)
        grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
        print(json.dumps([name, code, out, err, 1024 * grown]), file=answers, flush=True)


if __name__ == "__main__":
    main()
