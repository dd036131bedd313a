"""All figures of a run, and its summary, drawn from its folder: at its end, and again at any time."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from spectra.errors import InputError
from spectra.report import figures
from spectra.report.run_content import RunContent, read_run
from spectra.report.run_summary import SUMMARY, summary_text
from spectra.results.writing import write_whole

if TYPE_CHECKING:
    from matplotlib.figure import Figure

FIGURES = "figures"
FORMATS = ("png", "pdf")


def draw_run(folder: str | os.PathLike[str]) -> list[Path]:
    """Draw all figures of a finished run that there are data for, and write ``summary.md``, over earlier ones.

    Args:
        folder: Of the run.

    Returns:
        The files, the summary last.

    Raises:
        ResultsError: The run is not finished, a file of it is damaged, or the folder cannot be written.
    """
    path = Path(folder).expanduser()
    content = read_run(path)
    written = [file for name, one in _drawn(content) for file in figures.write(one, path / FIGURES, name, FORMATS)]
    names = [file.stem for file in written if file.suffix == ".png"]
    write_whole(path / SUMMARY, summary_text(content, [f"{FIGURES}/{name}.png" for name in names]).encode())
    return [*written, path / SUMMARY]


def _drawn(content: RunContent) -> Iterator[tuple[str, Figure]]:
    """Yield the figures by the names of their files; nothing is drawn where there is nothing."""
    attempts: list[tuple[str, Callable[[], Figure]]] = [
        ("losses", lambda: figures.losses(content.lines)),
        ("metrics", lambda: figures.metrics(content.lines, content.record)),
        ("alpha-trajectory", lambda: figures.alpha_trajectory(content.spectra)),
    ]
    for name, draw in attempts:
        try:
            yield name, draw()
        except InputError:  # says that there are no data: a run without an evaluation, or without spectra
            continue
    for name, log in content.scales.items():
        yield f"{name}-trajectory", figures.tempbalance_trajectory(log)
