"""Constrained layout whose places are rounded, so that a figure has the same bytes whatever its process drew before.

The solver of matplotlib's layout gives places whose last bits depend on that, and its SVG names clip paths by all bits.
Imports matplotlib: import it where a figure is written.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.transforms import Bbox

_DIGITS = 7  # of the figure's width: a ten-thousandth of a point, far above the last bits and far under what can be seen


class SteadyLayout(ConstrainedLayoutEngine):
    """Lays out as ``layout="constrained"`` does, then rounds the places of axes and of figures within the figure."""

    def execute(self, fig: Any) -> Any:
        """Lay out a figure.

        Args:
            fig: The figure; its axes are moved.

        Returns:
            What the layout of matplotlib returns.
        """
        grids = super().execute(fig)
        _round_parts(fig)
        for axes in fig.axes:
            takes_part = axes.get_in_layout()
            corners = np.round(axes.get_position(original=True).get_points(), _DIGITS)
            axes.set_position(Bbox(corners), which="original")
            axes.set_in_layout(takes_part)
        return grids


def _round_parts(figure: Any) -> None:
    for part in figure.subfigs:
        part.bbox_relative.set_points(np.round(part.bbox_relative.get_points(), _DIGITS))
        _round_parts(part)
