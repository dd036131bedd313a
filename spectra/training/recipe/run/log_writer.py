"""``metrics.jsonl``: every line that the trainer logs, as it comes, in all sessions of a run as if there had been one."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, SupportsFloat

from transformers import TrainerCallback

from spectra.results.journal import Journal
from spectra.results.run_metrics import LogLine
from spectra.results.writing import write_whole

_RUNTIME = "train_runtime"
_RATES = ("train_samples_per_second", "train_steps_per_second")


class LogWriter(TrainerCallback):
    """Appends each line that a trainer logs to a file; it survives the process from there on.

    A line has ``step``, ``epoch``, ``seconds`` (of training, in all sessions; it begins when this is made) and the numbers.

    Args:
        path: The file.
        num_lines: That stay: those that the checkpoint knows. Later ones are of work that was lost, and is done again.
        seconds: That were trained in sessions before, up to the checkpoint.
        clock: Seconds from any moment on.

    Raises:
        ResultsError: The file cannot be written.
    """

    def __init__(
        self, path: Path, num_lines: int = 0, seconds: float = 0.0, *, clock: Callable[[], float] = time.perf_counter
    ) -> None:
        lines = path.read_bytes().splitlines(keepends=True)[:num_lines] if path.exists() else []
        write_whole(path, b"".join(lines))
        self.num_lines = len(lines)
        self._before = seconds
        self._clock = clock
        self._began = clock()
        self._journal = Journal(path)

    @property
    def seconds(self) -> float:
        """Of training so far, in all sessions."""
        return self._before + self._clock() - self._began

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Write a line."""
        if logs is None:
            return
        numbers = {name: float(value) for name, value in logs.items() if _is_number(value) and name not in ("step", "epoch")}
        line = LogLine(
            step=state.global_step,
            epoch=state.epoch or 0.0,
            seconds=round(self.seconds, 3),
            numbers=self._of_all_sessions(numbers),
        )
        self._journal.append(line.to_dict())
        self.num_lines += 1

    def close(self) -> None:
        """Bring the file to the disk and close it."""
        self._journal.close()

    def _of_all_sessions(self, numbers: dict[str, float]) -> dict[str, float]:
        """Let the summary of training speak of all of it: the trainer counts all steps, but the seconds since it went on."""
        if self._before and _RUNTIME in numbers:
            runtime = numbers[_RUNTIME] + self._before
            slower = numbers[_RUNTIME] / runtime
            rates = {name: round(numbers[name] * slower, 3) for name in _RATES if name in numbers}
            return numbers | {_RUNTIME: round(runtime, 4)} | rates
        return numbers


def _is_number(value: object) -> bool:
    """Say so of Python's numbers, NumPy's and tensors with one entry; what else is logged is for the eye."""
    return isinstance(value, SupportsFloat) and not isinstance(value, bool)
