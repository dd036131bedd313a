"""What a block has on average: the median over its matrices, with the middle half, along the depth of a model."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any

from spectra.report.figures.depth import Place
from spectra.report.figures.matrix_places import apart
from spectra.report.figures.series import draw_along_depth, draw_rings, look


def draw_block_medians(
    axes: Any,
    number: int,
    label: str,
    points: Sequence[tuple[Place, float, bool]],
    *,
    aside: float = 0.0,
    ringed: Collection[float] = (),
) -> None:
    """Draw the median over the matrices of each block, and bars over the middle half.

    Args:
        axes: Where.
        number: Of the series, from 0: how it looks.
        label: For the legend.
        points: Place and value of each matrix, and whether it is doubtful; a block is hollow if one of its matrices is. Without
            points nothing is drawn.
        aside: How far the series stands aside, in blocks.
        ringed: Depths of blocks that get a ring.
    """
    if not points:
        return
    at = {place.depth: place for place, _, _ in sorted(points, key=lambda point: point[0].depth)}
    inside = [[point for point in points if point[0].depth == depth] for depth in at]
    bands = [quartiles([value for _, value, _ in block]) for block in inside]
    draw_along_depth(
        axes,
        *look(number),
        label,
        [apart(place, aside) for place in at.values()],
        [middle for _, middle, _ in bands],
        bars=[(middle - low, high - middle) for low, middle, high in bands],
        hollow=[any(is_doubtful for _, _, is_doubtful in block) for block in inside],
    )
    draw_rings(axes, [(depth + aside, band[1]) for depth, band in zip(at, bands, strict=True) if depth in ringed])


def quartiles(values: Any) -> Any:
    """Return quartile, median and quartile over the first axis.

    Args:
        values: Shape ``(n, ...)``.

    Returns:
        Shape ``(3, ...)``.
    """
    import numpy as np

    return np.quantile(values, (0.25, 0.5, 0.75), axis=0)
