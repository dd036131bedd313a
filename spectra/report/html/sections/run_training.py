"""How training went: losses, metrics of evaluations, and learning rates, against the optimizer steps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from spectra.report.figures.losses import LOSS
from spectra.report.figures.metrics import MetricSeries, metric_panels, metric_series
from spectra.report.figures.series import look
from spectra.report.html.chart import Chart, LegendEntry, look_of, plain_text, rounded
from spectra.report.html.lines import step_axis
from spectra.report.html.run_state import RunState
from spectra.report.html.section import Section
from spectra.results.run_metrics import EVAL, series
from spectra.results.words import counted

_FEW = 24  # points that are worth a mark each
_MOST_POINTS = 2000  # of a line; a window has not that many columns
_RATE = "learning_rate"


def section(run: RunState) -> Section | None:
    """Make the section.

    Args:
        run: Of the page.

    Returns:
        ``None`` where nothing is logged yet.
    """
    charts = [chart for chart in (_losses(run), *_metrics(run), _rates(run)) if chart is not None]
    return Section(name="run_training", title="Training", charts=tuple(charts)) if charts else None


def _losses(run: RunState) -> Chart | None:
    lines = run.files.lines
    found = {"training": series(lines, LOSS), "evaluation": series(lines, EVAL + LOSS)}
    found = {name: values for name, values in found.items() if values}
    if not found:
        return None
    traces = [_line(number, name, values) for number, (name, values) in enumerate(found.items())]
    ends = "; ".join(f"{name} from {_first(values)} to {_last(values)}" for name, values in found.items())
    caption = "In training: the mean over the steps since the log line before, with dropout at work."
    thinned = max(map(len, found.values())) > _MOST_POINTS
    return Chart(
        name="losses",
        alt=f"Losses against the optimizer step: {ends}.",
        traces=traces,
        layout=_layout("loss", *found.values()),
        legend=_legend(list(found)),
        caption=caption + (f" Of long logs {_MOST_POINTS} lines, evenly spaced." if thinned else ""),
        height=300,
    )


def _metrics(run: RunState) -> list[Chart]:
    series_of = metric_series(run.files.lines, run.content.record if run.content else None)
    charts: list[Chart] = []
    for group in metric_panels(series_of):
        inside = {name: series_of[name] for name in group}
        traces = [trace for number, (name, one) in enumerate(inside.items()) for trace in _metric(number, name, one)]
        label = group[0] if len(group) == 1 else "metric"
        has_stars = any(one.tested for one in inside.values())
        ends = [_ends(name, one) for name, one in inside.items()]
        charts.append(
            Chart(
                name=f"metric-{len(charts)}",
                alt=f"Metrics against the optimizer step: {'; '.join(ends)}.",
                traces=traces,
                layout=_layout(
                    plain_text(label), *(values for one in inside.values() for values in (one.evaluated, one.tested))
                ),
                legend=_legend(group),
                caption="Stars are of the test data, at the step whose weights were kept." if has_stars else "",
                height=300,
            )
        )
    return charts


def _rates(run: RunState) -> Chart | None:
    rates = series(run.files.lines, _RATE)
    if len(rates) < 2:
        return None
    return Chart(
        name="learning-rate",
        alt=f"Learning rate of the schedule against the optimizer step, {counted(len(rates), 'log line')}.",
        traces=[_line(2, "learning rate", rates)],
        layout=_layout("learning rate", rates),
        caption="Of the schedule; a policy multiplies it unit by unit." if run.files.scales else "",
        height=300,
    )


def _metric(number: int, name: str, one: MetricSeries) -> list[dict[str, Any]]:
    traces = [_line(number, name, one.evaluated)] if one.evaluated else []
    if one.tested:
        style = {
            "color": look_of(*look(number))[0],
            "symbol": "star",
            "size": 13,
            "line": {"width": 1, "color": "var(--paper)"},
        }
        traces.append(_line(number, name, one.tested, words="test") | {"mode": "markers", "marker": style})
    return traces


def _line(number: int, name: str, values: Mapping[int, float], *, words: str = "") -> dict[str, Any]:
    color, symbol, _ = look_of(*look(number))
    points = list(values.items())
    points = points[:: math.ceil(len(points) / _MOST_POINTS)]
    return {
        "type": "scatter",
        "mode": "lines+markers" if len(points) <= _FEW else "lines",
        "x": [step for step, _ in points],
        "y": [rounded(value) for _, value in points],
        "line": {"color": color, "width": 2},
        "marker": {"color": color, "symbol": symbol, "size": 7},
        "hovertemplate": f"{plain_text(name)}{f' ({words})' if words else ''}<br>step %{{x}}: %{{y:.4g}}<extra></extra>",
        "legendgroup": name,
        "showlegend": False,
    }


def _legend(names: Sequence[str]) -> tuple[LegendEntry, ...]:
    looks = [look_of(*look(number)) for number in range(len(names))]
    return tuple(LegendEntry(name, glyph, color, name) for name, (color, _, glyph) in zip(names, looks, strict=True))


def _layout(label: str, *found: Mapping[int, float]) -> dict[str, Any]:
    steps = [step for values in found for step in values]
    return {"xaxis": step_axis(steps), "yaxis": {"title": {"text": label}, "exponentformat": "power"}}


def _ends(name: str, one: MetricSeries) -> str:
    parts = [f"from {_first(one.evaluated)} to {_last(one.evaluated)} in evaluations"] if one.evaluated else []
    parts += [f"{_last(one.tested)} on the test data"] if one.tested else []
    return f"{name} {', '.join(parts)}"


def _first(values: Mapping[int, float]) -> str:
    return f"{next(iter(values.values())):.4g}"


def _last(values: Mapping[int, float]) -> str:
    return f"{list(values.values())[-1]:.4g}"
