"""The axis of relative changes, shared by the figures of what training changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

LABEL = r"change $\|\Delta W\|_F \,/\, \|W\|_F$"
_LOG_FROM = 10.0  # largest over smallest change; below, a logarithmic axis would have one or two numbers on it


def scale_changes(axes: Any, values: Sequence[float]) -> None:
    """Take a logarithmic axis where changes differ by factors, or one from 0.

    Args:
        axes: With the changes vertical.
        values: The changes: finite, not negative, at least one.
    """
    if 0.0 < _LOG_FROM * min(values) <= max(values):
        axes.set_yscale("log")
    else:
        axes.set_ylim(0.0, 1.08 * max(values))
        axes.ticklabel_format(axis="y", style="sci", scilimits=(-3, 4), useMathText=True)
    axes.set_ylabel(LABEL)
