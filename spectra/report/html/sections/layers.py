"""The table of layers, and beside it the spectrum and the numbers of the one that was chosen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from spectra.report.html.binned_spectra import binned_spectra
from spectra.report.html.chart import rounded
from spectra.report.html.content import PageContent
from spectra.report.html.section import Section
from spectra.report.html.sections.fisher import scores_of_rows
from spectra.report.html.verdicts import Verdict, verdict
from spectra.report.table import worst_first
from spectra.results.records import LayerDiagnostics, LayerStatus, column_meanings
from spectra.results.report import Report

R = TypeVar("R")

MOST_PRINTED = 100  # rows on paper: two to three pages
# More rows are laid out when asked for: sorting 2,000 of them would take a second.
MOST_SHOWN = 250


@dataclass(frozen=True)
class Column(Generic[R]):
    """A column of a table on the page, whose rows are of layers or of other records.

    Attributes:
        name: Of the class in CSS.
        title: Its heading.
        meaning: What the heading says when pointed at.
        value: What a row is sorted by; ``None`` goes last.
        text: What its cell says.
        is_number: Numbers stand to the right and begin with the highest.
    """

    name: str
    title: str
    meaning: str
    value: Callable[[R], float | str | None]
    text: Callable[[R], str]
    is_number: bool = True


@dataclass(frozen=True)
class Row:
    """A row of the table: the layer, its number in the model, its verdict, and a (value, text) for each column."""

    layer: LayerDiagnostics
    number: int
    verdict: Verdict
    cells: tuple[tuple[float | str | None, str], ...]


def section(content: PageContent) -> Section | None:
    """Make the section.

    Args:
        content: Of the page.

    Returns:
        ``None`` for a report without rows.
    """
    report = content.report
    if not report.layers:
        return None
    shown = _columns(report, content.before) + _fisher_columns(content)
    numbers = {id(layer): number for number, layer in enumerate(report.layers)}
    rows = [
        Row(layer, numbers[id(layer)], verdict(layer, report.settings), tuple((c.value(layer), c.text(layer)) for c in shown))
        for layer in worst_first(report.layers)
    ]
    values = {
        "columns": shown,
        "rows": rows,
        "kinds": sorted({layer.kind for layer in report.layers}),
        "words": list({row.verdict.tone: row.verdict for row in rows}.values()),
        "most_printed": MOST_PRINTED,
        "most_shown": MOST_SHOWN,
        "has_bulk": report.settings.mp_fit,
        "has_random": report.settings.randomize,
        "has_before": content.before is not None,
    }
    return Section(name="layers", title="Layers", values=values, data=_data(report) | _data_before(report, content.before))


def _columns(report: Report, before: Report | None) -> list[Column[LayerDiagnostics]]:
    def number(name: str, title: str, digits: int) -> Column[LayerDiagnostics]:
        def value(row: LayerDiagnostics) -> float:
            return float(getattr(row, name))

        meaning = column_meanings()[name]
        return Column(name, title, meaning, lambda row: rounded(value(row)), lambda row: _fixed(value(row), digits))

    def alpha(row: LayerDiagnostics) -> str:
        text = _fixed(row.alpha, 2)
        return f"({text})" if row.fit_quality == "poor" else text

    columns = [
        Column("kind", "Kind", "what kind of layer it is", lambda row: row.kind, lambda row: row.kind, is_number=False),
        Column("shape", "Shape", "rows × columns of one matrix", lambda row: row.num_params, _shape),
        Column("alpha", "Alpha", "exponent of the tail; in parentheses: a doubtful fit", lambda row: rounded(row.alpha), alpha),
        *(_before_columns(before) if before else [number("alpha_std_error", "± SE", 2)]),
        number("ks_distance", "KS", 3),
        Column("num_tail", "Tail", "eigenvalues in the tail", lambda row: row.num_tail, lambda row: _count(row.num_tail)),
        number("stable_rank", "Stable rank", 1),
    ]
    if report.settings.mp_fit:
        meaning = column_meanings()["num_spikes"]
        columns.append(Column("num_spikes", "Spikes", meaning, lambda row: row.num_spikes, lambda row: _count(row.num_spikes)))
    return columns


def _before_columns(before: Report) -> list[Column[LayerDiagnostics]]:
    """Say beside alpha what it was, and how much it changed."""
    rows = {layer.matrix_name: layer for layer in before.layers}

    def alpha(row: LayerDiagnostics) -> float:
        return rows[row.matrix_name].alpha if row.matrix_name in rows else math.nan

    def text(row: LayerDiagnostics) -> str:
        words = _fixed(alpha(row), 2)
        return f"({words})" if row.matrix_name in rows and rows[row.matrix_name].fit_quality == "poor" else words

    def change(row: LayerDiagnostics) -> float:
        return row.alpha - alpha(row)

    return [
        Column("before", "Before", "alpha before; in parentheses: a doubtful fit", lambda row: rounded(alpha(row)), text),
        Column("change", "Change", "of alpha", lambda row: rounded(change(row)), lambda row: signed(change(row), 2)),
    ]


def _fisher_columns(content: PageContent) -> list[Column[LayerDiagnostics]]:
    scores = scores_of_rows(content.fisher, content.report) if content.fisher is not None else {}
    if not scores:
        return []
    meaning = "Fisher score: how sensitive the loss is to the layer"
    return [
        Column(
            "fisher",
            "Fisher",
            meaning,
            lambda row: rounded(scores.get(id(row), math.nan)),
            lambda row: f"{scores[id(row)]:.2e}" if id(row) in scores else "–",
        )
    ]


def _data(report: Report) -> dict[str, Any]:
    """Return all numbers of all layers, in the order of the model, and their spectra."""
    meanings = column_meanings()
    names = [name for name in report.columns if name not in ("layer_name", "matrix_name", "status")]
    first = _first(report)
    verdicts = [verdict(layer, report.settings) for layer in report.layers]
    return {
        "layers": {
            "names": [layer.matrix_name for layer in report.layers],
            "columns": names,
            "meanings": [meanings[name] for name in names],
            "inverse": report.settings.inverse,
            "first": next(number for number, layer in enumerate(report.layers) if layer is first),
        },
        "rows": [[_plain(getattr(layer, name)) for name in names] for layer in report.layers],
        "verdicts": [list(dataclasses.astuple(found)) for found in verdicts],
        "spectra": binned_spectra(report),
    }


def _data_before(report: Report, before: Report | None) -> dict[str, Any]:
    """Return the spectra before, in the order of the rows after, and what alpha was."""
    if before is None:
        return {}
    binned = binned_spectra(before)
    numbers = {layer.matrix_name: number for number, layer in enumerate(before.layers)}
    places = [numbers.get(layer.matrix_name) for layer in report.layers]
    spectra = [None if place is None else binned["spectra"][place] for place in places]
    alphas = [None if place is None else rounded(before.layers[place].alpha) for place in places]
    return {"before": {"spectra": spectra, "ranks": binned["ranks"], "alphas": alphas}}


def _first(report: Report) -> LayerDiagnostics:
    """Return the layer shown before one is chosen: the first of the table that has a fit."""
    ordered = worst_first(report.layers)
    return next((layer for layer in ordered if layer.status == LayerStatus.OK), ordered[0])


def _plain(value: Any) -> Any:
    return rounded(value) if isinstance(value, float) else value


def _shape(row: LayerDiagnostics) -> str:
    shape = f"{row.num_rows}×{row.num_cols}"
    return f"{row.num_matrices}·{shape}" if row.num_matrices > 1 else shape


def _fixed(value: float, digits: int) -> str:
    return "–" if value != value else f"{value:.{digits}f}"


def signed(value: float, digits: int) -> str:
    """Write a change: its sign is part of it, and zero has none."""
    text = f"{value:+.{digits}f}"
    return "–" if value != value else "0" if float(text) == 0.0 else text.replace("-", "−")


def _count(value: int | None) -> str:
    return "–" if value is None else str(value)
