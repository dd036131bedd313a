"""Titles of figures: what is drawn, with names that are too long for the width shortened in their middle."""

from __future__ import annotations

from typing import Any

from spectra.printable import printable
from spectra.results.words import elided

# Characters of 8 points that fit beside the numbers of an axis, and across the whole figure.
_OVER_AXES = {False: 40, True: 92}
_ACROSS = {False: 46, True: 98}
_SHORTEST_NAME = 12


def add_title(axes: Any, name: str, *more: str, wide: bool, **options: Any) -> None:
    """Write a title over axes.

    Args:
        axes: Where.
        name: Of a model or layer; no formula.
        more: What else to say; it is kept whole.
        wide: Text width instead of column width.
        options: Of matplotlib's ``set_title``.
    """
    axes.set_title(shortened(name, *more, room=_OVER_AXES[wide]), loc="left", parse_math=False, **options)


def add_heading(figure: Any, name: str, *, wide: bool, below: str = "") -> None:
    """Write a title across a figure.

    Args:
        figure: Where.
        name: Of a model or layer; no formula.
        wide: Text width instead of column width.
        below: A second line.
    """
    text = shortened(name, room=_ACROSS[wide])
    figure.suptitle(f"{text}\n{below}" if below else text, x=0.02, ha="left", fontsize=7 if below else 8, parse_math=False)


def drawn_name(name: str) -> str:
    """Return a name without what fonts have no glyph for: controls, which a terminal would obey.

    Args:
        name: Of a model or layer.

    Returns:
        Text of the same length.
    """
    return "".join("\ufffd" if "\u2400" <= letter <= "\u2421" else letter for letter in printable(name))


def shortened(name: str, *more: str, room: int) -> str:
    """Join a name and more by commas, so that they fit.

    Args:
        name: Loses its middle if they do not.
        more: Kept whole; empty ones are left out.
        room: In characters.

    Returns:
        Such as ``"PeftModelFor…sification, recommended"``.
    """
    rest = "".join(f", {part}" for part in more if part)
    return elided(drawn_name(name), max(room - len(rest), _SHORTEST_NAME)) + rest
