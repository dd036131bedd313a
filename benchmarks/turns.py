"""Processes that take turns: one works, on all cores, while the others wait.

The speed of a machine drifts, and its cores differ, by more than some things that are measured. Processes side by side drift
together but not on one core; those that take turns of a second do both.

A process of the round calls :meth:`Turns.over` wherever its turn ends, and its clock stands still until the next one begins.
"""

from __future__ import annotations

import json
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import IO, Any

from benchmarks.measure import CORES, ROOT, ChildError, environment_of


class Turns:
    """The turns of this process. The first one begins when this is made."""

    def __init__(self) -> None:
        self._waited = 0.0
        self._clock = time.perf_counter
        self._wait()

    def now(self) -> float:
        """Return seconds of the turns of this process, from any moment on."""
        return self._clock() - self._waited

    def over(self) -> None:
        """Let all others have their turns."""
        print(flush=True)
        self._wait()

    def end(self, answer: Any) -> None:
        """End the last turn.

        Args:
            answer: What was found, for JSON.
        """
        print(json.dumps(answer), flush=True)

    def _wait(self) -> None:
        began = self._clock()
        if not sys.stdin.readline():
            raise SystemExit("who gives the turns is gone")
        self._waited += self._clock() - began


def in_turns(module: str, runs: Sequence[Sequence[str]]) -> list[Any]:
    """Run ``python -m module`` with these arguments each, in turns, in an order that is drawn anew for each round.

    Args:
        module: It makes a :class:`Turns` before anything else, and writes to stdout by that alone.
        runs: Command lines.

    Returns:
        The answer of each.

    Raises:
        ChildError: One failed.
    """
    answers: list[Any] = [None] * len(runs)
    generator = random.Random(0)
    with ExitStack() as held:
        children = []
        for arguments in runs:
            errors = held.enter_context(tempfile.TemporaryFile())
            children.append(_Child.started([sys.executable, "-m", module, *arguments], errors))
            held.enter_context(children[-1].process)
            held.callback(children[-1].process.kill)
        working = list(range(len(children)))
        while working:
            generator.shuffle(working)
            for number in tuple(working):
                if line := children[number].turn():
                    answers[number] = json.loads(line)
                    working.remove(number)
    return answers


@dataclass(frozen=True)
class _Child:
    command: list[str]
    errors: IO[bytes]
    process: subprocess.Popen[str]

    @classmethod
    def started(cls, command: list[str], errors: IO[bytes]) -> _Child:
        """Start it; it waits for its first turn."""
        pipe = subprocess.PIPE
        process = subprocess.Popen(
            command, stdin=pipe, stdout=pipe, stderr=errors, env=environment_of(CORES), cwd=ROOT, text=True
        )
        return cls(command, errors, process)

    def turn(self) -> str:
        """Let it work for a turn; return its answer if that was the last one."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        try:
            print(file=self.process.stdin, flush=True)
            line = self.process.stdout.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            self.errors.seek(0)
            text = self.errors.read().decode(errors="replace")
            raise ChildError(f"{' '.join(self.command)} ended early\n{text[-2000:]}")
        return line.strip()
