"""Whether two contestants gave the same answers."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

# Both in float64; what separates a Gram matrix from a singular value decomposition is 1e-13 in the tail.
RELATIVE_TOLERANCE = 1e-8

Answers = Mapping[str, Mapping[str, float | None]]


class AnswersDifferError(RuntimeError):
    """The contestants do not agree: their times say nothing."""


def require_equal(ours: Answers, theirs: Answers, columns: Sequence[str], *, where: str) -> None:
    """Compare row by row and column by column.

    Args:
        ours: Row name → column → number.
        theirs: The same of the peer.
        columns: Columns to compare.
        where: For the message.

    Raises:
        AnswersDifferError: Other rows, or a number that differs; every difference is listed.
    """
    problems = [f"only in Spectra: {name}" for name in sorted(set(ours) - set(theirs))]
    problems += [f"only in the peer: {name}" for name in sorted(set(theirs) - set(ours))]
    for name in sorted(ours.keys() & theirs.keys()):
        problems += [
            f"{name}: {column} is {ours[name][column]!r}, the peer's {theirs[name][column]!r}"
            for column in columns
            if not _agree(ours[name][column], theirs[name][column])
        ]
    if not ours:
        problems.append("no rows")
    if problems:
        shown = "\n  ".join(problems[:20])
        raise AnswersDifferError(f"{where}: the answers differ, so times say nothing ({len(problems)} differences).\n  {shown}")


def _agree(ours: float | None, theirs: float | None) -> bool:
    if ours is None or theirs is None:
        return ours is theirs
    return math.isclose(ours, theirs, rel_tol=RELATIVE_TOLERANCE, abs_tol=0.0)
