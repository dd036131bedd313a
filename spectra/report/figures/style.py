"""One style for all figures: sizes of a paper's columns, colour-blind-safe colours, the same bytes every time."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from spectra.errors import ResultsError

if TYPE_CHECKING:
    from matplotlib.figure import Figure

COLUMN_WIDTH, TEXT_WIDTH = 3.25, 6.75  # inches: ICML, and close to NeurIPS, ACL and IEEE

# Okabe and Ito (2008): told apart with any colour vision, and in grey by the markers below. Black is kept for fits.
COLORS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#7F7F7F")
MARKERS = ("o", "s", "^", "D", "v", "P", "X")

# Sizes of text, and with them all places, come from DejaVu, which matplotlib brings along: no font of the machine moves a line.
_STYLE: dict[str, Any] = {
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans", "Verdana", "Arial", "sans-serif"],  # the others: where an SVG is looked at
    "mathtext.fontset": "dejavusans",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.labelsize": 8,
    "xtick.labelsize": 7,
    "ytick.labelsize": 7,
    "legend.fontsize": 6.5,
    "axes.linewidth": 0.6,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "xtick.minor.width": 0.4,
    "ytick.minor.width": 0.4,
    "lines.linewidth": 1.0,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "pdf.fonttype": 42,  # text stays text: many venues refuse type 3 fonts
    "svg.fonttype": "none",
    "svg.hashsalt": "spectra",
    "figure.dpi": 100,
}


@contextmanager
def style() -> Iterator[None]:
    """Apply the style to matplotlib's own defaults while a figure is drawn; the user's settings come back after it."""
    from matplotlib import rc_context, rcdefaults, rcParams

    with rc_context():
        rcdefaults()
        rcParams.update(cast(Any, _STYLE))
        yield


def new_figure(*, wide: bool, aspect: float = 0.72) -> tuple[Figure, Any]:
    """Make an empty figure with one axis, outside pyplot's global state.

    Args:
        wide: Text width instead of column width.
        aspect: Height over column width; wide figures keep the height.

    Returns:
        The figure and its axis.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(TEXT_WIDTH if wide else COLUMN_WIDTH, COLUMN_WIDTH * aspect), layout="constrained")
    return figure, figure.add_subplot()


def write(figure: Figure, folder: str | os.PathLike[str], stem: str, formats: Sequence[str]) -> list[Path]:
    """Write a figure, without dates, so that equal reports give equal bytes.

    Args:
        figure: The figure.
        folder: Made if missing.
        stem: File name without suffix; characters that file systems refuse become ``-``.
        formats: ``png``, ``pdf``, ``svg``.

    Returns:
        The files.

    Raises:
        ResultsError: The folder cannot be written.
    """
    place, safe = Path(folder), re.sub(r"[^\w.-]", "-", stem)
    dates = {"pdf": {"CreationDate": None}, "svg": {"Date": None}, "png": {}}
    written = []
    with style():
        _steady(figure)
        for suffix in formats:
            path = place / f"{safe}.{suffix}"
            partial = place / f".{safe}.partial.{suffix}"
            try:
                place.mkdir(parents=True, exist_ok=True)
                figure.savefig(partial, format=suffix, dpi=300, metadata=dates[suffix])
                partial.replace(path)
            except OSError as error:
                raise ResultsError(f"cannot write '{path}': {error.strerror or error}. Choose another --output.") from error
            written.append(path)
    return written


def _steady(figure: Figure) -> None:
    """Let nothing in the layout depend on what the process drew before."""
    from matplotlib.layout_engine import ConstrainedLayoutEngine

    from spectra.report.figures.steady_layout import SteadyLayout

    engine = figure.get_layout_engine()
    if type(engine) is ConstrainedLayoutEngine:  # one of another kind knows why
        figure.set_layout_engine(SteadyLayout(**engine.get()))
