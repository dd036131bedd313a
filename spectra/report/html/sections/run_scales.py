"""What diagnostics did in training: multipliers of learning rates and weight decays by unit, and the scores behind them."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

from spectra.policies.plan_record import NOUNS
from spectra.report.figures.style import COLORS
from spectra.report.figures.units import placed_units, score_label
from spectra.report.html.chart import Chart, words
from spectra.report.html.lines import Line, lines_over_time, step_axis
from spectra.report.html.run_state import RunState
from spectra.report.html.section import Section
from spectra.report.run_diagnostics import NAMES, scales_words
from spectra.results.scale_log import ScaleLogContent
from spectra.results.words import counted

_SCALES = "Held from one update to the next; on the dashed line nothing changes."
_SCORES = "The scores that multipliers are made of."


def section(run: RunState) -> Section | None:
    """Make the section.

    Args:
        run: Of the page.

    Returns:
        ``None`` where no multiplier was at work.
    """
    logs = run.files.scales
    if not logs:
        return None
    groups = [(scales_words(NAMES[name], log), _charts(name, log, run.last_step), log.notes) for name, log in logs.items()]
    charts = tuple(chart for _, made, _ in groups for chart in made)
    return Section(name="run_scales", title="Multipliers", values={"groups": groups}, charts=charts)


def _charts(name: str, log: ScaleLogContent, last_step: int) -> list[Chart]:
    targets = list(dict.fromkeys(record.target for record in log.records))
    charts = []
    for target in targets:
        records = [record for record in log.records if record.target == target]
        steps, scales = [record.step for record in records], [record.scales for record in records]
        if last_step > steps[-1]:  # until the next update, or the end
            steps, scales = [*steps, last_step], [*scales, scales[-1]]
        charts.append(_chart(f"{name}-{target}", log, steps, scales, NOUNS[target], is_stepped=True))
    first = [record for record in log.records if record.target == targets[0]]
    if len(first) > 1:
        steps, scores = [record.step for record in first], [record.scores for record in first]
        charts.append(_chart(f"{name}-scores", log, steps, scores, words(score_label(log.header.policy)), is_stepped=False))
    return charts


def _chart(
    name: str,
    log: ScaleLogContent,
    steps: Sequence[int],
    values: Sequence[Mapping[str, float]],
    label: str,
    *,
    is_stepped: bool,
) -> Chart:
    units = list(log.header.units)
    roles = [role or "block" for role, _ in placed_units(log.header.units)[0]]
    groups = units if len(units) <= len(COLORS) else roles  # few enough for a colour each
    lines = [Line(unit, group, [row.get(unit, math.nan) for row in values]) for unit, group in zip(units, groups, strict=True)]
    traces, legend = lines_over_time(steps, lines, time="step", value=label, is_stepped=is_stepped)
    known = [value for line in lines for value in line.values if math.isfinite(value)]
    spread = f", from {min(known):.3g} to {max(known):.3g}" if known else ""
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": 1, "y1": 1, "layer": "below"}
    shapes = [{**line, "line": {"color": "var(--axis)", "width": 1, "dash": "dash"}}] if is_stepped else []
    return Chart(
        name=name,
        alt=f"The {label} of {counted(len(lines), 'unit')} over the optimizer steps{spread}.",
        traces=traces,
        layout={"xaxis": step_axis(steps), "yaxis": {"title": {"text": label}}, "shapes": shapes},
        legend=legend,
        caption=_SCALES if is_stepped else _SCORES,
        height=320,
    )
