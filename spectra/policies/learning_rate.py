r"""TempBalance: learning-rate multipliers from scores. A light tail (high alpha) is a sign of too little training.

With :math:`a_i` the score of unit i of L, and :math:`a_\text{lo}`, :math:`a_\text{hi}`, :math:`\bar a` their least, largest and
mean value, the learning rate of a unit is the scheduler's times

=============  ==================================================================================  =============  ==========
map            multiplier                                                                          mean is 1      source
=============  ==================================================================================  =============  ==========
``linear``     r_min + (r_max - r_min) (a - a_lo) / (a_hi - a_lo)                                  no             2312.00359
``sqrt``       L sqrt(a) / sum of sqrt(a)                                                          yes            its code
``log2``       L log2(a) / sum of log2(a), for a > 1                                               yes            its code
``rank``       r_min + (r_max - r_min) q / L, q = 0 ... L - 1 the ascending rank                   no             its code
``sigmoid``    10^phi, phi = s (1 / (1 + exp(-tau (a - mean))) - 1/2)                              no             2410.12178
=============  ==================================================================================  =============  ==========

In ``sigmoid`` s is ``s_above`` for scores over the mean and ``s_below`` for the others: multipliers lie between
``10^(-s_below / 2)`` and ``10^(s_above / 2)``. The paper has two values "for higher and lower than the mean" and the released
configuration of QNLI has the larger one below it; so both have names here.

Where there is nothing to tell units apart, the multiplier is 1: all scores equal, one unit, a unit without score. (The code
then gives all units ``r_max`` in ``linear``, and rising values in ``rank``.) A few equal scores get the multiplier of their
mean rank in ``rank``.
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from statistics import fmean, mean

from spectra.errors import InputError
from spectra.policies.policy_options import number, one_of, option
from spectra.policies.units import UnitPolicy, scores_of
from spectra.results.records import LayerDiagnostics

__all__ = [
    # options
    "Normalize", "ScaleMap", "ScalePolicy", "ScaleTarget",
    # scores to multipliers
    "UnitScales", "scales", "scales_of", "scores_of", "unit_scales",
]  # fmt: skip

# Relative. Equal weights may be fitted in another order of additions; what tells units apart is a thousand times larger.
_EQUAL = 1e-9


class ScaleMap(StrEnum):
    """How scores become multipliers."""

    LINEAR = "linear"
    """By value, from ``r_min`` to ``r_max``."""
    SQRT = "sqrt"
    """In proportion to the square root."""
    LOG2 = "log2"
    """In proportion to the logarithm."""
    RANK = "rank"
    """By rank, from ``r_min`` on in equal steps, under ``r_max``."""
    SIGMOID = "sigmoid"
    """A power of ten, by how far a score is from the mean."""


class Normalize(StrEnum):
    """Which mean of the multipliers is made 1, over the units with a score (the code counts the head, which is not scaled)."""

    NONE = "none"
    """None: as the map gives them, within its bounds."""
    ARITHMETIC = "arithmetic"
    """The arithmetic one: the sum of learning rates stays."""
    GEOMETRIC = "geometric"
    """The geometric one: as much is multiplied as is divided."""


class ScaleTarget(StrEnum):
    """What is multiplied."""

    LEARNING_RATE = "learning_rate"
    """TempBalance."""
    WEIGHT_DECAY = "weight_decay"
    """AlphaDecay."""


_AT_LEAST_0 = number("a number of at least 0", lambda value: value >= 0.0)
_POSITIVE = number("a number above 0", lambda value: value > 0.0)
# 10 is a factor of 10^5 in both directions; the papers try up to 2.
_STRENGTH = number("a number in [0, 10]", lambda value: 0.0 <= value <= 10.0)


@dataclass(frozen=True, kw_only=True)
class ScalePolicy(UnitPolicy):
    """Options of a policy that multiplies learning rates or weight decays: their only definition.

    The metadata of each field say what it means and where it comes from.
    """

    target: str = option(
        ScaleTarget.LEARNING_RATE, "what is multiplied: learning_rate or weight_decay", "arXiv 2312.00359; 2506.14562",
        one_of(ScaleTarget),
    )  # fmt: skip
    map: str = option(
        ScaleMap.SIGMOID, "how scores become multipliers: linear, sqrt, log2, rank or sigmoid",
        "arXiv 2410.12178, eq. 3 and 4", one_of(ScaleMap),
    )  # fmt: skip
    r_min: float = option(0.5, "multiplier of the lowest score, for linear and rank", "code of arXiv 2312.00359", _AT_LEAST_0)
    r_max: float = option(1.5, "multiplier of the highest score, for linear and rank", "code of arXiv 2312.00359", _POSITIVE)
    s_below: float = option(1.0, "strength under the mean, for sigmoid: 2 divides by up to 10", "arXiv 2410.12178", _STRENGTH)
    s_above: float = option(1.0, "strength over the mean, for sigmoid: 2 multiplies by up to 10", "arXiv 2410.12178", _STRENGTH)
    tau: float = option(10.0, "steepness at the mean, for sigmoid", "arXiv 2410.12178, eq. 4", _POSITIVE)
    normalize: str = option(
        Normalize.NONE, "mean of the multipliers that is made 1: none, arithmetic or geometric",
        "code of arXiv 2410.12178: none", one_of(Normalize),
    )  # fmt: skip

    @property
    def method(self) -> str:
        """Name of the method, by what is multiplied."""
        return "alphadecay" if self.target == ScaleTarget.WEIGHT_DECAY else "tempbalance"

    def contradictions(self) -> Iterable[str]:
        """Yield a sentence for each pair of options that exclude each other."""
        yield from super().contradictions()
        if self.r_min > self.r_max:
            yield f"r_min and r_max: expected r_min <= r_max, got {self.r_min} and {self.r_max}. Exchange them."
        if self.r_min == 0.0 and self.normalize == Normalize.GEOMETRIC and self.map in (ScaleMap.LINEAR, ScaleMap.RANK):
            yield "r_min: a multiplier of 0 makes every geometric mean 0. Raise r_min, or normalize otherwise."


@dataclass(frozen=True)
class UnitScales:
    """Multipliers of units. All mappings are in model order.

    Attributes:
        scales: Multiplier by unit; 1 where there is no score.
        scores: Score by unit, finite.
        members: Layers by unit.
        left_out: Why a layer enters no score.
    """

    scales: Mapping[str, float]
    scores: Mapping[str, float]
    members: Mapping[str, tuple[str, ...]]
    left_out: Mapping[str, str]


def scales(
    scores: Mapping[str, float],
    *,
    map: str = ScaleMap.SIGMOID,  # noqa: A002 - the word of the policy's option
    r_min: float = 0.5,
    r_max: float = 1.5,
    s_below: float = 1.0,
    s_above: float = 1.0,
    tau: float = 10.0,
    normalize: str = Normalize.NONE,
) -> dict[str, float]:
    """Turn scores into multipliers: the higher the score, the larger.

    Source: arXiv 2312.00359 (``linear``), 2410.12178 (``sigmoid``) and their code; see the module for the formulas.

    Args:
        scores: Score by unit; units whose score is not finite get 1 and are outside all means.
        map: One of ``linear``, ``sqrt``, ``log2``, ``rank`` and ``sigmoid``.
        r_min: Multiplier of the lowest score, for ``linear`` and ``rank``.
        r_max: That of the highest one; ``rank`` stays under it.
        s_below: Strength of ``sigmoid`` for scores up to the mean.
        s_above: Its strength for scores over the mean.
        tau: Its steepness.
        normalize: Mean of the multipliers that is made 1.

    Returns:
        Multiplier by unit, in the order of ``scores``. Equal scores have equal ones; if all are equal, they are 1.

    Raises:
        InputError: An option that cannot be, or a score that the map, or the mean, is not defined for.

    Example:
        >>> scales({"block 0": 2.0, "block 1": 3.0, "block 2": 5.5}, map="linear")
        {'block 0': 0.5, 'block 1': 0.7857142857142857, 'block 2': 1.5}
    """
    policy = ScalePolicy(map=map, r_min=r_min, r_max=r_max, s_below=s_below, s_above=s_above, tau=tau, normalize=normalize)
    return scales_of(scores, policy)


def scales_of(scores: Mapping[str, float], policy: ScalePolicy) -> dict[str, float]:
    """Turn scores into multipliers, as :func:`scales` does.

    Args:
        scores: Score by unit; see :func:`scales`.
        policy: Its options.

    Returns:
        Multiplier by unit, in the order of ``scores``.
    """
    known = {unit: float(score) for unit, score in scores.items() if math.isfinite(score)}
    values = list(known.values())
    if not values or max(values) - min(values) <= _EQUAL * max(map(abs, values)):
        return dict.fromkeys(scores, 1.0)
    found = _normalized(_MAPS[ScaleMap(policy.map)](values, policy), policy)
    return dict.fromkeys(scores, 1.0) | dict(zip(known, found, strict=True))


def unit_scales(layers: Sequence[LayerDiagnostics], policy: ScalePolicy) -> UnitScales:
    """Give the units of a model multipliers.

    Args:
        layers: Rows of a report, in model order.
        policy: Which layers and units, which metric, and how it becomes a multiplier.

    Returns:
        The multipliers.
    """
    found = scores_of(layers, policy)
    multipliers = dict.fromkeys(found.members, 1.0) | scales_of(found.scores, policy)
    return UnitScales(multipliers, found.scores, found.members, found.left_out)


def _linear(values: Sequence[float], policy: ScalePolicy) -> list[float]:
    scaled = _scaled(values)
    low, high = min(scaled), max(scaled)
    return [_between((value - low) / (high - low), policy) for value in scaled]


def _scaled(values: Sequence[float]) -> list[float]:
    """Divide by a power of two, which rounds nothing, so that no difference of two values overflows."""
    _, exponent = math.frexp(max(map(abs, values)))
    return [math.ldexp(value, -exponent) for value in values]


def _rank(values: Sequence[float], policy: ScalePolicy) -> list[float]:
    ascending = sorted(values)
    ranks = [(bisect_left(ascending, value) + bisect_right(ascending, value) - 1) / 2 for value in values]
    return [_between(rank / len(values), policy) for rank in ranks]


def _between(place: float, policy: ScalePolicy) -> float:
    # The sum may miss r_max by a rounding.
    return min(policy.r_min + (policy.r_max - policy.r_min) * place, policy.r_max)


def _sqrt(values: Sequence[float], policy: ScalePolicy) -> list[float]:
    _require(min(values) >= 0.0, values, ScaleMap.SQRT, "of at least 0")
    return _in_proportion([math.sqrt(value) for value in values])


def _log2(values: Sequence[float], policy: ScalePolicy) -> list[float]:
    _require(min(values) > 1.0, values, ScaleMap.LOG2, "above 1")
    return _in_proportion([math.log2(value) for value in values])


def _in_proportion(values: Sequence[float]) -> list[float]:
    average = mean(values)
    return [value / average for value in values]


def _sigmoid(values: Sequence[float], policy: ScalePolicy) -> list[float]:
    average = mean(values)  # in fractions: the sum that fmean makes may overflow
    return [_power(value - average, policy.s_above if value > average else policy.s_below, policy.tau) for value in values]


def _power(distance: float, strength: float, tau: float) -> float:
    # 1 / (1 + exp(-x)) - 1/2 = tanh(x / 2) / 2, which overflows nowhere.
    return float(10.0 ** (0.5 * strength * math.tanh(0.5 * tau * distance)))


_MAPS: Mapping[ScaleMap, Callable[[Sequence[float], ScalePolicy], list[float]]] = {
    ScaleMap.LINEAR: _linear,
    ScaleMap.SQRT: _sqrt,
    ScaleMap.LOG2: _log2,
    ScaleMap.RANK: _rank,
    ScaleMap.SIGMOID: _sigmoid,
}


def _normalized(values: list[float], policy: ScalePolicy) -> list[float]:
    if policy.normalize == Normalize.ARITHMETIC:
        return _in_proportion(values)
    if policy.normalize == Normalize.GEOMETRIC:
        if min(values) == 0.0:
            raise InputError("normalize: the lowest multiplier is 0, which makes every geometric mean 0. Normalize otherwise.")
        average = math.exp(fmean(map(math.log, values)))
        return [value / average for value in values]
    return values


def _require(holds: bool, values: Sequence[float], name: str, words: str) -> None:
    if not holds:
        raise InputError(f"map: '{name}' needs scores {words}, and the lowest is {min(values):.6g}. Take 'rank' or 'sigmoid'.")
