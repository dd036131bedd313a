"""A plan along the depth of its model: what each unit gets, under the score that it was made of."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from spectra.policies.drop_controls import DropControl
from spectra.policies.dropout_plan import DropoutPlan
from spectra.policies.plan_record import NOUNS, Plan
from spectra.report.figures.depth import Place, name_the_depths, places
from spectra.report.figures.series import add_legend, aspect, draw_along_depth, look
from spectra.report.figures.style import COLORS, COLUMN_WIDTH, TEXT_WIDTH, style
from spectra.report.figures.titles import add_title
from spectra.report.figures.units import placed_units, scale_multipliers, score_label

if TYPE_CHECKING:
    from matplotlib.figure import Figure

_SCORE_PANEL = 0.5  # height over column width
_WITHOUT_SCORE = "hollow: no score"
_LOG_FROM = 100.0  # scores that span more than this are drawn on a logarithmic axis: Fisher scores do
_MULTIPLIERS = ("learning_rate", "weight_decay")


@dataclass(frozen=True)
class PlannedUnit:
    """A unit of a plan along the depth of its model.

    Attributes:
        name: Of the unit, or of the dropout site.
        role: What it is within its block; empty for a whole block.
        place: Where its first layer stands.
        value: What it gets.
        score: What that was made of; NaN without one.
    """

    name: str
    role: str
    place: Place
    value: float
    score: float


def plan(planned: Plan | DropoutPlan, *, wide: bool = False) -> Figure:
    """Draw the number of every unit against its depth, and over it the score that it was made of.

    A unit stands where its first layer stands; a drop probability where its dropout site does. Where a model is one stack of
    blocks with a unit each, numbers are drawn from the line that changes nothing; otherwise units of one kind are one series.
    Hollow units have no score.

    Args:
        planned: Any plan.
        wide: Text width instead of column width.

    Returns:
        The figure; of one panel where no unit has a score.
    """
    units, depth_label = planned_units(planned)
    roles = list(dict.fromkeys(unit.role for unit in units))
    with_scores = any(not math.isnan(unit.score) for unit in units)
    with style():
        figure, axes, above = _panels(roles, wide=wide, with_scores=with_scores)
        target = planned.target if isinstance(planned, Plan) else ""
        unchanged = 1.0 if target in _MULTIPLIERS else 0.0
        axes.axhline(unchanged, color="0.6", linewidth=0.6, linestyle=(0, (4, 2)), zorder=1)
        axes.yaxis.get_major_locator().set_params(integer=target == "adapter_rank")
        if target in _MULTIPLIERS:
            scale_multipliers(axes, [unit.value for unit in units])
        if len(roles) > 1:
            _draw_series(axes, units, [unit.value for unit in units])
        else:
            _draw_stems(axes, units, unchanged)
        if above is not None:
            _draw_scores(above, units)
            above.set_ylabel(_score_label(planned))
        hollow = above is not None and any(math.isnan(unit.score) for unit in units)
        axes.set_xlabel(depth_label + (f"\n({_WITHOUT_SCORE})" if hollow else ""))
        axes.set_ylabel("drop probability" if isinstance(planned, DropoutPlan) else NOUNS[planned.target])
        name_the_depths(axes, [unit.place for unit in units])
        add_title(figure.axes[0], *_title(planned), wide=wide)
        if len(roles) > 1:
            add_legend(figure, axes, wide=wide)
    return figure


def planned_units(planned: Plan | DropoutPlan) -> tuple[list[PlannedUnit], str]:
    """Place the units of a plan along the depth of its model.

    Args:
        planned: Any plan.

    Returns:
        Its units, or dropout sites, in their order, and what the axis of depth is called.
    """
    return _sites(planned) if isinstance(planned, DropoutPlan) else _units(planned)


def _units(planned: Plan) -> tuple[list[PlannedUnit], str]:
    placed, depth_label = placed_units(planned.members)
    units = [
        PlannedUnit(unit, role, place, planned.values[unit], planned.scores.get(unit, math.nan))
        for unit, (role, place) in zip(planned.members, placed, strict=True)
    ]
    return units, depth_label


def _sites(planned: DropoutPlan) -> tuple[list[PlannedUnit], str]:
    placed, depth_label = places(list(planned.rates))
    units = [
        PlannedUnit(name, planned.roles[name], place, rate, planned.scores.get(name, math.nan))
        for (name, rate), place in zip(planned.rates.items(), placed, strict=True)
    ]
    return units, depth_label


def _panels(roles: Sequence[str], *, wide: bool, with_scores: bool) -> tuple[Figure, Any, Any]:
    """Make the axes of the values and, over it, that of the scores."""
    from matplotlib.figure import Figure

    height = aspect(roles, wide=wide) if len(roles) > 1 else 0.6
    total = height + _SCORE_PANEL * with_scores
    figure = Figure(figsize=(TEXT_WIDTH if wide else COLUMN_WIDTH, COLUMN_WIDTH * total), layout="constrained")
    if not with_scores:
        return figure, figure.add_subplot(), None
    above, axes = figure.subplots(2, 1, sharex=True, height_ratios=[_SCORE_PANEL, 0.6])
    return figure, axes, above


def _draw_scores(axes: Any, units: Sequence[PlannedUnit]) -> None:
    scores = [unit.score for unit in units if not math.isnan(unit.score)]
    if min(scores) > 0.0 and max(scores) / min(scores) > _LOG_FROM:
        axes.set_yscale("log")
    _draw_series(axes, units, [unit.score for unit in units])
    axes.tick_params(labelbottom=False)


def _draw_series(axes: Any, units: Sequence[PlannedUnit], values: Sequence[float]) -> None:
    for number, role in enumerate(dict.fromkeys(unit.role for unit in units)):
        inside = [i for i, unit in enumerate(units) if unit.role == role]
        draw_along_depth(
            axes,
            *look(number),
            role or "block",
            [units[i].place for i in inside],
            [values[i] for i in inside],
            bars=[(math.nan, math.nan)] * len(inside),
            hollow=[_hollow(units)[i] for i in inside],
        )


def _hollow(units: Sequence[PlannedUnit]) -> list[bool]:
    """Say which units have no score where others have one."""
    without = [math.isnan(unit.score) for unit in units]
    return [False] * len(units) if all(without) else without


def _draw_stems(axes: Any, units: Sequence[PlannedUnit], start: float) -> None:
    depths, values = [unit.place.depth for unit in units], [unit.value for unit in units]
    fills = ["white" if hollow else COLORS[0] for hollow in _hollow(units)]
    axes.vlines(depths, start, values, color=COLORS[0], linewidth=1.2, alpha=0.6, zorder=2)
    axes.scatter(depths, values, s=14, facecolors=fills, edgecolors=COLORS[0], linewidths=0.8, zorder=3)


def _score_label(planned: Plan | DropoutPlan) -> str:
    if isinstance(planned, DropoutPlan):
        return "Fisher score"
    return score_label(planned.settings)


def _title(planned: Plan | DropoutPlan) -> tuple[str, ...]:
    if isinstance(planned, DropoutPlan):
        policy = "guided-dropout" + (f" ({planned.control})" if planned.control != DropControl.GUIDED else "")
    else:
        policy = planned.policy
    return (planned.model, policy) if planned.model else (policy,)
