"""The table of comparisons: Spectra, its peer, their ratio, the bar."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from benchmarks.measure import median


@dataclass(frozen=True)
class Comparison:
    """One row: a quantity of Spectra beside that of a peer, as measured in turns.

    Attributes:
        what: The quantity.
        peer_name: The peer.
        unit: ``"s"``, ``"ms"`` or ``"MiB"``.
        spectra: Samples of Spectra.
        peer: Samples of the peer.
        bar: What the ratio should be; ``None``: shown for information.
        ratio_of: ``"peer/spectra"``, at least the bar; or ``"spectra/peer"``, at most the bar.
    """

    what: str
    peer_name: str
    unit: str
    spectra: tuple[float, ...]
    peer: tuple[float, ...]
    bar: float | None = None
    ratio_of: str = "peer/spectra"

    @property
    def ratio(self) -> float:
        """Ratio of the medians."""
        return self._ratio(median(self.spectra), median(self.peer))

    @property
    def is_met(self) -> bool | None:
        """Whether the ratio meets the bar."""
        if self.bar is None:
            return None
        return self.ratio >= self.bar if self.ratio_of == "peer/spectra" else self.ratio <= self.bar

    def spread(self) -> tuple[float, float]:
        """Return the smallest and largest ratio of samples taken one after the other."""
        ratios = [self._ratio(ours, theirs) for ours, theirs in zip(self.spectra, self.peer, strict=False)]
        return min(ratios), max(ratios)

    def to_dict(self) -> dict[str, Any]:
        """Return the samples, the ratio and the verdict."""
        return asdict(self) | {"ratio": self.ratio, "is_met": self.is_met}

    def _ratio(self, ours: float, theirs: float) -> float:
        return theirs / ours if self.ratio_of == "peer/spectra" else ours / theirs


def print_table(rows: Sequence[Comparison]) -> None:
    """Print all rows, and those that miss their bar once more.

    Args:
        rows: At least one.
    """
    from rich.console import Console
    from rich.table import Table

    table = Table(title="medians; in brackets the smallest and largest ratio of neighbouring runs", title_justify="left")
    table.add_column("what")
    table.add_column("peer")
    for heading in ("Spectra", "peer", "ratio", "bar", "met"):
        table.add_column(heading, justify="right", no_wrap=True)
    for row in rows:
        low, high = row.spread()
        spread = f" ({_short(low)}–{_short(high)})" if len(row.spectra) > 1 and len(row.peer) > 1 else ""
        sign = "≥" if row.ratio_of == "peer/spectra" else "≤"
        table.add_row(
            row.what,
            row.peer_name,
            f"{_short(median(row.spectra))} {row.unit}",
            f"{_short(median(row.peer))} {row.unit}",
            f"{_short(row.ratio)}{spread}",
            "" if row.bar is None else f"{sign} {row.bar:g}",
            {None: "", True: "yes", False: "NO"}[row.is_met],
        )
    console = Console(width=None if sys.stdout.isatty() else 140)
    console.print(table)
    missed = [f"{row.what} ({row.peer_name}): {_short(row.ratio)}, bar {row.bar:g}" for row in rows if row.is_met is False]
    console.print("missed: " + "; ".join(missed) if missed else "every bar is met", highlight=False)


def _short(number: float) -> str:
    return f"{number:.0f}" if number >= 100 else f"{number:.3g}"
