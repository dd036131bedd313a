"""AlphaPruning: how sparse each layer shall be, from its scores. Heavy tails are kept, light ones are pruned more.

It says how much is pruned and not which weights: inside a layer any method may choose them (magnitude, Wanda, SparseGPT).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from itertools import accumulate

from spectra.errors import InputError
from spectra.policies.policy_options import is_number, number, one_of, option
from spectra.policies.units import UnitPolicy, UnitScores, scores_of
from spectra.results.records import LayerDiagnostics


class Allocation(StrEnum):
    """How sparsity is distributed."""

    ALPHA = "alpha"
    """The higher the score, the sparser: the method."""
    UNIFORM = "uniform"
    """All units alike: the control."""
    REVERSED = "reversed"
    """The higher the score, the denser: the other control."""


_SPREAD = number("a number in [0, 1)", lambda value: 0.0 <= value < 1.0)
_CAP = number("a number in (0, 1]", lambda value: 0.0 < value <= 1.0)


@dataclass(frozen=True, kw_only=True)
class SparsityPolicy(UnitPolicy):
    """Options of a policy that distributes sparsity: their only definition.

    The metadata of each field say what it means and where it comes from.
    """

    epsilon: float = option(0.3, "how far units differ before scaling: 1 - X to 1 + X", "code of arXiv 2410.10912", _SPREAD)
    max_sparsity: float = option(0.99, "largest sparsity of a unit", "our choice: the published code has no limit", _CAP)
    allocation: str = option(
        Allocation.ALPHA, "alpha, or a control: uniform or reversed", "arXiv 2410.10912; controls: ours", one_of(Allocation)
    )


@dataclass(frozen=True)
class LayerSparsities:
    """Sparsities of a model. All mappings are in model order.

    Attributes:
        sparsities: Share of weights to prune, by layer; 0 for layers of no unit and of units without score.
        units: The same by unit, for units with a score.
        scores: Score by unit.
        members: Layers by unit.
        left_out: Why a layer enters no score. Layers of a unit that has a score are pruned nonetheless.
        sparsity: Of all weights of the units together.
    """

    sparsities: Mapping[str, float]
    units: Mapping[str, float]
    scores: Mapping[str, float]
    members: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]
    sparsity: float


def allocate_sparsities(
    scores: Mapping[str, float],
    sizes: Mapping[str, int],
    sparsity: float,
    *,
    epsilon: float = 0.3,
    max_sparsity: float = 0.99,
) -> dict[str, float]:
    r"""Distribute a global sparsity over units: the higher the score, the sparser.

    .. math:: r_i = 1 - \epsilon + 2 \epsilon \frac{a_i - a_\text{lo}}{a_\text{hi} - a_\text{lo}} , \qquad
              \rho_i = \min(c \, r_i, \rho_\text{max}) ,

    with the c for which :math:`\sum_i \rho_i n_i = S \sum_i n_i`. The published code has no :math:`\rho_\text{max}` and may
    ask for more than all weights; its successor clips without making up for it, and misses S.

    Source: arXiv 2410.10912 and its code; the limit is ours.

    Args:
        scores: Score by unit. Units of ``sizes`` without a finite one get ``r = 1``; so do all if the scores are equal.
        sizes: Number of weights by unit, at least 1.
        sparsity: S, the share of all weights to prune, in ``[0, max_sparsity]``.
        epsilon: In [0, 1). Default 0.3; the paper's choices lie between 0.2 and 0.5.
        max_sparsity: In (0, 1]. Default 0.99: our choice.

    Returns:
        Sparsity by unit, in the order of ``sizes``; a higher score never has a lower one.

    Raises:
        InputError: An argument out of range, no unit, or a score of a unit without size.

    Example:
        >>> found = allocate_sparsities({"block 0": 2.0, "block 1": 4.0}, {"block 0": 100, "block 1": 100}, 0.5)
        >>> {unit: round(sparsity, 6) for unit, sparsity in found.items()}
        {'block 0': 0.35, 'block 1': 0.65}
    """
    _check(scores, sizes, sparsity, SparsityPolicy(epsilon=epsilon, max_sparsity=max_sparsity))
    ratios = _ratios({unit: scores.get(unit, math.nan) for unit in sizes}, epsilon)
    factor = _factor(ratios, sizes, sparsity, max_sparsity)
    return {unit: min(factor * ratios[unit], max_sparsity) for unit in sizes}


def layer_sparsities(layers: Sequence[LayerDiagnostics], sparsity: float, policy: SparsityPolicy) -> LayerSparsities:
    """Distribute a global sparsity over the layers of a model.

    Args:
        layers: Rows of a report, in model order.
        sparsity: Share to prune of the weights of all units with a score; other layers are not pruned, and not counted.
        policy: Which layers and units, which metric, and how it becomes a sparsity.

    Returns:
        The sparsities; all layers of a unit have the same.

    Raises:
        InputError: No unit has a score, or a sparsity out of range.
    """
    found = scores_of(layers, policy)
    if not found.scores:
        raise InputError(
            f"no unit has a score ({policy.metric}), so that nothing could be pruned. The column 'status' says why; "
            "unit='layer' needs no blocks."
        )
    units = allocate_sparsities(
        _allocated_by(found.scores, policy),
        _sizes(layers, found),
        sparsity,
        epsilon=policy.epsilon,
        max_sparsity=policy.max_sparsity,
    )
    by_layer = {name: units[unit] for unit in units for name in found.members[unit]}
    sparsities = {row.layer_name: by_layer.get(row.layer_name, 0.0) for row in layers}
    return LayerSparsities(sparsities, units, found.scores, found.members, found.left_out, float(sparsity))


def _allocated_by(scores: Mapping[str, float], policy: SparsityPolicy) -> dict[str, float]:
    if policy.allocation == Allocation.UNIFORM:
        return dict.fromkeys(scores, 1.0)
    sign = -1.0 if policy.allocation == Allocation.REVERSED else 1.0
    return {unit: sign * score for unit, score in scores.items()}


def _sizes(layers: Sequence[LayerDiagnostics], found: UnitScores) -> dict[str, int]:
    weights: dict[str, int] = {}
    for row in layers:
        weights[row.layer_name] = weights.get(row.layer_name, 0) + row.num_params
    return {unit: sum(weights[name] for name in found.members[unit]) for unit in found.scores}


def _check(scores: Mapping[str, float], sizes: Mapping[str, int], sparsity: float, policy: SparsityPolicy) -> None:
    if not sizes or min(sizes.values()) < 1:
        raise InputError("sizes: expected at least one unit, and at least 1 weight in each. Leave empty units out.")
    without = [unit for unit in scores if unit not in sizes]
    if without:
        raise InputError(f"sizes: {len(without)} of {len(scores)} scored units have none, such as '{without[0]}'. Add them.")
    if not is_number(sparsity) or not 0.0 <= sparsity <= policy.max_sparsity:
        raise InputError(f"sparsity: expected a number in [0, max_sparsity = {policy.max_sparsity}], got {sparsity!r}.")


def _ratios(scores: Mapping[str, float], epsilon: float) -> dict[str, float]:
    known = [score for score in scores.values() if math.isfinite(score)]
    low, high = (min(known), max(known)) if known else (0.0, 0.0)
    if low == high:
        return dict.fromkeys(scores, 1.0)
    return {
        unit: 1.0 - epsilon + 2.0 * epsilon * ((score - low) / (high - low)) if math.isfinite(score) else 1.0
        for unit, score in scores.items()
    }


def _factor(ratios: Mapping[str, float], sizes: Mapping[str, int], sparsity: float, cap: float) -> float:
    """Find the factor on the ratios: exact, as filling vessels with water is, the first of which are full."""
    falling = sorted(ratios, key=ratios.__getitem__, reverse=True)
    demands = list(accumulate((ratios[unit] * sizes[unit] for unit in reversed(falling)), initial=0.0))[::-1]
    rest = sparsity * sum(sizes.values())
    for unit, demand in zip(falling, demands, strict=False):  # the last demand is that of no unit
        if rest * ratios[unit] <= cap * demand:
            return rest / demand
        rest -= cap * sizes[unit]
    return cap / ratios[falling[-1]]  # all full: sparsity is the cap, but for a rounding
