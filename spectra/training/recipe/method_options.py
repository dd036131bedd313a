"""Options of the training methods: checked by the configuration of each, and written out in full."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from spectra.errors import InputError
from spectra.training.recipe.located import located
from spectra.training.recipe.options import (
    SHARE,
    SWITCH,
    TEXT,
    WORDS,
    Fault,
    Key,
    Rule,
    count,
    or_none,
    plain,
    sources_of,
    unexpected,
)

METHODS = ("plain", "dcs", "sdft", "meta_peft")

# Options of configurations that are a recipe's, whatever its method.
_ELSEWHERE = {"tempbalance": "diagnostics.tempbalance", "guided_dropout": "diagnostics.guided_dropout"}

# DistillConfig leaves these to a type checker, which no recipe has seen.
_SDFT_RULES: Mapping[str, Rule] = {
    "n_candidates": count(1),
    "seed": count(0),
    "allow_truncated": SWITCH,
    "min_rouge_l": Rule("a share in [0, 1]", lambda value: value if value == 1 else SHARE.read(value)),
    "leak_phrases": WORDS,
    "test_column": or_none(TEXT),
}


@dataclass(frozen=True)
class _Method:
    """A method's own definition of its options.

    Attributes:
        kind: The dataclass.
        read: Makes one of options by name; raises ``InputError``.
        further: Names that ``read`` takes beside the fields.
        rules: Of options that the dataclass does not look at.
    """

    kind: type
    read: Callable[[Mapping[str, Any]], Any]
    further: tuple[str, ...] = ()
    rules: Mapping[str, Rule] = dataclasses.field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        return [f.name for f in dataclasses.fields(self.kind) if f.name not in _ELSEWHERE]


def resolved(name: str, options: Mapping[str, Any]) -> tuple[dict[str, Any], list[Fault]]:
    """Check the options of a method, and add those that were not given.

    Args:
        name: One of ``METHODS``.
        options: By name.

    Returns:
        All options as plain values, presets written out, and what is wrong with the given ones.
    """
    faults = [
        Fault((option,), f"it is not an option of the method. Give {_ELSEWHERE[option]}.")
        for option in options
        if option in _ELSEWHERE
    ]
    options = {option: value for option, value in options.items() if option not in _ELSEWHERE}
    method = _method(name)
    if method is None:
        return {}, faults + [
            Fault((option,), f"unknown option: the method '{name}' has none. Leave it out.", is_unknown=True)
            for option in options
        ]
    faults += _faults(method, options)
    if faults:
        return {}, faults
    made = method.read(options)
    return {option: plain(getattr(made, option)) for option in method.names}, []


def sources(name: str, options: Mapping[str, Any]) -> dict[Key, str]:
    """Return where values come from, of options that have their default.

    Args:
        name: One of ``METHODS``.
        options: All of them.

    Returns:
        Sources by place.
    """
    method = _method(name)
    return {} if method is None else sources_of(method.kind, options)


def _method(name: str) -> _Method | None:
    if name == "dcs":
        from spectra.training.dcs.config import DCSConfig, dcs_config

        return _Method(DCSConfig, dcs_config, further=("preset",))
    if name == "sdft":
        from spectra.training.sdft.config import DistillConfig, distill_config

        return _Method(DistillConfig, distill_config, rules=_SDFT_RULES)
    if name == "meta_peft":
        from spectra.training.meta_peft.config import MetaPeftConfig, meta_peft_config

        return _Method(MetaPeftConfig, meta_peft_config)
    return None


def _faults(method: _Method, options: Mapping[str, Any]) -> list[Fault]:
    known = [*method.further, *method.names]
    strange = [name for name in options if name not in known]
    faults = [fault._replace(is_unknown=True) for name in strange for fault in _alone(method, name, options[name])]
    faults += _ruled_out(method.rules, options)
    faults += [fault for name in method.further if name in options for fault in _alone(method, name, options[name])]
    wrong = {fault.key[0] for fault in faults}
    rest = {name: value for name, value in options.items() if name not in wrong}
    return faults + located(lambda: method.read(rest), known)


def _alone(method: _Method, name: str, value: Any) -> Iterable[Fault]:
    """Yield what the configuration says of an option as if there were no other."""
    try:
        method.read({name: value})
    except InputError as error:
        yield Fault((name,), str(error))
    except TypeError:  # such as a list where a word is looked up
        yield Fault((name,), f"expected another kind of value, got {value!r}.")


def _ruled_out(rules: Mapping[str, Rule], options: Mapping[str, Any]) -> Iterable[Fault]:
    for name, rule in rules.items():
        if name in options:
            try:
                rule.read(options[name])
            except (ValueError, TypeError):
                yield Fault((name,), unexpected(rule, options[name]))
