"""The console answers are printed on: as wide as the terminal, plain where it is none, and obeying no name it shows."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING

from spectra.printable import printable

if TYPE_CHECKING:
    from rich.console import Console, ConsoleOptions, RenderableType

# Where stdout is no terminal there is no width to fit; wide enough for every column.
_WIDTH_OF_A_FILE = 140


def console(*, no_color: bool = False) -> Console:
    """Make the console for stdout.

    Args:
        no_color: Print without colour, as ``NO_COLOR`` and a file do.

    Returns:
        A rich console that highlights nothing by itself, and shows escape sequences in names instead of sending them.
    """
    from rich.console import Console
    from rich.segment import Segment

    class NamesShown(Console):
        """Changes the text of what ``render`` yields, before colours are added: their escapes are the console's own."""

        def render(self, renderable: RenderableType, options: ConsoleOptions | None = None) -> Iterable[Segment]:
            for segment in super().render(renderable, options):
                yield segment if segment.control else Segment(printable(segment.text, keep_lines=True), segment.style)

    width = None if sys.stdout.isatty() else _WIDTH_OF_A_FILE
    return NamesShown(no_color=no_color or None, highlight=False, emoji=False, width=width, soft_wrap=False)


def print_table(text: str) -> None:
    """Print a table as text: to a file or pipe as it is, to a terminal without what it would obey.

    Args:
        text: CSV with its line ends.
    """
    print(printable(text, keep_lines=True) if sys.stdout.isatty() else text, end="")
