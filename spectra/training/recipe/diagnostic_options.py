"""Options of balanced learning rates and weight decays, and of guided dropout: checked by their own definitions."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

from spectra.training.recipe.located import located
from spectra.training.recipe.options import Fault, Key, PartError, Rule, plain, sources_of, unknown

_LOG = "log"
_NUM_SITES = 1000  # more than models have: so many that one without dropout does not move a mean


def _balanced(words: str, target: str, default: str, other: str) -> Rule:
    """Return the rule for the options of a policy that multiplies ``target``; those of ``other`` are refused."""

    def read(value: Any) -> dict[str, Any] | None:
        if value is None:
            return None
        if not isinstance(value, Mapping):
            raise TypeError
        made = _resolved(_with_name({"policy": default, **value}, default))
        if made["policy"]["target"] != target:
            name = made["policy"]["name"]
            remedy = f"Give it as diagnostics.{other}, or true, which is {default!r} here."
            raise PartError([Fault(("policy",), f"{name!r} multiplies another number. {remedy}")])
        return made

    return Rule(f"a preset, options of {words}, true or none", read)


TEMPBALANCE = _balanced("TempBalance", "learning_rate", "recommended", "alphadecay")
ALPHADECAY = _balanced("AlphaDecay", "weight_decay", "alphadecay", "tempbalance")


def sources(options: Mapping[str, Any]) -> dict[Key, str]:
    """Return where values of a policy come from, of options that have their default.

    Args:
        options: As a recipe has them: the policy written out.

    Returns:
        Sources by place.
    """
    from spectra.policies.learning_rate import ScalePolicy

    return {("policy", *key): source for key, source in sources_of(ScalePolicy, options["policy"]).items()}


def rates_fault(p_upper: float, p_lower: float, mean_p: float | None, p_cap: float) -> Fault | None:
    """Say what is wrong with limits of drop probabilities.

    Args:
        p_upper: Probability of the lowest score.
        p_lower: Probability of the highest score.
        mean_p: Mean that is asked for.
        p_cap: Largest probability beside it.

    Returns:
        What the rule says, or ``None``.
    """
    from spectra.policies.drop_prob import guided_rates

    limits: dict[str, Any] = {"p_upper": p_upper, "p_lower": p_lower, "mean_p": mean_p, "p_cap": p_cap}
    scores = {str(site): float(site) for site in range(_NUM_SITES)}
    faults = located(lambda: guided_rates(scores, **limits), limits)
    return next((fault if fault.key else fault.below("mean_p") for fault in faults), None)


def _with_name(options: dict[str, Any], default: str) -> dict[str, Any]:
    """Say which preset options of a policy change, where they do not."""
    policy = options["policy"]
    return options | {"policy": {"name": default, **policy}} if isinstance(policy, Mapping) else options


def _resolved(options: Mapping[str, Any]) -> dict[str, Any]:
    """Return all options, the policy written out."""
    from spectra.training.tempbalance_config import TempBalanceConfig, tempbalance_config

    known = [f.name for f in dataclasses.fields(TempBalanceConfig) if f.name != _LOG]
    faults = [_stranger(name, known) for name in options if name not in known]
    faults += _policy_faults(options["policy"])
    options = {name: value for name, value in options.items() if name in known}
    faults += located(lambda: tempbalance_config({**options, "policy": "recommended"}), known)
    if not faults:  # each for itself
        faults = located(lambda: tempbalance_config(options), known)
    if faults:
        raise PartError(faults)
    made = tempbalance_config(options).to_dict()
    return {name: plain(made[name]) for name in known}


def _stranger(name: str, known: Sequence[str]) -> Fault:
    if name == _LOG:
        return Fault((name,), "it is written to the run folder. Leave it out.")
    if name in _policy_options():
        return Fault((name,), f"unknown option: it is of the policy. Write policy: {{{name}: ...}}.", is_unknown=True)
    return unknown(name, known)


def _policy_faults(policy: Any) -> list[Fault]:
    from spectra.training.tempbalance_config import TempBalanceConfig

    faults = located(lambda: TempBalanceConfig(policy=policy), [*_policy_options(), "policy"])
    return [fault if fault.key == ("policy",) else fault.below("policy") for fault in faults]


def _policy_options() -> list[str]:
    from spectra.policies.learning_rate import ScalePolicy

    return [f.name for f in dataclasses.fields(ScalePolicy)]
