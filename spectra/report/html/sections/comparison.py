"""What changed between models: in words, along the depth, and over time where the models are checkpoints of one run."""

from __future__ import annotations

import math
from collections.abc import Sequence

from spectra.report.comparison_table import models_rows
from spectra.report.figures.matrix_places import PlacedMatrix, apart, asides, place_matrices
from spectra.report.figures.series import look
from spectra.report.html.chart import Chart, depth_axis, plain_text, series
from spectra.report.html.lines import Line, lines_over_time
from spectra.report.html.section import Figure, Section
from spectra.results.comparison import Comparison, MatrixComparison
from spectra.results.comparison_conclusion import conclusion
from spectra.results.words import counted

_LOG_FROM = 10.0  # largest over smallest change; below, a logarithmic axis would have one or two numbers on it
_SPREAD = 0.56  # of a block: over it series stand side by side, so that they do not hide each other
_CHANGE = "relative change ‖ΔW‖ / ‖W‖"
_OVER_TIME = {"relative_change": _CHANGE, "alpha": "alpha"}


def section(comparison: Comparison) -> Section:
    """Make the section.

    Args:
        comparison: Of the page.

    Returns:
        It is never missing.
    """
    headings, models = models_rows(comparison) if len(comparison.models) > 1 else ([], [])
    notes = [*comparison.notes, *(note for model in comparison.models for note in model.notes)]
    over_time = [_trajectory(comparison, metric) for metric in _OVER_TIME] if comparison.over_time else []
    charts = [chart for chart in (*over_time, _by_depth(comparison)) if chart is not None]
    values = {
        "words": str(comparison).splitlines() if not models else [],
        "conclusion": conclusion(comparison).removesuffix("."),
        "figures": _figures(comparison) if not models else [],
        "headings": headings,
        "models": models,
        "notes": notes,
    }
    return Section(name="comparison", title="Comparison", values=values, charts=tuple(charts))


def _figures(comparison: Comparison) -> list[Figure]:
    rows = comparison.rows
    change = comparison.relative_change(comparison.models[0].name)
    figures = [Figure("Changed", f"{sum(row.is_changed for row in rows)} of {len(rows)}", "matrices")]
    if math.isfinite(change):
        figures.append(Figure("Size of the change", f"{change:.3g}", "of the norm of the weights"))
    intruders = [row.num_intruders for row in rows if row.num_intruders is not None]
    if intruders:
        detail = f"in {_matrices(sum(number > 0 for number in intruders))}" if any(intruders) else "in no matrix"
        figures.append(Figure("Intruders", str(sum(intruders)), detail))
    good = [row for row in rows if row.has_good_fits and math.isfinite(row.alpha_change)]
    if good:
        mean = math.fsum(row.alpha_change for row in good) / len(good)
        figures.append(Figure("Mean change of alpha", f"{mean:+.3f}".replace("-", "−"), f"{len(good)} with good fits"))
    return figures


def _by_depth(comparison: Comparison) -> Chart | None:
    """Draw relative changes: of one model by kind of layer, of several by model, of checkpoints the last."""
    shown = comparison.models[-1:] if comparison.over_time else comparison.models
    numbers = {id(row): number for number, row in enumerate(comparison.rows)}
    names = {model.name for model in shown}
    rows = [row for row in comparison.rows if row.model in names and row.is_changed and math.isfinite(row.relative_change)]
    if not rows:
        return None
    placed, depth_label = place_matrices(rows)
    groups = [(p.matrix.model if len(shown) > 1 else p.role) for p in placed]
    labels = list(dict.fromkeys(groups))
    traces, legend = [], []
    for number, (label, aside) in enumerate(zip(labels, asides(len(labels), _SPREAD), strict=True)):
        inside = [point for point, group in zip(placed, groups, strict=True) if group == label]
        made, entry = series(
            label,
            look(number),
            [apart(point.place, aside) for point in inside],
            [point.matrix.relative_change for point in inside],
            texts=[_text(point) for point in inside],
            rows=[numbers[id(point.matrix)] for point in inside],
            hollow=[not point.matrix.is_reliable for point in inside],
            is_joined=len(shown) == 1,
        )
        traces += made
        legend.append(entry)
    values = [row.relative_change for row in rows]
    ringed = [point for point in placed if point.matrix.intruders]
    return Chart(
        name="change-by-depth",
        alt=f"Relative change of {_matrices(len(rows))} against {depth_label}, from {min(values):.3g} to {max(values):.3g}.",
        traces=traces,
        layout={"xaxis": depth_axis([p.place for p in placed], depth_label), "yaxis": _change_axis(values)},
        legend=tuple(legend),
        caption=_caption(comparison, rows, len(ringed)),
    )


