"""Alpha along the depth of the model, one series per kind of layer."""

from __future__ import annotations

from spectra.report.figures.fitted_layers import FittedLayer, fitted_layers
from spectra.report.figures.series import look
from spectra.report.html.chart import Chart, LegendEntry, depth_axis, plain_text, series
from spectra.report.html.content import PageContent
from spectra.report.html.section import Section
from spectra.results.report import Report
from spectra.results.words import counted

_MOST_BARS = 300  # error bars of more layers hide the points


def section(content: PageContent) -> Section | None:
    """Make the section.

    Args:
        content: Of the page.

    Returns:
        ``None`` where no layer was fitted.
    """
    report = content.report
    points, depth_label = fitted_layers(report.layers)
    if not points:
        return None
    return Section(name="depth", title="Alpha by depth", charts=(_chart(report, points, depth_label),))


def _chart(report: Report, points: list[FittedLayer], depth_label: str) -> Chart:
    numbers = {layer.matrix_name: number for number, layer in enumerate(report.layers)}
    traces, legend = [], []
    for number, role in enumerate(dict.fromkeys(point.role for point in points)):
        inside = [point for point in points if point.role == role]
        made, entry = series(
            role,
            look(number),
            [point.place for point in inside],
            [point.matrix.alpha for point in inside],
            texts=[_text(point) for point in inside],
            rows=[numbers[point.matrix.matrix_name] for point in inside],
            bars=[point.matrix.alpha_std_error for point in inside] if len(points) <= _MOST_BARS else (),
            hollow=[point.matrix.fit_quality == "poor" for point in inside],
        )
        traces += made
        legend.append(entry)
    inverse = report.settings.inverse
    layout = {
        "xaxis": depth_axis([point.place for point in points], depth_label),
        "yaxis": {"title": {"text": "alpha of 1/λ" if inverse else "alpha"}},
        "shapes": [] if inverse else [band("y")],
    }
    return Chart(
        name="alpha-by-depth",
        alt=_alt(report, points, legend, depth_label),
        traces=traces,
        layout=layout,
        legend=tuple(legend),
        caption=_caption(report, points),
    )


def band(axis: str) -> dict[str, object]:
    """Shade the range of alpha in which well-trained layers are found.

    Args:
        axis: ``x`` or ``y``, which shows alpha.

    Returns:
        A shape as plotly takes it.
    """
    other = "x" if axis == "y" else "y"
    span = {f"{axis}0": 2.0, f"{axis}1": 6.0, f"{other}0": 0, f"{other}1": 1, f"{other}ref": "paper"}
    return {"type": "rect", "layer": "below", "line": {"width": 0}, "fillcolor": "var(--band)", **span}


def _text(point: FittedLayer) -> str:
    layer = point.matrix
    fit = f"alpha {layer.alpha:.2f} ± {layer.alpha_std_error:.2f}, KS distance {layer.ks_distance:.3f}"
    doubt = "<br>doubtful fit" if layer.fit_quality == "poor" else ""
    return f"<b>{plain_text(layer.matrix_name)}</b><br>{fit}{doubt}"


def _caption(report: Report, points: list[FittedLayer]) -> str:
    parts = []
    if not report.settings.inverse:
        parts.append("The band from 2 to 6 is where well-trained layers are found, with tails that start where KS says (ks).")
    if any(point.matrix.fit_quality == "poor" for point in points):
        parts.append("Hollow marks are doubtful fits.")
    if len(points) <= _MOST_BARS:
        parts.append("Bars are one standard error, the choice of xmin left out.")
    parts.append("Click a point to see its spectrum.")
    return " ".join(parts)


def _alt(report: Report, points: list[FittedLayer], legend: list[LegendEntry], depth_label: str) -> str:
    alphas = [point.matrix.alpha for point in points]
    roles = ", ".join(entry.label for entry in legend[:8]) + (" and others" if len(legend) > 8 else "")
    return (
        f"Alpha of {counted(len(points), 'layer')} of {report.model.name} against {depth_label}, from {min(alphas):.2f} to "
        f"{max(alphas):.2f}, by kind of layer: {roles}. The table of layers has the same numbers."
    )
