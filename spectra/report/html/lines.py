"""Lines over time on the page: one for each layer, named and made bold where the pointer is, and the median of all."""

from __future__ import annotations

import math
import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from spectra.report.figures.series import look
from spectra.report.html.chart import LegendEntry, look_of, plain_text, rounded

MEDIAN = "median"
_FEW_STEPS = 8  # that an axis names one by one


@dataclass(frozen=True)
class Line:
    """A line over time.

    Attributes:
        name: Of the layer or unit.
        group: Lines of one group share a colour, and an entry in the legend.
        values: One for each time; NaN leaves a gap.
        row: Of the table of layers, which a click leads to; ``None`` for none.
    """

    name: str
    group: str
    values: Sequence[float]
    row: int | None = None


def lines_over_time(
    times: Sequence[float], lines: Sequence[Line], *, time: str, value: str, is_stepped: bool = False
) -> tuple[list[dict[str, Any]], tuple[LegendEntry, ...]]:
    """Make the traces of lines over time: one for each group, and one for the median.

    Args:
        times: On the horizontal axis.
        lines: At least one.
        time: What a time is called, such as ``"step"``.
        value: What a value is called.
        is_stepped: Whether a value holds until the next time.

    Returns:
        Traces and legend; a single line has neither median nor legend.
    """
    traces, legend = [], []
    shape = "hv" if is_stepped else "linear"
    for number, group in enumerate(dict.fromkeys(line.group for line in lines)):
        color, _, _ = look_of(*look(number))
        inside = [line for line in lines if line.group == group]
        traces.append(_group_trace(times, inside, color, shape, time, value, is_alone=len(lines) == 1))
        legend.append(LegendEntry(group or "each", "—", color, group))
    if len(lines) > 1:
        middle = [_median([line.values[i] for line in lines]) for i in range(len(times))]
        hover = f"<b>{MEDIAN}</b><br>{time} %{{x}}: {value} %{{y:.4g}}<extra></extra>"
        line = {"color": "var(--ink)", "width": 2.5, "shape": shape}
        style = {"line": line, "hovertemplate": hover, "legendgroup": MEDIAN}
        traces.append(_trace([*times], [rounded(v) for v in middle], **style))
        legend.append(LegendEntry(MEDIAN, "—", "var(--ink)", MEDIAN))
    return traces, tuple(legend)


def step_axis(steps: Sequence[float]) -> dict[str, Any]:
    """Make the horizontal axis of optimizer steps, which are whole numbers.

    Args:
        steps: On it, at least one.

    Returns:
        An axis as plotly takes it.
    """
    axis: dict[str, Any] = {"title": {"text": "optimizer step"}, "tickformat": ",d"}
    if max(steps) - min(steps) <= _FEW_STEPS:
        axis |= {"dtick": 1}
    return axis | ({"range": [steps[0] - 1, steps[0] + 1]} if len(set(steps)) == 1 else {})


def _group_trace(
    times: Sequence[float], lines: Sequence[Line], color: str, shape: str, time: str, value: str, *, is_alone: bool
) -> dict[str, Any]:
    """Make one trace of all lines of a group, with a gap after each: two thousand traces would be slow."""
    x: list[float | None] = []
    y: list[float | None] = []
    names: list[str | None] = []
    rows: list[int | None] = []
    for line in lines:
        x += [*times, None]
        y += [*(rounded(v) for v in line.values), None]
        names += [plain_text(line.name)] * len(times) + [None]
        rows += [line.row] * len(times) + [None]
    return _trace(
        x,
        y,
        text=names,
        customdata=rows,
        meta="lines",
        line={"color": color, "width": 2 if is_alone else 1.25, "shape": shape},
        opacity=1.0 if is_alone else 0.55,
        hovertemplate=f"<b>%{{text}}</b><br>{time} %{{x}}: {value} %{{y:.4g}}<extra></extra>",
        legendgroup=lines[0].group,
    )


def _trace(x: Sequence[float | None], y: Sequence[float | None], **style: Any) -> dict[str, Any]:
    # A line of one point is not seen: a mark is.
    has_marks = sum(value is not None for value in x) > 0 and len({value for value in x if value is not None}) == 1
    mode = "markers" if has_marks else "lines"
    return {"type": "scatter", "mode": mode, "x": list(x), "y": list(y), "showlegend": False, "connectgaps": False, **style}


def _median(values: Sequence[float]) -> float:
    finite = [value for value in values if math.isfinite(value)]
    return statistics.median(finite) if finite else math.nan
