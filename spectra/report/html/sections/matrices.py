"""The table of compared matrices, and beside it the spectra before, after and of the difference of the one that was chosen."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from spectra.report.comparison_table import ASK_FOR_A_LOOK, alphas_cell, most_changed_first
from spectra.report.html.binned_spectra import binned_spectrum, ranks
from spectra.report.html.chart import rounded
from spectra.report.html.section import Section
from spectra.report.html.sections.layers import MOST_PRINTED, MOST_SHOWN, Column, signed
from spectra.report.html.verdicts import Verdict
from spectra.results.comparison import Comparison, Finding, MatrixComparison
from spectra.results.matrix_comparison import change_key
from spectra.results.records import FAILURES, LayerDiagnostics, LayerStatus

_PARTS = ("before", "after", "eigenvalues")  # as changes.safetensors has them


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of the table: the matrix, its number, what is said of it, the words of its filter, and a (value, text) each."""

    matrix: MatrixComparison
    number: int
    verdict: Verdict
    findings: str
    cells: tuple[tuple[float | str | None, str], ...]


def section(comparison: Comparison) -> Section | None:
    """Make the section.

    Args:
        comparison: Of the page.

    Returns:
        ``None`` for a comparison without rows.
    """
    if not comparison.rows:
        return None
    numbers = {id(row): number for number, row in enumerate(comparison.rows)}
    columns = _columns(several=len(comparison.models) > 1)
    rows = [
        Row(row, numbers[id(row)], verdict_of(row), _findings(row), tuple((c.value(row), c.text(row)) for c in columns))
        for row in most_changed_first(comparison.rows)
    ]
    names = [model.name for model in comparison.models]
    values = {
        "columns": columns,
        "rows": rows,
        "models": names if len(names) > 1 else [],
        "first_model": names[-1] if comparison.over_time else names[0],
        "findings": [finding.value for finding in Finding if any(finding in row.findings for row in comparison.rows)],
        "most_printed": MOST_PRINTED,
        "most_shown": MOST_SHOWN,
    }
    return Section(name="matrices", title="Matrices", values=values, data={"matrices": _data(comparison, rows[0].number)})


def verdict_of(row: MatrixComparison) -> Verdict:
    """Say what was found of a matrix.

    Args:
        row: Of a comparison.

    Returns:
        A mark and a word; without a finding how far it changed is all there is to say.
    """
    if row.status in FAILURES:
        return Verdict("failed", row.status.replace("_", " "), row.notes)
    if row.status == LayerStatus.UNCHANGED:
        return Verdict("none", "unchanged", "Every number is equal to the base's.")
    words = row.verdict or row.status.replace("_", " ")
    if row.is_changed and not row.findings:  # how far, a column says
        return Verdict("plain", "changed", row.notes)
    if not row.is_changed:
        return Verdict("none", words, row.notes)
    if Finding.ROUNDING in row.findings:
        return Verdict("doubtful", words, "The change is no larger than rounding explains.")
    tone = "high" if ASK_FOR_A_LOOK & set(row.findings) else "plain"
    return Verdict(tone, words, row.notes)


def _columns(*, several: bool) -> list[Column[MatrixComparison]]:
    def number(name: str, title: str, meaning: str, form: str) -> Column[MatrixComparison]:
        def text(row: MatrixComparison) -> str:
            value = row.value(name)
            return f"{value:{form}}" if math.isfinite(value) else "–"

        return Column(name, title, meaning, lambda row: rounded(row.value(name)), text)

    model = Column[MatrixComparison]("model", "Model", "which one is compared with the base", _model, _model, is_number=False)
    return [
        *([model] if several else []),
        Column("kind", "Kind", "what kind of layer it is", lambda row: row.kind, lambda row: row.kind, is_number=False),
        Column("shape", "Shape", "rows × columns", lambda row: row.num_params, lambda row: f"{row.num_rows}×{row.num_cols}"),
        number("relative_change", "Change", "norm of the change over that of the base's matrix", ".3g"),
        number("change_rank", "Rank", "singular values of the change above round-off", ".0f"),
        Column(
            "overlap", "Overlap", "of the leading subspaces, the smaller of left and right; 1: equal", _overlap, _overlap_text
        ),
        Column(
            "alphas", "Alpha", "before → after; a star marks a poor fit", lambda row: rounded(row.alpha_change), alphas_cell
        ),
        Column(
            "change",
            "Δ alpha",
            "after minus before",
            lambda row: rounded(row.alpha_change),
            lambda r: signed(r.alpha_change, 2),
        ),
    ]


def _model(row: MatrixComparison) -> str:
    return row.model


def _overlap(row: MatrixComparison) -> float | None:
    return rounded(min(row.overlap_left, row.overlap_right))


def _overlap_text(row: MatrixComparison) -> str:
    value = _overlap(row)
    return "–" if value is None else f"{value:.3f}"


def _findings(row: MatrixComparison) -> str:
    return "|".join(finding.value for finding in row.findings)


def _data(comparison: Comparison, first: int) -> dict[str, Any]:
    sizes: set[int] = set()
    several = len(comparison.models) > 1
    return {
        "names": [f"{row.model}: {row.matrix_name}" if several else row.matrix_name for row in comparison.rows],
        "rows": [_facts(row) for row in comparison.rows],
        "spectra": [_spectra(comparison, row, sizes) for row in comparison.rows],
        "ranks": {str(size): ranks(size) for size in sorted(sizes)},
        "verdicts": [list(dataclasses.astuple(verdict_of(row))) for row in comparison.rows],
        "base": comparison.base.name,
        "first": first,
    }


def _spectra(comparison: Comparison, row: MatrixComparison, sizes: set[int]) -> list[Any]:
    """Bin what the folder holds of the spectra before, after and of the change."""
    found: list[Any] = []
    for part, layer in zip(_PARTS, (row.before, row.after, None), strict=True):
        key = change_key(row.model, row.matrix_name, part)
        values = comparison.changes[key] if row.is_changed and key in comparison.changes else None
        positive = np.empty(0) if values is None else values[values > 0.0]
        found.append(binned_spectrum(positive, layer or _unfitted(row)).to_list() if len(positive) else None)
        if len(positive):
            sizes.add(len(positive))
    return found


def _unfitted(row: MatrixComparison) -> LayerDiagnostics:
    """A spectrum of which no fit is drawn is binned as one without."""
    assert row.before is not None
    return dataclasses.replace(row.before, status=LayerStatus.NO_TAIL, lambda_plus=math.nan)


def _facts(row: MatrixComparison) -> Mapping[str, Any]:
    numbers = (
        "relative_change",
        "change_spectral_norm",
        "change_stable_rank",
        "change_rank",
        "scale",
        "overlap_left",
        "overlap_right",
    )
    fits = {
        when: None
        if layer is None
        else [rounded(layer.alpha), layer.num_tail, rounded(layer.xmin), rounded(layer.xmax), layer.fit_quality]
        for when, layer in (("before", row.before), ("after", row.after))
    }
    return {
        **{name: rounded(row.value(name)) for name in numbers},
        "size": row.num_eigenvalues,
        "fits": fits,
        "angles": [
            [rounded(math.degrees(angle), 4) for angle in angles]
            for angles in (row.principal_angles_left, row.principal_angles_right)
        ],
        "intruders": [[it.position + 1, rounded(it.singular_value, 4), rounded(it.similarity, 3)] for it in row.intruders],
    }
