"""The progress of a run on stderr: one line that moves, and a line that stays for each evaluation."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rich.progress import Progress


@contextmanager
def run_progress(*, hidden: bool) -> Iterator[RunLines | None]:
    """Show how a run goes on: step, loss, learning rate and time left; where stderr is no terminal, evaluations alone.

    Args:
        hidden: Show nothing.

    Yields:
        What a run tells of its progress; ``None`` if nothing is shown.
    """
    if hidden:
        yield None
        return
    from rich.console import Console

    console = Console(stderr=True, highlight=False, emoji=False)
    if not console.is_terminal:
        yield RunLines()
        return
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None),
        TextColumn("{task.fields[numbers]}", markup=False),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=console, transient=True, expand=True) as bar:
        yield RunLines(bar)


class RunLines:
    """Lines about a run, a :class:`~spectra.training.recipe.run.run_progress.RunProgress`.

    Args:
        bar: The line that moves; ``None``: there is none.
    """

    def __init__(self, bar: Progress | None = None) -> None:
        self._bar = bar
        self._place = ""  # in the training; empty while there is none
        self._last = ""  # line that was printed
        if bar is not None:  # one of them is shown
            self._phase = bar.add_task("beginning", total=None, numbers="")
            self._steps = bar.add_task("", total=None, numbers="", visible=False)

    def phase(self, words: str) -> None:
        """Show what begins now, in a few words."""
        if self._bar is not None:
            self._bar.update(self._phase, description=words, visible=True)
            self._bar.update(self._steps, visible=False, refresh=True)  # what is computed now may let no one draw

    def step(self, done: int, total: int) -> None:
        """Show how many steps of training are done."""
        self._place = f"{done:,}/{total:,} steps"
        if self._bar is not None:
            self._bar.update(self._phase, visible=False)
            self._bar.update(self._steps, description=self._place, completed=done, total=total, visible=True)

    def logged(self, numbers: Mapping[str, Any]) -> None:
        """Show loss and learning rate, or print an evaluation."""
        from spectra.results.run_metrics import EVAL, metric_names

        if names := metric_names(numbers, EVAL):
            values = ", ".join(f"{name} {numbers[EVAL + name]:.4g}" for name in names)
            self._print(f"{self._place}: eval {values}" if self._place else f"eval {values}")
        if self._bar is not None and "loss" in numbers and "learning_rate" in numbers:
            self._bar.update(self._steps, numbers=f"loss {numbers['loss']:.4g}, rate {numbers['learning_rate']:.3g}")

    def _print(self, line: str) -> None:
        """Print a line, once: the end of the last epoch is the end of the training."""
        if line == self._last:
            return
        self._last = line
        if self._bar is not None:
            self._bar.console.print(line, markup=False)
        else:
            print(line, file=sys.stderr)
