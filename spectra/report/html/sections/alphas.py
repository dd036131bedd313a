"""How alpha moved over the analyses of a run: a line for each layer, and the median."""

from __future__ import annotations

from spectra.report.figures.alpha_trajectory import followed_layers
from spectra.report.figures.matrix_places import place_matrices
from spectra.report.html.chart import Chart
from spectra.report.html.lines import Line, lines_over_time
from spectra.report.html.run_state import RunState
from spectra.report.html.section import Section
from spectra.results.words import counted

_FEW_EPOCHS = 11  # that an axis names one by one


def section(run: RunState) -> Section | None:
    """Make the section.

    Args:
        run: Of the page.

    Returns:
        ``None`` with fewer than two analyses, or without a layer that was fitted in all of them.
    """
    spectra = run.files.spectra
    names, is_reliable = followed_layers(spectra)
    if len(spectra) < 2 or not names:
        return None
    rows = [{layer.matrix_name: layer for layer in one.report.layers} for one in spectra]
    numbers = {layer.matrix_name: number for number, layer in enumerate(spectra[-1].report.layers)}
    placed, _ = place_matrices([rows[0][name] for name in names])
    levels = [
        Line(name, point.role, [row[name].alpha for row in rows], numbers[name])
        for name, point in zip(names, placed, strict=True)
    ]
    changes = [Line(one.name, one.group, [value - one.values[0] for value in one.values], one.row) for one in levels]
    epochs = [one.epoch for one in spectra]
    kind = "reliable" if is_reliable else "doubtful"
    words = f"{kind.capitalize()} fits of {len(names)} of {counted(len(rows[0]), 'layer')}, in {len(spectra)} analyses."
    charts = (
        _chart("alphas", epochs, levels, "alpha", "A click leads to the layer."),
        _chart("alpha-changes", epochs, changes, "change of alpha", "Since before training."),
    )
    why = "" if is_reliable else " No layer has a reliable fit in all analyses: do not read these changes as facts."
    return Section(name="alphas", title="Alpha over training", values={"words": words + why}, charts=charts)


def _chart(name: str, epochs: list[float], lines: list[Line], label: str, caption: str) -> Chart:
    traces, legend = lines_over_time(epochs, lines, time="epoch", value=label)
    ends = [line.values[-1] for line in lines]
    spread = f"at the end from {min(ends):.2f} to {max(ends):.2f}"
    axis = {"title": {"text": "epoch"}} | ({"tickvals": epochs} if len(epochs) <= _FEW_EPOCHS else {})
    return Chart(
        name=name,
        alt=f"{label.capitalize()} of {counted(len(lines), 'layer')} over the epochs, {spread}.",
        traces=traces,
        layout={"xaxis": axis, "yaxis": {"title": {"text": label}}},
        legend=legend,
        caption=caption,
        height=340,
    )
