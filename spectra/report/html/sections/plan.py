"""The plans for the model: what each unit gets, and the score that it was made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from spectra.policies.dropout_plan import DropoutPlan
from spectra.policies.plan_record import NOUNS, Plan
from spectra.report.figures.plan import PlannedUnit, planned_units
from spectra.report.figures.series import look
from spectra.report.html.chart import Chart, depth_axis, plain_text, series
from spectra.report.html.content import PageContent
from spectra.report.html.section import Section
from spectra.results.words import counted

_MULTIPLIERS = ("learning_rate", "weight_decay")


@dataclass(frozen=True)
class ShownPlan:
    """A plan as the partial shows it.

    Attributes:
        file: Name of its file.
        sentences: What it says of itself.
        noun: What its numbers are.
        units: In the order of the model: name, score, value.
        chart: Of the numbers along the depth.
        notes: What to know before trusting it.
    """

    file: str
    sentences: tuple[str, ...]
    noun: str
    units: tuple[tuple[str, str, str], ...]
    chart: Chart
    notes: tuple[str, ...]


def section(content: PageContent) -> Section | None:
    """Make the section.

    Args:
        content: Of the page.

    Returns:
        ``None`` without a plan.
    """
    return plans_section(content.plans)


def plans_section(plans: Sequence[tuple[str, Plan | DropoutPlan]]) -> Section | None:
    """Make the section of any plans.

    Args:
        plans: By the name of their file.

    Returns:
        ``None`` without a plan.
    """
    shown = tuple(_shown(number, file, planned) for number, (file, planned) in enumerate(plans))
    if not shown:
        return None
    title = "Plan" if len(shown) == 1 else "Plans"
    return Section(name="plan", title=title, values={"plans": shown}, charts=tuple(plan.chart for plan in shown))


def _shown(number: int, file: str, planned: Plan | DropoutPlan) -> ShownPlan:
    units, depth_label = planned_units(planned)
    noun = "drop probability" if isinstance(planned, DropoutPlan) else NOUNS[planned.target]
    rows = tuple((unit.name, "–" if math.isnan(unit.score) else f"{unit.score:.4g}", f"{unit.value:.4g}") for unit in units)
    sentences = tuple(line[:1].upper() + line[1:] for line in str(planned).splitlines())
    notes = planned.notes if isinstance(planned, Plan) else ()
    return ShownPlan(file, sentences, noun, rows, _chart(f"plan-{number}", planned, units, depth_label, noun), notes)


def _chart(name: str, planned: Plan | DropoutPlan, units: list[PlannedUnit], depth_label: str, noun: str) -> Chart:
    traces, legend = [], []
    for number, role in enumerate(dict.fromkeys(unit.role for unit in units)):
        inside = [unit for unit in units if unit.role == role]
        made, entry = series(
            role or "block",
            look(number),
            [unit.place for unit in inside],
            [unit.value for unit in inside],
            texts=[_text(unit, noun) for unit in inside],
            rows=[None] * len(inside),
        )
        traces += made
        legend.append(entry)
    unchanged = 1.0 if isinstance(planned, Plan) and planned.target in _MULTIPLIERS else 0.0
    line = {"type": "line", "xref": "paper", "x0": 0, "x1": 1, "y0": unchanged, "y1": unchanged}
    values = [unit.value for unit in units]
    return Chart(
        name=name,
        alt=f"The {noun} of {counted(len(units), 'unit')} against {depth_label}, from {min(values):.4g} to {max(values):.4g}.",
        traces=traces,
        layout={
            "xaxis": depth_axis([unit.place for unit in units], depth_label),
            "yaxis": {"title": {"text": noun}},
            "shapes": [{**line, "layer": "below", "line": {"color": "var(--axis)", "width": 1, "dash": "dash"}}],
        },
        legend=tuple(legend),
        caption="On the dashed line nothing changes.",
        height=300,
    )


def _text(unit: PlannedUnit, noun: str) -> str:
    score = "" if math.isnan(unit.score) else f"<br>score {unit.score:.4g}"
    return f"<b>{plain_text(unit.name)}</b><br>{noun} {unit.value:.4g}{score}"
