"""What the numbers of a compared matrix come to, in findings and in a phrase; thresholds stand in ``thresholds.py``."""

from __future__ import annotations

import dataclasses
import math

from spectra.diagnose.thresholds import LOW_RANK_SHARE, RESCALED_SHARE, TAIL_STD_ERRORS, TURNED_OVERLAP
from spectra.results.comparison import METRICS_ONLY, Finding, MatrixComparison
from spectra.results.records import LayerStatus


def judged(row: MatrixComparison, *, is_rounding: bool = False) -> MatrixComparison:
    """Fill in the findings and the verdict of a row.

    Args:
        row: With all numbers.
        is_rounding: Every entry changed by no more than rounding to the coarser of the two dtypes explains.

    Returns:
        The row with them.
    """
    findings = tuple(_findings(row, is_rounding=is_rounding))
    return dataclasses.replace(row, findings=findings, verdict=_verdict(row, findings))


def _findings(row: MatrixComparison, *, is_rounding: bool) -> list[Finding]:
    if row.status == LayerStatus.UNCHANGED:
        return [Finding.UNCHANGED]
    if row.status == METRICS_ONLY:
        return _of_tail(row)
    if row.status != LayerStatus.OK:
        return []
    if is_rounding or row.norm_change <= row.rounding:
        return [Finding.ROUNDING]
    if row.scale_share >= RESCALED_SHARE:
        return [Finding.RESCALED]
    found = [Finding.LOW_RANK] if _is_low_rank(row) else []
    found += [Finding.INTRUDERS] if row.intruders else []
    found += [Finding.TURNED] if min(row.overlap_left, row.overlap_right) < TURNED_OVERLAP else []
    return found + _of_tail(row)


def _is_low_rank(row: MatrixComparison) -> bool:
    small = min(row.num_rows, row.num_cols) or 1
    num_matrices = max(row.num_eigenvalues // small, 1)
    return bool(row.is_reliable and row.change_rank and row.change_rank <= LOW_RANK_SHARE * small * num_matrices)


def _of_tail(row: MatrixComparison) -> list[Finding]:
    before, after = row.before, row.after
    if before is None or after is None or not before.fit_quality == after.fit_quality == "good":
        return []
    error = TAIL_STD_ERRORS * math.hypot(before.alpha_std_error, after.alpha_std_error)
    if abs(row.alpha_change) <= error or math.isnan(row.alpha_change + error):
        return []
    return [Finding.HEAVIER_TAIL if row.alpha_change < 0.0 else Finding.LIGHTER_TAIL]


def _verdict(row: MatrixComparison, findings: tuple[Finding, ...]) -> str:
    if Finding.UNCHANGED in findings or Finding.ROUNDING in findings:
        return "unchanged" if Finding.UNCHANGED in findings else "rounding only"
    if Finding.RESCALED in findings:
        return f"rescaled, × {row.scale:.4g}"
    if row.status not in (LayerStatus.OK, METRICS_ONLY):
        return "not compared"
    parts = [f"rank {row.change_rank}"] if Finding.LOW_RANK in findings else []
    if row.intruders:
        parts.append("1 intruder" if len(row.intruders) == 1 else f"{len(row.intruders)} intruders")
    words = [", ".join(parts)] if parts else []
    words += ["turned"] if Finding.TURNED in findings else []
    if row.before and row.after and {Finding.HEAVIER_TAIL, Finding.LIGHTER_TAIL} & set(findings):
        words.append(f"alpha {row.before.alpha:.2f} → {row.after.alpha:.2f}")
    if words:
        return "; ".join(words)
    return "no weights to compare" if row.status == METRICS_ONLY else f"changed by {row.relative_change:.2g}"
