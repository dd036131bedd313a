"""What a comparison comes to, in a sentence or two under its table."""

from __future__ import annotations

import math
from collections.abc import Sequence

from spectra.results.comparison import METRICS_ONLY, Comparison, MatrixComparison

_MOSTLY = 0.5  # share of the squared norm of a change that may be called most of it


def conclusion(comparison: Comparison) -> str:
    """Say where one model changed and what became of alpha; of several which changed most; of a run how fast it went.

    Args:
        comparison: Any.

    Returns:
        One line.
    """
    if comparison.is_identical:
        return "No weight matrix differs. Biases, gains and other vectors are not compared."
    if len(comparison.models) == 1:
        rows = comparison.of(comparison.models[0].name)
        words = "; ".join(part for part in (_where(rows), _alphas(rows)) if part)
        return words[0].upper() + words[1:]
    changes = {model.name: comparison.relative_change(model.name) for model in comparison.models}
    known = {name: change for name, change in changes.items() if math.isfinite(change)}
    if not known:
        return "No weights to compare: what reports hold are metrics."
    if comparison.over_time:
        return _how_fast(known)
    most, least = max(known, key=known.__getitem__), min(known, key=known.__getitem__)
    return f"Changed most: '{most}', by {known[most]:.3g} of the norm; least: '{least}', by {known[least]:.3g}."


def _where(rows: Sequence[MatrixComparison]) -> str:
    changed = {row.matrix_name: row.norm_change**2 for row in rows if row.is_changed}
    total = math.fsum(changed.values())
    if not total:
        return "" if any(row.status == METRICS_ONLY for row in rows) else "no change is known"
    if len(changed) == 1:
        return f"all of the change is in {next(iter(changed))}"
    ordered = sorted(changed, key=changed.__getitem__, reverse=True)
    if changed[ordered[0]] >= _MOSTLY * total:
        return f"{changed[ordered[0]] / total:.0%} of the change (of its squared norm) is in {ordered[0]}"
    count, share = 0, 0.0
    while share < _MOSTLY * total:
        share += changed[ordered[count]]
        count += 1
    return f"half of the change (of its squared norm) is in {count} of {len(rows)} matrices"


def _alphas(rows: Sequence[MatrixComparison]) -> str:
    good = [row for row in rows if row.has_good_fits]
    if not good:
        return "alpha: no matrix has good fits before and after"
    before, after = (math.fsum(row_values) / len(good) for row_values in zip(*(_both(row) for row in good), strict=True))
    return f"alpha: mean {before:.3f} before, {after:.3f} after, over {len(good)} with good fits"


def _both(row: MatrixComparison) -> tuple[float, float]:
    return row.value_at_base("alpha"), row.value("alpha")


def _how_fast(changes: dict[str, float]) -> str:
    """Say how far the last checkpoint is, and when half of that was reached."""
    last = list(changes)[-1]
    end = f"At the last checkpoint, '{last}', the change is {changes[last]:.3g} of the norm"
    if not changes[last]:
        return f"{end}."
    half = next(name for name, change in changes.items() if change >= changes[last] / 2)
    return f"{end}; half of that was reached by '{half}'."
