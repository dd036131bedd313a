r"""Guided dropout: drop probabilities from Fisher scores. What the loss is sensitive to is kept, the rest is regularized.

Inverted dropout on the inputs of a linear model is, in expectation, an L2 penalty scaled by the data:

.. math:: \mathrm{E}\,\|y - (X \circ m) w\|^2 = \|y - X w\|^2 + \sum_j \frac{p_j}{1 - p_j} \|x_j\|^2 w_j^2 ,

so that a drop probability per site is a strength of L2 per site, growing with it; in deep networks this holds to second
order only. The penalty pulls towards zero and *not* towards the pretrained weights: that is what mixout (arXiv 1909.11299)
and elastic weight consolidation do.

Source: arXiv 2406.14005, and its code, which gives one probability to each dropout module (a *site*) by the rank of its
score. The rules ``linear`` and ``log``, ``mean_p`` and :func:`neuron_rates` are ours.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from enum import StrEnum
from typing import TypeGuard

import numpy as np
from numpy.typing import ArrayLike, NDArray

from spectra.errors import InputError, did_you_mean

FloatArray = NDArray[np.float64]

_NAMED_CHANNELS = 10  # of a neuron-level fault: a site has thousands of channels


class DropRule(StrEnum):
    """How a score becomes a place ``u`` between 0, the lowest score, and 1, the highest."""

    RANK = "rank"
    """By rank, equal steps; ties in the order given. The published rule: only the order of the scores matters."""
    LINEAR = "linear"
    """By value. Scores are heavy-tailed as a rule: all but the largest then get nearly ``p_upper``."""
    LOG = "log"
    """By the logarithm of the score plus the smallest positive score, so that zero has a place and the unit none."""


def guided_rates(
    scores: Mapping[str, float],
    *,
    p_upper: float = 0.1,
    p_lower: float = 0.0,
    rule: DropRule | str = DropRule.RANK,
    mean_p: float | None = None,
    p_cap: float = 0.5,
) -> dict[str, float]:
    r"""Give each site a drop probability: the lower its score, the higher.

    .. math:: p_k = p_\text{upper} - (p_\text{upper} - p_\text{lower}) \, u_k , \qquad
              u_k = \operatorname{rank}(s_k) / (L - 1) \text{ for the rule rank.}

    A single site gets the middle, and so do all of equal scores under ``linear`` and ``log``.

    Source: arXiv 2406.14005 and its code, for ``rank``.

    Args:
        scores: Fisher score by site, finite and at least 0.
        p_upper: Of the lowest score. Default 0.1: the usual dropout of BERT. The published top is 0.099.
        p_lower: Of the highest score. Default 0: the published value.
        rule: ``rank``, ``linear`` or ``log``.
        mean_p: Mean that the probabilities shall have: all are multiplied by one factor, those above ``p_cap`` are set to
            it, and the factor grows until the mean is met. Zero stays zero. ``None``: as the rule gives them.
        p_cap: Largest probability where ``mean_p`` is given; without it nothing is capped. Default 0.5: there the noise of an
            inverted mask has the power of the signal. Our choice.

    Returns:
        Drop probability by site, in the order of ``scores``; a higher score never has a higher one.

    Raises:
        InputError: No site, an unusable score (all are named), probabilities out of range, an unknown rule, or a mean that
            cannot be reached.

    Example:
        >>> guided_rates({"attention": 3e-9, "mlp": 5e-8, "embeddings": 2e-6})
        {'attention': 0.1, 'mlp': 0.05, 'embeddings': 0.0}
    """
    values = np.array(list(scores.values()), dtype=np.float64)
    faulty = [f"'{name}' ({value})" for name, value in scores.items() if not _is_score(value)]
    _refuse_scores(faulty, len(scores), "site", "Exclude them, or measure the parameters behind them.")
    rates = _rates(values, p_upper, p_lower, rule)
    if not _is_number(p_cap) or not 0.0 < p_cap < 1.0:
        raise InputError(f"p_cap: expected a number in (0, 1), got {p_cap!r}.")
    if mean_p is not None:
        rates = _with_mean(rates, mean_p, p_cap)
    return dict(zip(scores, rates.tolist(), strict=True))


def neuron_rates(
    scores: ArrayLike, *, p_upper: float = 0.1, p_lower: float = 0.0, rule: DropRule | str = DropRule.RANK
) -> FloatArray:
    """Give each channel of one site a drop probability by the rule of :func:`guided_rates`.

    Not in the paper, and nothing uses it unless asked to.

    Args:
        scores: Shape ``(d,)``: row or column sums of the Fisher diagonal, finite and at least 0.
        p_upper: Of the lowest score. Default 0.1: as for sites.
        p_lower: Of the highest score. Default 0: as for sites.
        rule: ``rank``, ``linear`` or ``log``.

    Returns:
        Shape ``(d,)``, in ``[p_lower, p_upper]``.

    Raises:
        InputError: Not one-dimensional, an unusable score, probabilities out of range, or an unknown rule.

    Example:
        >>> neuron_rates([4.0, 0.0, 1.0]).tolist()
        [0.0, 0.1, 0.05]
    """
    values = np.asarray(scores, dtype=np.float64)
    if values.ndim != 1:
        raise InputError(f"scores: expected one number per channel, got shape {values.shape}. Pass the sums of one weight.")
    faulty = [f"{place} ({values[place]})" for place in np.flatnonzero(~(np.isfinite(values) & (values >= 0.0)))]
    _refuse_scores(faulty, len(values), "channel", "Measure the Fisher again.", most=_NAMED_CHANNELS)
    return _rates(values, p_upper, p_lower, rule)


def check_rates(rates: Mapping[str, float], where: str = "rates") -> None:
    """Refuse what is no drop probability.

    Args:
        rates: By site.
        where: They were found, for the message.

    Raises:
        InputError: No mapping, or a probability outside ``[0, 1)``; all of them are named.
    """
    if not isinstance(rates, Mapping):
        raise InputError(f"{where}: expected drop probabilities by name of the site, got {type(rates).__name__}.")
    wrong = [f"'{name}' ({rate!r})" for name, rate in rates.items() if not is_rate(rate)]
    if wrong:
        raise InputError(
            f"{where}: {len(wrong)} of {len(rates)} are no drop probabilities in [0, 1): {', '.join(wrong)}. Correct them."
        )


def is_rate(value: object) -> bool:
    """Say whether a value is a drop probability: a number in ``[0, 1)``; at 1 nothing would be left to scale up."""
    return _is_number(value) and bool(0.0 <= value < 1.0)


def chosen(word: str, known: Iterable[str], what: str) -> str:
    """Return a word if it is among the known ones.

    Args:
        word: What a user wrote.
        known: The choices.
        what: Their name, for the message.

    Returns:
        The word.

    Raises:
        InputError: It is not.
    """
    words = [str(choice) for choice in known]
    if word not in words:
        raise InputError(f"unknown {what} {word!r}.{did_you_mean(str(word), words)} Known: {', '.join(words)}.")
    return word


def _rates(scores: FloatArray, p_upper: float, p_lower: float, rule: str) -> FloatArray:
    if not (_is_number(p_lower) and _is_number(p_upper) and 0.0 <= p_lower <= p_upper < 1.0):
        raise InputError(
            f"p_upper and p_lower: expected 0 <= p_lower <= p_upper < 1, got p_lower {p_lower!r} and p_upper {p_upper!r}."
        )
    places = _places(scores, DropRule(chosen(rule, DropRule, "rule")))
    # Clipped: upper - (upper - lower) may miss lower by a rounding.
    return np.clip(p_upper - (p_upper - p_lower) * places, p_lower, p_upper)


def _places(scores: FloatArray, rule: DropRule) -> FloatArray:
    """Return where each score lies between the lowest, 0, and the highest, 1."""
    if rule is DropRule.RANK:
        values = np.empty_like(scores)
        values[np.argsort(scores, kind="stable")] = np.arange(len(scores))
    elif rule is DropRule.LOG:
        with np.errstate(divide="ignore"):  # log(0) = -inf is meant
            logs = np.log(scores)
        # log(s + smallest), which overflows for no s. Of scores that are all zero every place is the same.
        values = np.logaddexp(logs, logs[scores > 0.0].min()) if scores.any() else scores
    else:
        values = scores
    spread = values.max() - values.min()
    return (values - values.min()) / spread if spread > 0.0 else np.full_like(values, 0.5)


def _with_mean(rates: FloatArray, mean_p: float, p_cap: float) -> FloatArray:
    """Scale probabilities to a mean with none above the cap: exact, as filling vessels of equal height with water is."""
    if not _is_number(mean_p) or not 0.0 <= mean_p <= p_cap:
        raise InputError(f"mean_p: expected a number in [0, p_cap], p_cap being {p_cap}, got {mean_p!r}. Change one of them.")
    if mean_p == 0.0:
        return np.zeros_like(rates)
    falling = sorted(rates[rates > 0.0].tolist(), reverse=True)
    most = p_cap * len(falling) / len(rates)
    if mean_p > most and not math.isclose(mean_p, most):
        raise InputError(
            f"mean_p {mean_p} cannot be reached: {len(rates) - len(falling)} of {len(rates)} sites have probability 0, and "
            f"with the others at p_cap {p_cap} the mean is {most:.6g}. Lower mean_p, or raise p_lower or p_cap."
        )
    for num_capped, largest in enumerate(falling):
        total, rest = math.fsum(falling[num_capped:]), mean_p * len(rates) - p_cap * num_capped
        if largest / total * rest <= p_cap:
            break
    # Not rates * (rest / total): the factor overflows where what is left below the cap is next to zero.
    scaled = np.minimum(rates, largest) / total * rest
    return np.where(rates > largest, p_cap, np.minimum(scaled, p_cap))


def _is_number(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float | np.integer | np.floating) and not isinstance(value, bool)


def _is_score(value: float) -> bool:
    return math.isfinite(value) and value >= 0.0


def _refuse_scores(faulty: list[str], number: int, noun: str, remedy: str, *, most: int | None = None) -> None:
    if not number:
        raise InputError(f"scores: there is no {noun}. Give at least one score.")
    if faulty:
        named = faulty[:most]
        more = f" and {len(faulty) - len(named)} more" if len(faulty) > len(named) else ""
        raise InputError(
            f"scores: {len(faulty)} of {number} {noun}s have no finite score of at least 0: {', '.join(named)}{more}. {remedy}"
        )
