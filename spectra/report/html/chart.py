"""Charts of the page: figures of plotly's as plain values, in the page's words, colours and marks."""

from __future__ import annotations

import html
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from spectra.report.figures.depth import Place, depth_ticks
from spectra.report.figures.style import COLORS, MARKERS

# What matplotlib's markers are called here, and the character that looks like them in a legend.
_SYMBOLS = {
    "o": ("circle", "●"),
    "s": ("square", "■"),
    "^": ("triangle-up", "▲"),
    "D": ("diamond", "◆"),
    "v": ("triangle-down", "▼"),
    "P": ("cross", "✚"),
    "X": ("x", "✖"),
}
_WHOLE_BY_ITSELF = 10  # on an axis of this length plotly chooses whole numbers; on a shorter one halves, too
_ALPHA = {r"$\alpha$": "α", r"$\sum F\,\theta^2$": "Σ F θ²"}


@dataclass(frozen=True)
class LegendEntry:
    """A series in the legend, which is text of the page: it can be read out, and pressed to hide the series.

    Attributes:
        label: What the series is.
        glyph: Its mark.
        color: As CSS has it.
        group: Its traces have this ``legendgroup``.
    """

    label: str
    glyph: str
    color: str
    group: str


@dataclass(frozen=True, kw_only=True)
class Chart:
    """A chart.

    Attributes:
        name: Unique on the page.
        alt: What it shows, in words, for those who do not see it.
        traces: As plotly takes them; numbers finite or ``None``. Texts are read as HTML there: see :func:`plain_text`. A point
            whose ``customdata`` is the number of a row of the table leads to that layer.
        layout: Beside what all charts share.
        legend: Series, if there are several.
        caption: What to know when reading it.
        height: In pixels.
    """

    name: str
    alt: str
    traces: Sequence[Mapping[str, Any]]
    layout: Mapping[str, Any]
    legend: tuple[LegendEntry, ...] = ()
    caption: str = ""
    height: int = 360

    def figure(self) -> dict[str, Any]:
        """Return what the script draws."""
        return {"data": list(self.traces), "layout": dict(self.layout)}


def plain_text(text: str) -> str:
    """Escape a text for plotly, which reads labels as HTML: a name stays a name."""
    return html.escape(text, quote=False)


def words(label: str) -> str:
    """Write the label of a figure for papers without its formulas."""
    for formula, word in _ALPHA.items():
        label = label.replace(formula, word)
    return label


def rounded(value: float, digits: int = 6) -> float | None:
    """Round to significant digits; ``None`` for what is not finite, as JSON has no other word for it."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def look_of(color: str, marker: str) -> tuple[str, str, str]:
    """Translate the look of a series of a figure for papers.

    Args:
        color: A colour of the palette, or a grey.
        marker: As matplotlib names it.

    Returns:
        Colour as CSS has it, symbol of plotly's, and the character for a legend.
    """
    css = f"var(--color-{COLORS.index(color) + 1})" if color in COLORS else "var(--ink)"
    assert marker in MARKERS
    return (css, *_SYMBOLS[marker])


def series(
    label: str,
    look: tuple[str, str],
    placed: Sequence[Place],
    values: Sequence[float],
    *,
    texts: Sequence[str],
    rows: Sequence[int | None],
    bars: Sequence[float] = (),
    hollow: Sequence[bool] = (),
    is_joined: bool = True,
) -> tuple[list[dict[str, Any]], LegendEntry]:
    """Make a series of layers along the depth, with a line through each stack of blocks.

    Args:
        label: For the legend.
        look: Colour and marker, as ``report.figures.series.look`` chooses them.
        placed: Where its layers stand.
        values: Their heights.
        texts: What is said at a point, as plotly's HTML.
        rows: Which row of the table each point leads to.
        bars: Half lengths of error bars, if there are any.
        hollow: Which points are doubtful.
        is_joined: Whether a line may join them; layers that share a depth are never joined.

    Returns:
        Traces of one legend group, and the entry for it.
    """
    depths = [place.depth for place in placed]
    points, entry = points_of(label, look, depths, values, texts=texts, rows=rows, hollow=hollow)
    if bars:
        points["error_y"] = {"array": [rounded(bar) for bar in bars], "thickness": 1, "width": 0, "color": entry.color}
    if not (is_joined and len(set(depths)) == len(depths) > 1):
        return [points], entry
    lines = []
    for stack in dict.fromkeys(place.stack for place in placed):
        inside = [i for i, place in enumerate(placed) if place.stack == stack and not place.is_end]
        line = {"x": [depths[i] for i in inside], "y": [rounded(values[i]) for i in inside], "legendgroup": label}
        style = {"mode": "lines", "hoverinfo": "skip", "opacity": 0.45, "line": {"color": entry.color, "width": 1.25}}
        lines.append({"type": "scatter", "showlegend": False, **line, **style})
    return [*lines, points], entry


def points_of(
    label: str,
    look: tuple[str, str],
    x: Sequence[float],
    y: Sequence[float],
    *,
    texts: Sequence[str],
    rows: Sequence[int | None],
    hollow: Sequence[bool] = (),
) -> tuple[dict[str, Any], LegendEntry]:
    """Make a series of points.

    Args:
        label: For the legend.
        look: Colour and marker, as ``report.figures.series.look`` chooses them.
        x: Where they stand.
        y: Their heights.
        texts: What is said at a point, as plotly's HTML.
        rows: Which row of the table each point leads to.
        hollow: Which points are doubtful.

    Returns:
        The trace, and the entry for the legend.
    """
    color, symbol, glyph = look_of(*look)
    symbols = [f"{symbol}-open" if is_open else symbol for is_open in hollow or [False] * len(y)]
    trace = {
        "type": "scatter",
        "mode": "markers",
        "x": [rounded(value) for value in x],
        "y": [rounded(value) for value in y],
        "text": list(texts),
        "customdata": list(rows),
        "hovertemplate": "%{text}<extra></extra>",
        "marker": {"color": color, "size": 8, "symbol": symbols, "line": {"width": 1.5, "color": color}},
        "legendgroup": label,
        "name": plain_text(label),
        "showlegend": False,
    }
    return trace, LegendEntry(label, glyph, color, label)


def depth_axis(placed: Sequence[Place], label: str) -> dict[str, Any]:
    """Make the horizontal axis of depths.

    Args:
        placed: The layers on it.
        label: What it is called.

    Returns:
        An axis as plotly takes it.
    """
    depths = [place.depth for place in placed]
    margin = max(0.5, 0.03 * (max(depths) - min(depths)))
    axis: dict[str, Any] = {"title": {"text": plain_text(label)}, "range": [min(depths) - margin, max(depths) + margin]}
    ticks = depth_ticks(placed)
    if ticks:
        axis |= {"tickvals": list(ticks), "ticktext": [plain_text(text) for text in ticks.values()]}
    elif max(depths) - min(depths) < _WHOLE_BY_ITSELF:
        axis["dtick"] = 1
    return axis
