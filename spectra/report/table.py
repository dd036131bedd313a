"""The table on the terminal: worst layers first, as many as one looks at, in the width there is."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectra.printable import printable
from spectra.report.cells import name_cell, number_cell, plain_table
from spectra.results.records import FAILURES, ExpertSummary, LayerDiagnostics, LayerStatus, SkippedTensor
from spectra.results.words import counted

if TYPE_CHECKING:
    from rich.table import Table

# The range in which a layer counts as well trained; the thresholds of the labels.
_WELL_TRAINED = (2.0, 6.0)

# Statuses that do not say by themselves what to know about a row.
_IN_FULL = FAILURES | {LayerStatus.NO_BASE}  # with what to do about it
_WITH_REASON = _IN_FULL | {LayerStatus.UNCHANGED}

_NOTE_WIDTH = len("under-trained")
_WIDE = 120  # from here on notes have room
_NUMBERS_WIDTH = 30  # alpha, its error, distance and tail, with the gaps between them


def worst_first(layers: Sequence[LayerDiagnostics]) -> list[LayerDiagnostics]:
    """Order layers by how much they ask for a look.

    Args:
        layers: Rows of a report.

    Returns:
        Failed layers, then good fits by the distance of alpha from [2, 6] and within it from high to low, then doubtful
        fits, then layers without a fit; model order among equals.
    """

    def key(layer: LayerDiagnostics) -> tuple[int, float, float]:
        if layer.status in FAILURES:
            return 0, 0.0, 0.0
        if layer.status != LayerStatus.OK:
            return 3, 0.0, 0.0
        low, high = _WELL_TRAINED
        outside = max(low - layer.alpha, layer.alpha - high, 0.0)
        return (1 if layer.fit_quality == "good" else 2), -outside, -layer.alpha

    return sorted(layers, key=key)


def layer_table(layers: Sequence[LayerDiagnostics], *, width: int, max_rows: int = 20) -> Table:
    """Make the table of a report.

    Args:
        layers: Rows of a report.
        width: Columns of the terminal. Below 120 notes are cut to one line, but for layers that failed, below 90 the shape
            is left out, below 70 the stable rank too.
        max_rows: Most layers shown; a last line counts the rest.

    Returns:
        A rich table, without colour where the console has none.
    """
    from rich.text import Text

    show_shape, show_rank = width >= 90, width >= 70
    table = plain_table("layer")
    if show_shape:
        table.add_column("shape", justify="right", no_wrap=True)
    table.add_column("alpha", justify="right", no_wrap=True)
    table.add_column("± se", justify="right", no_wrap=True)
    table.add_column("ks", justify="right", no_wrap=True)
    table.add_column("tail", justify="right", no_wrap=True)
    if show_rank:
        table.add_column("stable rank", justify="right", no_wrap=True)
    table.add_column("note", min_width=_NOTE_WIDTH)
    # What the numbers and the shortest note leave; a longer name is cut at its start.
    name_width = max(16, width - _NUMBERS_WIDTH - 13 * show_shape - 13 * show_rank - _NOTE_WIDTH)
    ordered = worst_first(layers)
    for layer in ordered[:max_rows]:
        cells: list[str | Text] = [name_cell(layer.matrix_name, name_width)]
        if show_shape:
            cells.append(_shape(layer))
        cells += [
            number_cell(layer.alpha, ".2f"),
            number_cell(layer.alpha_std_error, ".2f"),
            number_cell(layer.ks_distance, ".3f"),
            str(layer.num_tail) if layer.num_tail is not None else "–",
        ]
        if show_rank:
            cells.append(number_cell(layer.stable_rank, ".1f"))
        note = Text(_note(layer))
        if width < _WIDE and layer.status not in _IN_FULL:
            note.no_wrap, note.overflow = True, "ellipsis"
        table.add_row(*cells, note, style=_style(layer))
    rest = len(ordered) - max_rows
    if rest > 0:
        table.add_row(f"… {counted(rest, 'more layer')}")
    return table


def expert_table(summaries: Sequence[ExpertSummary], *, width: int, max_rows: int = 20) -> Table:
    """Make the table of a mixture of experts: one line per layer and weight.

    Args:
        summaries: Of a report.
        width: Columns of the terminal. Below 100 the standard deviation and the stable rank are left out.
        max_rows: Most lines shown; a last line counts the rest.

    Returns:
        A rich table: mean, spread and range of alpha over the experts.
    """
    table = plain_table("experts of")
    shown = {"experts": 7, "reliable": 8, "alpha mean": 10, "std": 6, "min": 6, "max": 6, "stable rank mean": 16}
    headings = [heading for heading in shown if width >= 100 or heading not in ("std", "stable rank mean")]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    name_width = max(16, width - sum(shown[heading] + 2 for heading in headings))
    for summary in summaries[:max_rows]:
        alpha, rank = summary.metrics.get("alpha"), summary.metrics.get("stable_rank")
        numbers = (alpha.mean, alpha.std, alpha.min, alpha.max) if alpha else (math.nan,) * 4
        cells = [str(summary.num_experts), str(summary.num_reliable), *(number_cell(number, ".2f") for number in numbers)]
        cells.append(number_cell(rank.mean if rank else math.nan, ".1f"))
        chosen = [cell for heading, cell in zip(shown, cells, strict=True) if heading in headings]
        table.add_row(name_cell(summary.stack, name_width), *chosen)
    if len(summaries) > max_rows:
        table.add_row(f"… {counted(len(summaries) - max_rows, 'more weight')}")
    return table


def skipped_lines(skipped: Sequence[SkippedTensor], *, max_lines: int = 5) -> list[str]:
    """Say what was left out, one line for each reason; reasons that differ in names only are one.

    Args:
        skipped: Of a report.
        max_lines: Most reasons given; a last line counts the tensors of the others. Default 5: the answer is the table.

    Returns:
        Lines; none if nothing was skipped.
    """
    by_reason: dict[str, list[SkippedTensor]] = {}
    for tensor in skipped:
        by_reason.setdefault(re.sub(r"'[^']*'", "''", tensor.reason), []).append(tensor)
    lines = []
    for first, *others in list(by_reason.values())[:max_lines]:
        shape = "×".join(map(str, first.shape))
        more = f" and {len(others)} more" if others else ""
        lines.append(printable(f"{first.name} ({shape}){more}: {first.reason}"))
    rest = sum(len(tensors) for tensors in list(by_reason.values())[max_lines:])
    return lines + ([f"… {counted(rest, 'more tensor')}"] if rest else [])


def _note(layer: LayerDiagnostics) -> str:
    if layer.status in _WITH_REASON:
        return f"{layer.status}: {layer.notes}" if layer.notes else str(layer.status)
    if layer.status != LayerStatus.OK:
        return str(layer.status)
    return "; ".join(part for part in (layer.label, layer.notes) if part)


def _style(layer: LayerDiagnostics) -> str | None:
    if layer.status in FAILURES:
        return "red"
    if layer.label:
        return "yellow"
    return "dim" if layer.status != LayerStatus.OK or layer.fit_quality == "poor" else None


def _shape(layer: LayerDiagnostics) -> str:
    shape = f"{layer.num_rows}×{layer.num_cols}"
    return f"{layer.num_matrices}·{shape}" if layer.num_matrices > 1 else shape
