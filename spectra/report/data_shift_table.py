"""The table of a data shift on the terminal: originals and selected responses, all of them and the accepted ones."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from spectra.results.data_shift import DataShift

if TYPE_CHECKING:
    from rich.table import Table

# What stands in each row, and its numbers: original, selected.
_ROWS = {
    "nats per token": ("mean_nll_original", "mean_nll_response", ".3f"),
    "perplexity": ("perplexity_original", "perplexity_response", ".4g"),
    "tokens of a response": ("mean_tokens_original", "mean_tokens_response", ".1f"),
}


def data_shift_table(shift: DataShift) -> Table:
    """Make the table of what responses come to, with the mean difference of single samples under it.

    Args:
        shift: Any.

    Returns:
        A rich table of fewer than 80 columns.
    """
    from rich.table import Table

    parts = {"all": shift.overall} | ({} if shift.accepted is None else {"accepted": shift.accepted})
    table = Table(box=None, pad_edge=False, padding=(0, 2, 0, 0), header_style="bold")
    for heading in ("samples", "", "original", "selected", "change"):
        table.add_column(heading, justify="left" if heading in ("samples", "") else "right", no_wrap=True)
    for name, part in parts.items():
        label = f"{name} {part.num_samples:,}"
        for row, (original, selected, form) in _ROWS.items():
            before, after = getattr(part, original), getattr(part, selected)
            table.add_row(label, row, f"{before:{form}}", f"{after:{form}}", _change(before, after))
            label = ""
        table.add_row("", "difference per sample", "", "", f"{part.difference:+.3f}")
        if not math.isnan(part.difference_low):
            table.add_row("", "its 95 % interval", "", "", f"{part.difference_low:+.3f} to {part.difference_high:+.3f}")
    return table


def _change(before: float, after: float) -> str:
    return f"{after / before - 1.0:+.1%}" if before > 0.0 and math.isfinite(after) else "–"
