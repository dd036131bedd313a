"""How well a ranking of training examples finds those whose labels were flipped."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import ArrayLike

from spectra.results.sample_history import SampleHistory

OURS = ("dcs: weight", "dcs: mean loss")  # the two orders of the list of hard samples
REFERENCE = "plain: last loss"
RANKINGS = (*OURS, "literal-adaboost: weight", REFERENCE, "plain: mean loss", "teacher: loss")


def rankings(histories: Mapping[str, SampleHistory], teacher_losses: ArrayLike) -> dict[str, list[int]]:
    """Rank training examples in every way that is compared, the most suspicious first."""
    plain = histories["plain"].losses_by_round  # shape (epochs, N), without dropout, after each epoch
    return {
        "dcs: weight": [sample.index for sample in histories["dcs"].hardest(None)],
        "dcs: mean loss": [sample.index for sample in histories["dcs"].hardest(None, by="mean_loss")],
        "literal-adaboost: weight": [sample.index for sample in histories["literal-adaboost"].hardest(None)],
        REFERENCE: _downwards(plain[-1]),
        # As the area under the margin (arXiv 2001.10528): what is learned late is suspicious, even if it is learned in the end.
        "plain: mean loss": _downwards(plain.mean(axis=0)),
        "teacher: loss": _downwards(teacher_losses),
    }


def places(order: Sequence[int], wrong: Sequence[int]) -> list[int]:
    """Return where in a ranking the wrong labels are, from 0."""
    return [place for place, index in enumerate(order) if index in set(wrong)]


def area(found: Sequence[int], size: int) -> float:
    """Compute the area under the ROC curve: the chance that a wrong label stands before a right one."""
    number = len(found)
    right_before = sum(found) - number * (number - 1) // 2
    return 1.0 - right_before / (number * (size - number))


def precision(found: Sequence[int], first: int) -> float:
    """Compute the share of wrong labels among the first of a ranking."""
    return sum(place < first for place in found) / first


def _downwards(losses: ArrayLike) -> list[int]:
    order: list[int] = np.argsort(-np.asarray(losses), kind="stable").tolist()
    return order
