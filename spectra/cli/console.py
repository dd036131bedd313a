"""The console answers are printed on: as wide as the terminal, plain where it is none."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.console import Console

# Where stdout is no terminal there is no width to fit; wide enough for every column.
_WIDTH_OF_A_FILE = 140


def console(*, no_color: bool = False) -> Console:
    """Make the console for stdout.

    Args:
        no_color: Print without colour, as ``NO_COLOR`` and a file do.

    Returns:
        A rich console that highlights nothing by itself.
    """
    from rich.console import Console

    width = None if sys.stdout.isatty() else _WIDTH_OF_A_FILE
    return Console(no_color=no_color or None, highlight=False, emoji=False, width=width, soft_wrap=False)