def _change_axis(values: Sequence[float]) -> dict[str, object]:
    title = {"title": {"text": _CHANGE}, "exponentformat": "power"}
    is_log = _LOG_FROM * min(values) <= max(values)
    return title | ({"type": "log", "dtick": 1} if is_log else {"rangemode": "tozero"})


def _caption(comparison: Comparison, rows: Sequence[MatrixComparison], num_ringed: int) -> str:
    parts = [f"Of the last checkpoint, {comparison.models[-1].name}."] if comparison.over_time else []
    if any(not row.is_reliable for row in rows):
        parts.append("Hollow marks: a tenth of the change or more may be rounding.")
    if num_ringed:
        parts.append(f"{_matrices(num_ringed)} with intruders: filter the table by it.")
    return " ".join([*parts, "Click a point to see its spectra."])


def _text(point: PlacedMatrix[MatrixComparison]) -> str:
    row = point.matrix
    parts = [f"<b>{plain_text(row.matrix_name)}</b>", f"{plain_text(row.model)}: change {row.relative_change:.3g}"]
    return "<br>".join([*parts, plain_text(row.verdict)] if row.verdict else parts)


def _trajectory(comparison: Comparison, metric: str) -> Chart | None:
    """Follow a number of every matrix over the checkpoints; of alpha those with good fits in all."""
    lines = comparison.trajectory(metric)
    doubtful = {row.matrix_name for row in comparison.rows if not row.has_good_fits} if metric == "alpha" else set()
    names = [name for name in comparison.matrix_names if all(map(math.isfinite, lines[name])) and name not in doubtful]
    if not names:
        return None
    # The rows of the last model, to which a click leads.
    last = {
        row.matrix_name: (number, row) for number, row in enumerate(comparison.rows) if row.model == comparison.models[-1].name
    }
    placed, _ = place_matrices([last[name][1] for name in names])
    drawn = [Line(name, point.role, lines[name], last[name][0]) for name, point in zip(names, placed, strict=True)]
    steps = [comparison.base_step or 0, *(model.step for model in comparison.models)]
    known = [step for step in steps if step is not None]
    is_stepped = len(set(known)) == len(steps)
    times = known if is_stepped else list(range(len(steps)))
    traces, legend = lines_over_time(times, drawn, time="step" if is_stepped else "checkpoint", value=_OVER_TIME[metric])
    all_names = [comparison.base.name, *(model.name for model in comparison.models)]
    axis = (
        {"title": {"text": "step"}, "tickvals": times}
        if is_stepped
        else {"tickvals": times, "ticktext": [*map(plain_text, all_names)]}
    )
    words = f"{_OVER_TIME[metric]} of {_matrices(len(names))} over {counted(len(comparison.models), 'checkpoint')}"
    return Chart(
        name=f"trajectory-{metric}",
        alt=f"{words[:1].upper()}{words[1:]}.",
        traces=traces,
        layout={"xaxis": axis, "yaxis": {"title": {"text": _OVER_TIME[metric]}, "exponentformat": "power"}},
        legend=legend,
        caption=f"{len(names)} of {_matrices(len(comparison.matrix_names))}"
        + (", with good fits throughout." if doubtful else "."),
        height=340,
    )


def _matrices(number: int) -> str:
    return counted(number, "matrix", "matrices")
