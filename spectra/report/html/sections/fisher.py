"""Fisher beside alpha: how sensitive the loss is to each layer, where a Fisher of the model is at hand."""

from __future__ import annotations

import math

from spectra.errors import InputError
from spectra.report.figures.fisher_vs_alpha import rank_correlation
from spectra.report.figures.layer_pairs import LayerPair, pair_layers
from spectra.report.figures.scored_layers import (
    SHARED_ROLES,
    ScoredLayer,
    drawable,
    left_out,
    looks_by_role,
    score_label,
    scored_layers,
)
from spectra.report.html.chart import Chart, depth_axis, plain_text, points_of, rounded, series, words
from spectra.report.html.content import PageContent
from spectra.report.html.section import Section
from spectra.report.html.sections.depth import band
from spectra.results.fisher import Fisher
from spectra.results.records import LayerDiagnostics
from spectra.results.report import Report
from spectra.results.words import counted


def section(content: PageContent) -> Section | None:
    """Make the section.

    Args:
        content: Of the page.

    Returns:
        ``None`` without a Fisher.
    """
    fisher, report = content.fisher, content.report
    if fisher is None:
        return None
    charts, notes = [], list(fisher.info.notes)
    try:
        pairs = {pair.layer_name: pair for pair in pair_layers(fisher, report)}
        charts.append(_beside_alpha(fisher, report, pairs))
    except InputError as error:  # another model, or nothing to draw: that is said, and the rest of the page stands
        pairs = {}
        notes.append(f"Not drawn beside alpha: {error}")
    try:
        charts.append(_by_depth(fisher, report, pairs))
    except InputError as error:
        notes.append(str(error))
    info, scored = fisher.info, words(score_label(fisher))
    values = {
        "model": info.model,
        "words": f"{info.kind.capitalize()} Fisher over {info.num_samples:,} samples. Score of a layer: {scored}.",
        "notes": notes,
    }
    return Section(name="fisher", title="Fisher", values=values, charts=tuple(charts))


def scores_of_rows(fisher: Fisher, report: Report) -> dict[int, float]:
    """Find the scores for the rows of a report.

    Args:
        fisher: Of the same model; of another one there are none.
        report: Any.

    Returns:
        Score by ``id`` of the row; rows without partner are missing.
    """
    scores = fisher.scores("layer")
    try:
        pairs = pair_layers(fisher, report)
    except InputError:
        return {}
    found = {id(row): scores[pair.layer_name] for pair in pairs for row in pair.rows}
    return {row: score for row, score in found.items() if math.isfinite(score)}


def _beside_alpha(fisher: Fisher, report: Report, pairs: dict[str, LayerPair]) -> Chart:
    layers = [layer for layer in scored_layers(fisher)[0] if layer.name in pairs]
    drawn = drawable(fisher, layers)
    numbers = _numbers(report)
    traces, legend = [], []
    for role, look in looks_by_role(drawn).items():
        inside = [layer for layer in drawn if layer.role == role]
        paired = [pairs[layer.name] for layer in inside]
        trace, entry = points_of(
            role,
            look,
            [pair.alpha for pair in paired],
            [layer.score for layer in inside],
            texts=[_text(layer, pairs) for layer in inside],
            rows=[numbers[id(pair.rows[0])] for pair in paired],
            hollow=[pair.is_doubtful for pair in paired],
        )
        traces.append(trace)
        legend.append(entry)
    inverse = report.settings.inverse
    alphas, scores = [pairs[layer.name].alpha for layer in drawn], [layer.score for layer in drawn]
    ranks = rank_correlation(alphas, scores, [pairs[layer.name].is_doubtful for layer in drawn])
    layout = {
        "xaxis": {"title": {"text": "alpha of 1/λ" if inverse else "alpha"}},
        "yaxis": {"title": {"text": words(score_label(fisher))}, "type": "log", "exponentformat": "power", "dtick": 1},
        "shapes": [] if inverse else [band("x")],
    }
    hollow = " Hollow marks are doubtful fits." if any(pairs[layer.name].is_doubtful for layer in drawn) else ""
    return Chart(
        name="fisher-vs-alpha",
        alt=f"Fisher score of {counted(len(drawn), 'layer')} against alpha, on a logarithmic axis. {ranks}.",
        traces=traces,
        layout=layout,
        legend=tuple(legend),
        caption=f"{ranks}; without a p-value, as the layers of a model are no independent sample.{hollow}",
    )


def _by_depth(fisher: Fisher, report: Report, pairs: dict[str, LayerPair]) -> Chart:
    layers, depth_label = scored_layers(fisher)
    drawn = drawable(fisher, layers)
    numbers = _numbers(report)
    traces, legend = [], []
    for role, look in looks_by_role(drawn).items():
        inside = [layer for layer in drawn if layer.role == role]
        made, entry = series(
            role,
            look,
            [layer.place for layer in inside],
            [layer.score for layer in inside],
            texts=[_text(layer, pairs) for layer in inside],
            rows=[numbers[id(pairs[layer.name].rows[0])] if layer.name in pairs else None for layer in inside],
            is_joined=role not in SHARED_ROLES,
        )
        traces += made
        legend.append(entry)
    layout = {
        "xaxis": depth_axis([layer.place for layer in drawn], depth_label),
        "yaxis": {"title": {"text": words(score_label(fisher))}, "type": "log", "exponentformat": "power", "dtick": 1},
    }
    missing = left_out(layers).strip()
    return Chart(
        name="fisher-by-depth",
        alt=f"Fisher score of {counted(len(drawn), 'layer')} against {depth_label}, on a logarithmic axis.",
        traces=traces,
        layout=layout,
        legend=tuple(legend),
        caption=missing[1:-1].capitalize() + "." if missing else "",
    )


def _numbers(report: Report) -> dict[int, int]:
    return {id(layer): number for number, layer in enumerate(report.layers)}


def _text(layer: ScoredLayer, pairs: dict[str, LayerPair]) -> str:
    error = f" ± {layer.std_error:.2g}" if math.isfinite(layer.std_error) else ""
    lines = [f"<b>{plain_text(layer.name)}</b>", f"score {rounded(layer.score, 3):.3g}{error}"]
    if layer.name in pairs:
        rows: tuple[LayerDiagnostics, ...] = pairs[layer.name].rows
        mean = f", mean of {len(rows)}" if len(rows) > 1 else ""
        lines.append(f"alpha {pairs[layer.name].alpha:.2f}{mean}")
    return "<br>".join(lines)
