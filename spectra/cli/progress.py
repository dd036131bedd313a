"""The progress bar of work that is counted, on stderr."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext, redirect_stdout
from pathlib import Path
from typing import Any, Protocol

from spectra.cli.interrupted import keeping


class Advance(Protocol):
    """Moves a bar on."""

    def __call__(self, done: int, total: int, unit: str | None = None) -> None:
        """Show how many are done of how many; another unit begins anew."""


@contextmanager
def progress_bar(unit: str, *, hidden: bool) -> Iterator[Advance]:
    """Show how much is done and the time left.

    Args:
        unit: What is counted, in the plural.
        hidden: Show nothing.

    Yields:
        A function of how many are done and of how many there are. What is done at its first call counts for no speed: the first
        batch is slow, and a continued run starts with all that was done before.
    """
    if hidden:
        yield lambda done, total, unit=None: None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("{task.fields[left]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("reading model and data", total=None, left="")
        counted = ""
        default = unit

        def advance(done: int, total: int, unit: str | None = None) -> None:
            nonlocal counted
            unit = unit or default
            words = f"{done:,}/{total:,} {unit}"
            if unit != counted:
                bar.reset(task, total=total, completed=done, description=words, left="left")
            else:
                bar.update(task, completed=done, description=words)
            counted = unit

        yield advance


@contextmanager
def work_bar(*, hidden: bool) -> Iterator[Callable[[Any], None] | None]:
    """Show progress on stderr, with the time left estimated from the work done rather than from the number of layers.

    Args:
        hidden: Show nothing.

    Yields:
        A function of the progress of an analysis or a comparison; ``None`` if nothing is shown.
    """
    if hidden:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[layers]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} % of the work"),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, layers="reading headers")

        def advance(progress: Any) -> None:
            layers = f"{progress.num_done}/{progress.num_layers} layers"
            if progress.num_models > 1:
                layers += f" of {progress.num_models} models"
            bar.update(task, completed=progress.share_done, layers=layers)

        yield advance


def stdout_for_answers(engine: str) -> AbstractContextManager[Any]:
    """Keep stdout for the answer: what Ray prints of nodes and workers that died goes to stderr.

    Args:
        engine: As ``spectra analyze`` takes it.

    Returns:
        A context.
    """
    return redirect_stdout(sys.stderr) if engine == "ray" else nullcontext()


@contextmanager
def kept_work(what: str, output: Path | None, *, force: bool, hidden: bool) -> Iterator[Callable[[Any], None] | None]:
    """Show the progress of work that a result folder keeps, and say after a signal that it does.

    Args:
        what: What is finished one by one, in the plural.
        output: The folder, if there is one.
        force: Whether the command was told to start over.
        hidden: Show no progress.

    Yields:
        As :func:`work_bar`.
    """
    kept = None if output is None else output.expanduser()
    with keeping(f"Finished {what}", kept, output, force=force), work_bar(hidden=hidden) as progress:
        yield progress
