"""A comparison in a few sentences; used by the command line and by ``print(comparison)``."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from spectra.results.matrix_comparison import METRICS_ONLY, Finding, MatrixComparison
from spectra.results.records import LayerStatus

_MOST_FINDINGS = 4
_WORDS = {
    Finding.INTRUDERS: "with intruders",
    Finding.HEAVIER_TAIL: "with a heavier tail",
    Finding.LIGHTER_TAIL: "with a lighter tail",
}


def comparison_words(base: str, rows_of: Sequence[tuple[str, float, Sequence[MatrixComparison]]]) -> str:
    """Say what changed, a line for each model.

    Args:
        base: Name of the base.
        rows_of: For each model its name, the share of the base's norm that it changed by, and its rows.

    Returns:
        The lines.
    """
    return "\n".join(f"'{name}' against '{base}': {_changes(share, rows)}" for name, share, rows in rows_of)


def _changes(share: float, rows: Sequence[MatrixComparison]) -> str:
    matrices = _matrices(len(rows))
    statuses = Counter(row.status for row in rows)
    if statuses[LayerStatus.UNCHANGED] == len(rows):
        return f"identical, {'the only matrix is' if len(rows) == 1 else f'all {matrices} are'} equal"
    parts = []
    if statuses[METRICS_ONLY] == len(rows):
        parts.append(f"metrics of {matrices}, no weights to compare")
    else:
        changed = sum(row.is_changed for row in rows)
        size = f" by {share:.3g} of the norm" if changed else ""
        parts.append(f"{changed} of {matrices} changed{size}")
        missing = len(rows) - changed - statuses[LayerStatus.UNCHANGED]
        parts += [f"{missing} not compared"] if missing else []
    counts = Counter(finding for row in rows for finding in row.findings if finding is not Finding.UNCHANGED)
    parts += [f"{count} {_WORDS.get(finding, finding)}" for finding, count in counts.most_common(_MOST_FINDINGS)]
    return "; ".join(parts)


def _matrices(number: int) -> str:
    return f"{number} matrix" if number == 1 else f"{number} matrices"
