"""AlphaDecay: weight-decay multipliers from scores. What is heavy-tailed already is decayed less."""

from __future__ import annotations

from collections.abc import Mapping

from spectra.policies.learning_rate import ScaleMap, scales


def weight_decay_scales(scores: Mapping[str, float], *, s_min: float = 0.67, s_max: float = 3.0) -> dict[str, float]:
    r"""Turn scores into multipliers of weight decay: the higher the score, the larger.

    .. math:: s_\text{min} + (s_\text{max} - s_\text{min}) \frac{a_i - a_\text{lo}}{a_\text{hi} - a_\text{lo}}

    Their mean is above 1 as a rule: a fair comparison is with uniform decay of the same mean, not with the base value.

    Source: arXiv 2506.14562, eq. 3 and Algorithm 1.

    Args:
        scores: Alpha by unit; units whose score is not finite get 1.
        s_min: Of the lowest score. Default 0.67, as arXiv 2506.14562, Table 1.
        s_max: Of the highest score. Default 3, the same table's for a base decay of 1e-5; it has 5 for 5e-6 and 1e-6.

    Returns:
        Multiplier by unit, in the order of ``scores``; all 1 if the scores are equal.

    Example:
        >>> weight_decay_scales({"query": 2.0, "up": 3.0, "down": 4.0}, s_max=5.0)
        {'query': 0.67, 'up': 2.835, 'down': 5.0}
    """
    return scales(scores, map=ScaleMap.LINEAR, r_min=s_min, r_max=s_max)
