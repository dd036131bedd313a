"""The rounds in which sample weights are updated: their record, and how it is written and read as JSON."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True, kw_only=True)
class WeightRound:
    """One update of the sample weights, or one that was skipped.

    Attributes:
        number: Of the round, from 0.
        step: Optimizer steps that were done before its end.
        eps: Discordance, averaged with the weights from before the round; NaN where it is not known.
        step_size: What the logarithm of a fully discordant sample's weight rose by, before normalization; 0 if skipped.
        skipped: Why nothing changed, in a few words that are the same for the same cause; ``None`` if something did.
        ess: Effective share of samples after the round, (sum v)^2 / (N sum v^2): 1 for equal weights.
        v_max: The largest weight after the round.
        top_share: What the heaviest 1 % of the samples weigh, as a share of all.
        num_seen: Samples whose discordance was recorded in the round.
        seconds: What the update took, an evaluation pass included; NaN where it was not measured.
    """

    number: int
    step: int
    eps: float
    step_size: float
    skipped: str | None
    ess: float
    v_max: float
    top_share: float
    num_seen: int
    seconds: float = math.nan


def read_round(content: Mapping[str, Any]) -> WeightRound:
    """Make a round of what JSON gives back.

    Args:
        content: Its fields, as :func:`plain_json` wrote them.

    Returns:
        The round.

    Raises:
        KeyError: A field is missing.
        TypeError: A field holds something else than a number or a text.
        ValueError: A text that is no number.
    """
    read: dict[str, Callable[[Any], Any]] = {"int": int, "float": _number, "str | None": _word}
    return WeightRound(**{each.name: read[str(each.type)](content[each.name]) for each in dataclasses.fields(WeightRound)})


def plain_json(value: Any) -> Any:
    """Write numbers that are not finite as ``null`` and ``"inf"``: JSON has no other words for them.

    Args:
        value: A number, a text, or a container of them.

    Returns:
        The plain value, with lists for tuples.
    """
    if isinstance(value, Mapping):
        return {name: plain_json(each) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [plain_json(each) for each in value]
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value


def _number(value: float | str | None) -> float:
    return math.nan if value is None else float(value)


def _word(value: str | None) -> str | None:
    return None if value is None else str(value)
