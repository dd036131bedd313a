"""Members of units compared with a model: every one must be there, under its own name or one with another prefix."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence

from spectra.errors import InputError, did_you_mean
from spectra.results.words import counted

_FEW = 3


def name_shift(members: Mapping[str, Sequence[str]], known: Collection[str], model: str) -> Callable[[str], str]:
    """Find what makes the layer names of units those of a model.

    A plan of a model without its head names ``encoder.layer.0``, where the model that is trained has ``bert.encoder.layer.0``,
    or the other way round.

    Args:
        members: Layer names by unit, plain.
        known: Names that the model has, plain: of modules, parameters and buffers.
        model: Its name, for the message.

    Returns:
        Nothing's change if all are there; otherwise the one prefix without numbers that is put before all names, or taken off
        all, units' names included.

    Raises:
        InputError: Layers that the model does not have. They are named.
    """
    known = set(known)
    names = [layer for layers in members.values() for layer in layers]
    if known.issuperset(names):
        return str
    missing = [(layer, unit) for unit, layers in members.items() for layer in layers if layer not in known]
    if len(missing) == len(names):  # one that fits rules a prefix out
        shifts = [shift for shift in _candidates(names[0], known) if known.issuperset(map(shift, names))]
        if len(shifts) == 1:
            return shifts[0]
    raise InputError(_missing(missing, len(names), known, model))


def _candidates(name: str, known: Collection[str]) -> list[Callable[[str], str]]:
    longer = [other.removesuffix(name) for other in known if other.endswith(f".{name}")]
    parts = name.split(".")
    shorter = [f"{'.'.join(parts[:length])}." for length in range(1, len(parts))]
    added: list[Callable[[str], str]] = [_adding(prefix) for prefix in longer if _is_prefix(prefix)]
    return added + [_removing(prefix) for prefix in shorter if _is_prefix(prefix)]


def _is_prefix(prefix: str) -> bool:
    return not any(part.isdecimal() for part in prefix.split("."))  # a number is a place in the model


def _adding(prefix: str) -> Callable[[str], str]:
    return lambda name: prefix + name


def _removing(prefix: str) -> Callable[[str], str]:
    return lambda name: name.removeprefix(prefix)


def _missing(missing: Sequence[tuple[str, str]], total: int, known: Collection[str], model: str) -> str:
    named = ", ".join(f"'{layer}' of the unit '{unit}'" for layer, unit in missing[:_FEW])
    more = ", ..." if len(missing) > _FEW else ""
    remedy = (
        "Make the plan of the model that you train: spectra.plan(model)."
        if len(missing) == total
        else "Correct these names, or leave them out."
    )
    suggestion = did_you_mean(missing[0][0], known)
    return f"members: {model} does not have {len(missing)} of {counted(total, 'layer')}: {named}{more}.{suggestion} {remedy}"
