"""The table of many models on the terminal: a line for each, in the order given."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from spectra.report.cells import name_cell, plain_table
from spectra.results.fleet import FleetModel
from spectra.results.records import Summary
from spectra.results.words import counted

if TYPE_CHECKING:
    from rich.table import Table

_NUMBERS_WIDTH = 52  # of the columns beside the name, with the gaps between them, and a word of the note
_NARROW, _WIDE = 80, 110  # under it the median is left out; from it on there is room for locations
_SHORTEST_NAME = 16


def fleet_table(models: Sequence[FleetModel], *, width: int) -> Table:
    """Make the table of a fleet.

    Args:
        models: Of the fleet.
        width: Columns of the terminal. Below 80 the median is left out, below 110 where the models are; what is too long is
            cut at its start.

    Returns:
        A rich table, without colour where the console has none.
    """
    table = plain_table("model")
    headings = ["layers", "alpha", "median", "range"] if width >= _NARROW else ["layers", "alpha", "range"]
    for heading in headings:
        table.add_column(heading, justify="right", no_wrap=True)
    table.add_column("note")
    if width >= _WIDE:
        table.add_column("location", no_wrap=True)
    name_width = max(_SHORTEST_NAME, (width - _NUMBERS_WIDTH) // (2 if width >= _WIDE else 1))
    for model in models:
        cells = _cells(model.summary)
        bad = model.summary is None or model.summary.num_failed
        numbers = [cells[heading] for heading in headings]
        location = [name_cell(model.location, name_width)] if width >= _WIDE else []
        table.add_row(name_cell(model.name, name_width), *numbers, _note(model), *location, style="bold red" if bad else None)
    return table


def _cells(summary: Summary | None) -> dict[str, str]:
    alpha = summary.metrics.get("alpha") if summary else None
    return {
        "layers": "–" if summary is None else str(summary.num_layers),
        "alpha": "–" if alpha is None else f"{alpha.mean:.3f}",
        "median": "–" if alpha is None else f"{alpha.median:.3f}",
        "range": "–" if alpha is None else f"{alpha.min:.2f}–{alpha.max:.2f}",
    }


def _note(model: FleetModel) -> str:
    if model.summary is None:
        return "not analysed"
    failed = [f"{counted(model.summary.num_failed, 'layer')} failed"] if model.summary.num_failed else []
    labels = [f"{count} {label}" for label, count in model.summary.labels.items() if label]
    return ", ".join(failed + labels)
