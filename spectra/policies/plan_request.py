"""What is asked of a plan, checked before a model is read: policy, options, preset, and which file is what."""

from __future__ import annotations

import dataclasses
import inspect
import json
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from spectra.errors import InputError, did_you_mean
from spectra.policies.adapter_rank import adapter_ranks, spectral_rank_scores
from spectra.policies.dropout_plan import POLICY as GUIDED_DROPOUT
from spectra.policies.dropout_plan import dropout_plan
from spectra.policies.learning_rate import ScaleMap, ScalePolicy
from spectra.policies.sparsity import SparsityPolicy
from spectra.policies.units import UnitPolicy
from spectra.results.fisher import Fisher
from spectra.results.fisher_writing import HEADER


def _keywords(function: Callable[..., Any]) -> tuple[str, ...]:
    return tuple(p.name for p in inspect.signature(function).parameters.values() if p.kind is p.KEYWORD_ONLY)


def _fields(options: type[UnitPolicy]) -> tuple[str, ...]:
    return tuple(f.name for f in dataclasses.fields(options) if f.name not in ("name", "target"))


#: Options by policy, from their only definitions.
OPTIONS: Mapping[str, tuple[str, ...]] = {
    "tempbalance": _fields(ScalePolicy),
    "alphadecay": _fields(ScalePolicy),
    "alphapruning": ("sparsity", *_fields(SparsityPolicy)),
    "adapter-rank": (*_keywords(adapter_ranks), *_keywords(spectral_rank_scores)),
    GUIDED_DROPOUT: _keywords(dropout_plan),
}
# Options that other maps do not look at.
_BOUNDS, _STRENGTHS = (ScaleMap.LINEAR, ScaleMap.RANK), (ScaleMap.SIGMOID,)
_OF_MAPS = {**dict.fromkeys(("r_min", "r_max"), _BOUNDS), **dict.fromkeys(("s_below", "s_above", "tau"), _STRENGTHS)}
_FISHER_FILES = (".safetensors", ".json")


def check_options(policy: str, options: Iterable[str]) -> None:
    """Refuse options that a policy does not have.

    Args:
        policy: A known one.
        options: Names that were given.

    Raises:
        InputError: An unknown option, or one of another policy.
    """
    for name in options:
        owners = [other for other, names in OPTIONS.items() if name in names]
        if owners and policy not in owners:
            raise InputError(f"the policy '{policy}' has no option '{name}': that is for {', '.join(owners)}.")
        if not owners:
            known = OPTIONS[policy]
            raise InputError(f"unknown option {name!r}.{did_you_mean(name, known)} Known: {', '.join(known)}.")


def check_preset(policy: str, preset: Any, known: Sequence[str], kind: type[UnitPolicy]) -> None:
    """Refuse what is no preset of a policy.

    Args:
        policy: A known one.
        preset: A name, or the options themselves.
        known: Names of its presets.
        kind: Of the options.

    Raises:
        InputError: An unknown name, or something else.
    """
    if isinstance(preset, str) and preset not in known:
        raise InputError(f"'{policy}' has no preset '{preset}'.{did_you_mean(preset, known)} It has: {', '.join(known)}.")
    if not isinstance(preset, str | kind):
        raise InputError(f"preset: expected a {kind.__name__}, or one of {', '.join(known)}, got {preset!r}.")


def check_map(word: str, given: Iterable[str]) -> None:
    """Refuse options of another map from scores to multipliers: they would have no effect.

    Args:
        word: The map.
        given: Names of options that were given.

    Raises:
        InputError: There is one.
    """
    for name in given:
        maps = _OF_MAPS.get(name)
        if maps and word not in maps:
            raise InputError(
                f"{name}: the map '{word}' does not use it, it is for {' and '.join(maps)}. Leave it out, or choose "
                f"map='{maps[0]}'."
            )


def check_globs(patterns: Iterable[str], layers: Iterable[str]) -> None:
    """Refuse globs that match no layer.

    Args:
        patterns: Of layers to leave out.
        layers: Names in the report.

    Raises:
        InputError: There is one.
    """
    names = list(dict.fromkeys(layers))
    for pattern in patterns:
        if not any(name == pattern or fnmatchcase(name, pattern) for name in names):
            raise InputError(f"exclude: no layer matches '{pattern}'.{did_you_mean(pattern, names)} Names may hold * and ?.")


def refuse_fisher(model: object) -> None:
    """Refuse a Fisher where weights are asked for: it has the same names and shapes.

    Args:
        model: Anything.

    Raises:
        InputError: It is a Fisher, or its file.
    """
    if is_fisher(model):
        raise InputError(
            f"{_named(model)} is a Fisher, not weights: --policy guided-dropout, or --policy adapter-rank MODEL --fisher FILE."
        )


def only_fisher(model: object, fisher: object) -> Fisher | str | os.PathLike[str]:
    """Find the Fisher that drop probabilities are made of.

    Args:
        model: Looked at if there is no other.
        fisher: It alone decides.

    Returns:
        The Fisher, or its file.

    Raises:
        InputError: None, two, or a file that does not exist.
    """
    if fisher is not None and is_fisher(model):
        raise InputError(f"the policy '{GUIDED_DROPOUT}' needs one Fisher: {_named(model)} and {_named(fisher)} are two.")
    given = model if fisher is None else fisher
    if not isinstance(given, Fisher | str | os.PathLike):
        raise InputError(
            f"the policy '{GUIDED_DROPOUT}' needs a Fisher, or its file. Make one: spectra fisher MODEL --data FILE -o "
            "fisher.safetensors"
        )
    check_fisher_file(given)
    return given


def check_fisher_file(fisher: object) -> None:
    """Refuse the name of a Fisher's file where there is none.

    Args:
        fisher: A Fisher, or its file.

    Raises:
        InputError: There is no such file.
    """
    if isinstance(fisher, str | os.PathLike):
        file = Path(fisher).expanduser()
        if file.suffix in _FISHER_FILES and not any(file.with_suffix(suffix).exists() for suffix in _FISHER_FILES):
            raise InputError(
                f"no file '{file}'. Make it: spectra fisher MODEL --data FILE -o {file.with_suffix('.safetensors')}"
            )


def is_fisher(given: object) -> bool:
    """Say whether something is a Fisher, or one of its two files.

    Args:
        given: Anything.

    Returns:
        Whether it is.
    """
    if not isinstance(given, str | os.PathLike):
        return isinstance(given, Fisher)
    file = Path(given).expanduser()
    return file.suffix in _FISHER_FILES and file.is_file() and _says_fisher(file)


def _says_fisher(file: Path) -> bool:
    from safetensors import SafetensorError, safe_open

    try:
        if file.suffix == ".json":
            content = json.loads(file.read_text(encoding="utf-8"))
            return isinstance(content, dict) and {"info", "tensors", "sites"} <= content.keys()
        opened: Any = safe_open(file, framework="np")
        with opened as arrays:
            return HEADER in (arrays.metadata() or {})
    except (OSError, ValueError, SafetensorError):
        return False  # whoever reads it says what is wrong


def _named(given: object) -> str:
    return f"'{given}'" if isinstance(given, str | os.PathLike) else "the first argument"
