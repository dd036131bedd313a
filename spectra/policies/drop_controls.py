"""Controls of guided dropout: the same sites with other probabilities, to tell what the guidance itself brings.

The published probabilities differ from plain dropout in more than their guidance: their mean is half of it, and each type of
site has its own level. So a benefit of guidance is one over ``mean-matched`` and over several ``shuffled`` draws (three at
least), not one over ``uniform``; ``per-type`` tells the order of the layers from the order of the types.
"""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum

import numpy as np

from spectra.errors import InputError
from spectra.policies.drop_prob import FloatArray, check_rates, chosen, is_rate
from spectra.whole_numbers import is_whole_number


class DropControl(StrEnum):
    """What becomes of the guided probabilities."""

    GUIDED = "guided"
    """They stay: no control, the method itself."""
    UNIFORM = "uniform"
    """All sites have the usual probability, 0.1."""
    MEAN_MATCHED = "mean-matched"
    """All sites have the mean of the guided ones."""
    PER_TYPE = "per-type"
    """All sites of a role have the mean of that role."""
    SHUFFLED = "shuffled"
    """The same probabilities on random sites."""
    REVERSED = "reversed"
    """The site with the highest probability gets the lowest, and so on; of equal ones the first counts as lower."""
    NONE = "none"
    """No dropout at any site."""


CONTROLS = tuple(control.value for control in DropControl)
"""Names of the controls."""


def control_rates(
    rates: Mapping[str, float],
    control: DropControl | str,
    *,
    roles: Mapping[str, str] | None = None,
    default: float = 0.1,
    seed: int = 0,
) -> dict[str, float]:
    """Turn guided drop probabilities into those of a control.

    Args:
        rates: Guided drop probability by site.
        control: One of ``CONTROLS``.
        roles: Role by site; ``per-type`` needs it.
        default: Of ``uniform``. Default 0.1: BERT's, and that of the paper's baseline.
        seed: Of ``shuffled``.

    Returns:
        Drop probability by site, in the order of ``rates``.

    Raises:
        InputError: No site, a probability outside ``[0, 1)``, an unknown control, a negative seed, or a site without a role.

    Example:
        >>> control_rates({"attention": 0.1, "mlp": 0.05, "embeddings": 0.0}, "reversed")
        {'attention': 0.0, 'mlp': 0.05, 'embeddings': 0.1}
    """
    word = DropControl(chosen(control, DropControl, "control"))
    check_rates(rates)
    if not rates:
        raise InputError("rates: there is no site. Give at least one drop probability.")
    if not is_rate(default):
        raise InputError(f"default: expected a drop probability in [0, 1), got {default!r}.")
    if not is_whole_number(seed, least=0):
        raise InputError(f"seed: expected a whole number of at least 0, got {seed!r}.")
    if word is DropControl.PER_TYPE:
        return _means_by_role(rates, roles or {})
    values = _controlled(np.array(list(rates.values()), dtype=np.float64), word, default, seed)
    return dict(zip(rates, values.tolist(), strict=True))


def _controlled(values: FloatArray, control: DropControl, default: float, seed: int) -> FloatArray:
    match control:
        case DropControl.UNIFORM:
            return np.full_like(values, default)
        case DropControl.MEAN_MATCHED:
            return np.full_like(values, values.mean())
        case DropControl.SHUFFLED:
            return np.random.default_rng(seed).permutation(values)
        case DropControl.REVERSED:
            return _reversed(values)
        case DropControl.NONE:
            return np.zeros_like(values)
        case _:
            return values


def _means_by_role(rates: Mapping[str, float], roles: Mapping[str, str]) -> dict[str, float]:
    without = [name for name in rates if name not in roles]
    if without:
        named = ", ".join(f"'{name}'" for name in without)
        raise InputError(
            f"roles: {len(without)} of {len(rates)} sites have none: {named}. The control 'per-type' needs the role of every "
            "site; find_sites gives them."
        )
    means = {
        role: float(np.mean([rate for name, rate in rates.items() if roles[name] == role]))
        for role in {roles[name] for name in rates}
    }
    return {name: means[roles[name]] for name in rates}


def _reversed(values: FloatArray) -> FloatArray:
    order = np.argsort(values, kind="stable")
    result = np.empty_like(values)
    result[order] = values[order[::-1]]
    return result
