r"""Ranks of low-rank adapters from scores: one budget of parameters, more of it where a layer has more to learn.

A layer of shape (rows, cols) with an adapter of rank r costs r (rows + cols) parameters. Ranks are in proportion to a power of
the score, between limits, and whole:

=================  ==================================================================================================
score, its power   why
=================  ==================================================================================================
alpha, 2.5         a light tail is a block that is not yet well trained; arXiv 2410.10054 gives blocks experts of adapters
                   in proportion to alpha^2.5: :func:`spectral_rank_scores`, ``SPECTRAL_POWER``
Fisher trace, 0.5  it is the mean squared gradient. If what an adapter of rank r misses falls as trace / r, the sum over
                   layers of one shape is least for ranks in proportion to sqrt(trace); our choice:
                   :func:`fisher_rank_scores`, ``FISHER_POWER``
=================  ==================================================================================================

Only layers with a score are adapted. Against equal ranks compare with as many parameters: ``mean_rank``.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import mode
from typing import Any

from spectra.errors import InputError
from spectra.policies.policy_options import is_number
from spectra.policies.units import HEADS, UnitKind, UnitOf, unit_scores
from spectra.results.fisher import Fisher
from spectra.results.records import LayerDiagnostics

#: Power of alpha: the exponent beta of arXiv 2410.10054 and its code.
SPECTRAL_POWER = 2.5
#: Power of a Fisher trace; see the module.
FISHER_POWER = 0.5

_ADAPTED_KINDS = ("linear",)
_WINSORIZE = (1.0, 10.0)
# A score of zero comes last, not never: else a budget could not be spent.
_LEAST_WEIGHT = 1e-12


@dataclass(frozen=True)
class AdapterRanks:
    """Ranks of adapters.

    Attributes:
        ranks: Rank by layer, in the order of the scores; 0 is no adapter.
        scores: What they were made of.
        num_params: Parameters of all adapters together.
        budget: What they had to keep to.
    """

    ranks: Mapping[str, int]
    scores: Mapping[str, float]
    num_params: int
    budget: int

    def rank_pattern(self) -> dict[str, int]:
        """Return peft's ``rank_pattern``: rank by regular expression for the layer's name.

        peft takes the first expression that matches the end of a name, so that longer names come first; anything may stand
        before the name, such as ``bert.`` in a model with another head.
        """
        adapted = sorted((name for name, rank in self.ranks.items() if rank), key=len, reverse=True)
        return {re.escape(name): self.ranks[name] for name in adapted}

    def alpha_pattern(self, lora_alpha_over_r: float = 1.0) -> dict[str, int | float]:
        """Return peft's ``alpha_pattern``: with it adapters of all ranks are scaled alike.

        Args:
            lora_alpha_over_r: The scale of every adapter. Default 1: peft's own, 8 / 8.

        Returns:
            ``lora_alpha`` by regular expression for the layer's name.
        """
        return {name: _whole(lora_alpha_over_r * rank) for name, rank in self.rank_pattern().items()}

    def lora_arguments(self, lora_alpha_over_r: float = 1.0) -> dict[str, Any]:
        """Return arguments of ``peft.LoraConfig`` that give each layer its rank; rsLoRA scales otherwise, so leave it off.

        Args:
            lora_alpha_over_r: The scale of every adapter. Default 1: peft's own, 8 / 8.

        Returns:
            ``r`` and ``lora_alpha`` (those of the most frequent rank; every layer has its own in the patterns),
            ``rank_pattern``, ``alpha_pattern`` and ``target_modules``.

        Raises:
            InputError: No layer has a rank above 0, or the scale is no positive number.
        """
        if not is_number(lora_alpha_over_r) or lora_alpha_over_r <= 0.0:
            raise InputError(f"lora_alpha_over_r: expected a positive number, got {lora_alpha_over_r!r}.")
        adapted = [name for name, rank in self.ranks.items() if rank]
        if not adapted:
            raise InputError("ranks: all are 0, so that there is nothing to adapt. Raise the budget or min_rank.")
        usual = mode(self.ranks[name] for name in adapted)
        return {
            "r": usual,
            "lora_alpha": _whole(lora_alpha_over_r * usual),
            "rank_pattern": self.rank_pattern(),
            "alpha_pattern": self.alpha_pattern(lora_alpha_over_r),
            "target_modules": adapted,
        }


def adapter_ranks(
    scores: Mapping[str, float],
    shapes: Mapping[str, tuple[int, int]],
    *,
    mean_rank: float | None = None,
    budget: int | None = None,
    min_rank: int = 1,
    max_rank: int = 64,
    power: float = 1.0,
) -> AdapterRanks:
    """Distribute a budget of adapter parameters over layers: the higher the score, the larger the rank.

    Ranks are ``c * score ** power`` between the limits, with the c that spends the budget; rounded down, and what is left goes
    to the layers that lost most by it, at most 1 to each.

    Args:
        scores: Score by layer, finite and at least 0.
        shapes: Rows and columns of the weight, by layer; those of layers without score are not looked at.
        mean_rank: Budget as the rank that all layers could have for it.
        budget: Budget in parameters; one of the two is given.
        min_rank: Least rank. Default 1: every layer is adapted. 0 lets layers of low score do without.
        max_rank: Largest rank; a layer's shorter side is a limit, too. Default 64: our choice, 8 times peft's usual rank.
        power: Of the score. Default 1; ``SPECTRAL_POWER`` and ``FISHER_POWER`` belong to the scores of this module.

    Returns:
        The ranks: ``num_params`` is at most ``budget`` and misses it by less than one rank of one layer. Of two layers of one
        shape that with the higher score never has the lower rank.

    Raises:
        InputError: An unusable score, a missing shape, an argument out of range, or a budget that the limits do not allow.

    Example:
        >>> shapes = {"query": (64, 64), "up": (256, 64), "down": (64, 256)}
        >>> adapter_ranks({"query": 2.0, "up": 4.0, "down": 6.0}, shapes, mean_rank=8).ranks
        {'query': 3, 'up': 7, 'down': 11}
    """
    _check_ranks(scores, shapes, min_rank, max_rank, power)
    costs = [sum(shapes[name]) for name in scores]
    highs = [min(max_rank, *shapes[name]) for name in scores]
    lows = [min(min_rank, high) for high in highs]
    allowed = _budget(mean_rank, budget, costs, lows, highs)
    targets = _targets(_weights(list(scores.values()), power), costs, lows, highs, allowed)
    ranks = _rounded(targets, costs, list(scores.values()), allowed)
    return AdapterRanks(dict(zip(scores, ranks, strict=True)), dict(scores), _cost(ranks, costs), allowed)


def spectral_rank_scores(
    layers: Sequence[LayerDiagnostics], *, unit: str | UnitOf = UnitKind.BLOCK, exclude: str | Sequence[str] = HEADS
) -> dict[str, float]:
    """Score linear layers by the mean alpha of their block, for ranks: a light tail (high alpha) is not yet well trained.

    Means of blocks, because alphas of differently shaped weights do not compare (arXiv 2506.06280): in a MiniLM of six blocks
    those of the feed-forward weights, four times as long as wide, lie 0.6 above those of the square ones. Alpha and not the
    stable rank: that says how many directions a layer uses already, not how many it has to learn.

    Source: arXiv 2410.10054, which distributes experts of adapters over blocks so; with ``SPECTRAL_POWER``.

    Args:
        layers: Rows of a report.
        unit: ``block``, ``layer`` (of an analysis with windows of one shape, ``subsample="farms"``), or a function from the
            layer's name to its unit's or ``None``.
        exclude: Globs on names of layers that are not adapted. Default: output layers.

    Returns:
        Score by layer, for those that have an alpha and a unit; alphas are clipped to [1, 10].

    Raises:
        InputError: There is none.
    """
    found = unit_scores(layers, unit=unit, kinds=_ADAPTED_KINDS, exclude=exclude, winsorize=_WINSORIZE)
    scores = {name: found.scores[place] for place in found.scores for name in found.members[place]}
    fitted = {
        row.layer_name: scores[row.layer_name] for row in layers if row.layer_name in scores.keys() - found.left_out.keys()
    }
    if not fitted:
        raise InputError(
            "no linear layer has an alpha and a block. The column 'status' says why; unit='layer' needs no blocks."
        )
    return fitted


def fisher_rank_scores(
    fisher: Fisher, layers: Sequence[LayerDiagnostics], *, exclude: str | Sequence[str] = HEADS, model: str = ""
) -> dict[str, float]:
    """Score linear layers by the trace of their Fisher, for ranks: the mean squared gradient on the data.

    With ``FISHER_POWER``. Traces span decades; in proportion to them one layer would get nearly all.

    Args:
        fisher: Of the same model, on data of the task.
        layers: Rows of a report: which layers are linear.
        exclude: Globs on names of layers that are not adapted. Default: output layers.
        model: Its name, for messages.

    Returns:
        Trace by layer.

    Raises:
        InputError: A linear layer that the Fisher does not have, or no linear layer.
    """
    members = unit_scores(layers, unit=UnitKind.LAYER, kinds=_ADAPTED_KINDS, exclude=exclude).members
    traces = fisher.scores("layer", "trace")
    without = [name for name in members if not math.isfinite(traces.get(name, math.nan))]
    if without or not members:
        fault = (
            f"{len(without)} of {len(members)} linear layers have no trace, such as '{without[0]}'"
            if without
            else "there is no linear layer"
        )
        names = f" The Fisher is of '{fisher.info.model}', the layers are of '{model}'." if model else ""
        raise InputError(f"fisher: {fault}.{names} Measure all linear layers of this model, or exclude some.")
    return {name: traces[name] for name in members}


def adapter_shapes(layers: Sequence[LayerDiagnostics]) -> dict[str, tuple[int, int]]:
    """Return the shapes of linear layers from a report.

    Args:
        layers: Its rows; those of one layer are parts of a fused projection, one after the other along its outputs.

    Returns:
        Rows and columns of the whole weight, as stored, by layer.
    """
    shapes: dict[str, tuple[int, int]] = {}
    for row in layers:
        if row.kind in _ADAPTED_KINDS:
            rows, cols = shapes.get(row.layer_name, (0, 0))
            part = (row.num_rows, cols + row.num_cols) if row.is_transposed else (rows + row.num_rows, row.num_cols)
            shapes[row.layer_name] = part
    return shapes


def _check_ranks(
    scores: Mapping[str, float], shapes: Mapping[str, tuple[int, int]], min_rank: int, max_rank: int, power: float
) -> None:
    if not scores:
        raise InputError("scores: there is no layer. Give at least one score.")
    faulty = [f"'{name}' ({score!r})" for name, score in scores.items() if not is_number(score) or score < 0.0]
    if faulty:
        raise InputError(f"scores: {len(faulty)} of {len(scores)} are no finite numbers of at least 0: {', '.join(faulty)}.")
    without = [f"'{name}'" for name in scores if min(shapes.get(name, (0, 0))) < 1]
    if without:
        raise InputError(f"shapes: {len(without)} of {len(scores)} scored layers have none: {', '.join(without)}. Add them.")
    whole = isinstance(min_rank, int) and isinstance(max_rank, int)
    if not whole or not 0 <= min_rank <= max_rank or max_rank < 1:
        raise InputError(
            f"min_rank and max_rank: expected whole numbers with 0 <= min_rank <= max_rank and max_rank >= 1, got {min_rank!r} "
            f"and {max_rank!r}."
        )
    if not is_number(power) or power < 0.0:
        raise InputError(f"power: expected a number of at least 0, got {power!r}.")


def _budget(
    mean_rank: float | None, budget: int | None, costs: Sequence[int], lows: Sequence[int], highs: Sequence[int]
) -> int:
    if (mean_rank is None) == (budget is None):
        raise InputError("mean_rank and budget: expected one of the two.")
    allowed: Any = budget if mean_rank is None else mean_rank * sum(costs)
    least, most = _cost(lows, costs), _cost(highs, costs)
    if not is_number(allowed) or not least <= allowed <= most:
        words = f"budget {budget!r}" if mean_rank is None else f"mean_rank {mean_rank!r}"
        raise InputError(
            f"{words}: with min_rank and max_rank adapters have {least} to {most} parameters, which are mean ranks of "
            f"{least / sum(costs):.3g} to {most / sum(costs):.3g}. Change one of the three."
        )
    return int(allowed)


def _weights(scores: Sequence[float], power: float) -> list[float]:
    top = max(scores)
    return [max((score / top) ** power, _LEAST_WEIGHT) if top > 0.0 else 1.0 for score in scores]


def _targets(
    weights: Sequence[float], costs: Sequence[int], lows: Sequence[int], highs: Sequence[int], budget: int
) -> list[float]:
    """Find the ranks before rounding: the cost of ``factor * weight`` between limits is linear where no limit is met."""

    def at(factor: float) -> list[float]:
        return [min(max(factor * w, low), high) for w, low, high in zip(weights, lows, highs, strict=True)]

    bends = sorted({0.0, *(limit / w for limits in (lows, highs) for w, limit in zip(weights, limits, strict=True))})
    place = bisect_right(bends, budget, key=lambda factor: _cost(at(factor), costs))
    start, end = at(bends[max(place - 1, 0)]), at(bends[min(place, len(bends) - 1)])
    spent, most = _cost(start, costs), _cost(end, costs)
    share = (budget - spent) / (most - spent) if most > spent else 0.0
    return [low + share * (high - low) for low, high in zip(start, end, strict=True)]


def _rounded(targets: Sequence[float], costs: Sequence[int], scores: Sequence[float], budget: int) -> list[int]:
    ranks = [math.floor(target) for target in targets]
    left = budget - _cost(ranks, costs)
    order = sorted(range(len(ranks)), key=lambda place: (ranks[place] - targets[place], -scores[place]))
    for place in order:
        if targets[place] > ranks[place] and costs[place] <= left:
            ranks[place] += 1
            left -= costs[place]
    return ranks


def _cost(ranks: Sequence[Any], costs: Sequence[int]) -> Any:
    return sum(rank * cost for rank, cost in zip(ranks, costs, strict=True))


def _whole(number: float) -> int | float:
    """Return 16 for 16.0, as people write it."""
    return int(number) if float(number).is_integer() else number
