"""Names beside points, each where it covers no other name, point or edge of the axes, if there is such a place."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from spectra.report.figures.titles import drawn_name

# In points, from the middle of a marker; the first that is free is taken.
_PLACES = (
    ((4.0, 0.0), "left", "center"),
    ((-4.0, 0.0), "right", "center"),
    ((0.0, 4.0), "center", "bottom"),
    ((0.0, -4.0), "center", "top"),
    ((3.0, 3.0), "left", "bottom"),
    ((-3.0, 3.0), "right", "bottom"),
    ((3.0, -3.0), "left", "top"),
    ((-3.0, -3.0), "right", "top"),
)
_SIZE = 6.0  # points


def name_points(figure: Any, axes: Any, names: Sequence[str], x: Sequence[float], y: Sequence[float]) -> None:
    """Write names beside points, point by point; one that is free nowhere goes to the right.

    Args:
        figure: With a layout, which is computed once for the sizes of the names, and stays as it is.
        axes: Drawn, with their final limits.
        names: Of the points.
        x: Their places.
        y: Their heights.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.transforms import Bbox

    figure.draw_without_rendering()
    renderer = FigureCanvasAgg(figure).get_renderer()  # type: ignore[no-untyped-call]
    half = 2.5 * figure.dpi / 72.0  # of a marker
    centers = axes.transData.transform(list(zip(x, y, strict=True)))
    taken = [Bbox.from_extents(cx - half, cy - half, cx + half, cy + half) for cx, cy in centers.tolist()]
    inside = axes.get_window_extent(renderer)
    for name, *at in zip(names, x, y, strict=True):
        fixed: dict[str, Any] = {"textcoords": "offset points", "fontsize": _SIZE, "parse_math": False, "color": "0.25"}
        text = axes.annotate(drawn_name(name), at, xytext=(0.0, 0.0), **fixed)
        text.set_in_layout(False)
        best = None
        for offset, ha, va in _PLACES:
            text.set(position=offset, ha=ha, va=va)
            box = text.get_window_extent(renderer)
            if not box.count_overlaps(taken) and inside.containsx(box.x0) and inside.containsx(box.x1):
                best = box
                break
        if best is None:
            offset, ha, va = _PLACES[0]
            text.set(position=offset, ha=ha, va=va)
        taken.append(best or text.get_window_extent(renderer))
