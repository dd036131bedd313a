"""What a training run logged: ``metrics.jsonl``, a line of JSON for each line of the trainer's log, as they came.

A line holds ``step``, ``epoch`` and ``seconds``, and beside them the numbers that were logged, by the trainer's names:
``loss``, ``eval_accuracy``, ``test_accuracy``, ...
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from spectra.errors import ResultsError
from spectra.results.journal import read_journal
from spectra.results.weight_rounds import plain_json

METRICS = "metrics.jsonl"
EVAL, TEST = "eval_", "test_"

_PLACE = ("step", "epoch", "seconds")
_ABOUT_TIME = ("runtime", "samples_per_second", "steps_per_second", "model_preparation_time", "total_flos")


@dataclass(frozen=True, kw_only=True)
class LogLine:
    """A line of a training log.

    Attributes:
        step: Optimizer steps that were done.
        epoch: Passes through the data that were done.
        seconds: Of training, in all processes that continued it.
        numbers: What was logged, by name; NaN and infinity are numbers.
    """

    step: int
    epoch: float
    seconds: float
    numbers: Mapping[str, float]

    def to_dict(self) -> dict[str, Any]:
        """Return the line as JSON can hold it."""
        line: dict[str, Any] = plain_json({name: getattr(self, name) for name in _PLACE} | dict(self.numbers))
        return line


def load_run_metrics(path: str | os.PathLike[str]) -> tuple[LogLine, ...]:
    """Read a training log, of a run that is over or under way.

    Args:
        path: The file, or the run's folder.

    Returns:
        Its lines.

    Raises:
        ResultsError: There is none, or a line is no line of a log.
    """
    file = Path(path).expanduser()
    file = file / METRICS if file.is_dir() else file
    if not file.is_file():
        raise ResultsError(f"there is no log at '{file}'. 'spectra finetune' writes one into the folder of a run.")
    return tuple(_line(content, f"'{file}', line {number}") for number, content in enumerate(read_journal(file), 1))


def series(lines: Iterable[LogLine], name: str) -> dict[int, float]:
    """Return what was logged under a name.

    Args:
        lines: Of a log.
        name: Of the number.

    Returns:
        The last value of each step, in the order of the steps.
    """
    values = {line.step: line.numbers[name] for line in lines if name in line.numbers}
    return dict(sorted(values.items()))


def metric_names(names: Iterable[str], prefix: str) -> list[str]:
    """Choose metrics of one data set, without what an evaluation says of its own speed.

    Args:
        names: Of numbers of a log.
        prefix: Of the data set's numbers: ``"eval_"`` or ``"test_"``.

    Returns:
        Those names, each once, without the prefix.
    """
    inner = [name.removeprefix(prefix) for name in names if name.startswith(prefix)]
    return [name for name in dict.fromkeys(inner) if not name.endswith(_ABOUT_TIME)]


def _line(content: Mapping[str, Any], where: str) -> LogLine:
    try:
        place = {name: content[name] for name in _PLACE}
        numbers = {name: _number(value) for name, value in content.items() if name not in _PLACE}
        return LogLine(
            step=int(place["step"]), epoch=_number(place["epoch"]), seconds=_number(place["seconds"]), numbers=numbers
        )
    except (KeyError, TypeError, ValueError) as error:
        raise ResultsError(f"{where}: this is no line of a training log ({error}). Delete it to go on without it.") from error


def _number(value: float | str | None) -> float:
    return float("nan") if value is None else float(value)
