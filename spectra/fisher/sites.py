"""Where a model drops out: its dropout sites, found by name.

A site is one of four kinds. Its name is a path in the model, and stays what it is when versions of a library reorder modules.

* ``module``: a dropout module. Some attention never calls its own and only reads the rate; that is a site, too.
* ``attribute``: a number that a module keeps and hands to a dropout function, such as ``self_attn.attention_dropout`` of Llama.
* ``lora``: the dropout before an adapter. For a rate of 0, peft puts an identity there; it is listed with rate 0.
* ``inserted``: none yet. The output of a module where the model has no dropout, asked for with ``insert``.

What is no site: layers dropped as a whole (``layerdrop``, ``DropPath``); dropout that nothing in the model reads (ALBERT's
layers and OPT's decoder keep some); rates read from the configuration (Falcon, Persimmon), which all layers share; and what
was built without dropout because the rate was 0 (ModernBERT's attention output).
"""

from __future__ import annotations

import dis
import inspect
from collections.abc import Callable, Iterator, Mapping, Sequence
from enum import StrEnum
from fnmatch import fnmatchcase
from functools import cache
from itertools import pairwise
from types import CodeType
from typing import Any

from torch import nn

from spectra.errors import InputError, did_you_mean
from spectra.fisher.site_roles import Parameters, SiteRole, attention_outputs, mlp_outputs, role_and_parameters, role_of_output
from spectra.results.fisher import SiteBlock

__all__ = ["OUTPUT_DROPOUT", "SiteKind", "SiteRole", "find_sites"]

# Last part of the name of an inserted site.
OUTPUT_DROPOUT = "output_dropout"

_DROPOUTS = (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, nn.AlphaDropout, nn.FeatureAlphaDropout)
# Names under which modules of torch and transformers keep a rate. DropPath's drop_prob and layerdrop are left out on purpose.
_ATTRIBUTES = frozenset({
    "activation_dropout", "attention_dropout", "attention_dropout_prob", "attention_probs_dropout_prob", "attn_drop",
    "attn_dropout", "attn_dropout_p", "attn_pdrop", "drop", "dropout", "dropout_p", "dropout_positions", "dropout_prob",
    "dropout_rate", "emb_pdrop", "embd_pdrop", "embedding_dropout", "hidden_dropout", "hidden_dropout_prob", "resid_dropout",
    "resid_pdrop", "residual_dropout",
})  # fmt: skip
_INSERT_WORDS = {"attention-output": attention_outputs, "mlp-output": mlp_outputs}
# Code that uses one of these may call any of its module's children without their names.
_BY_ANY_NAME = frozenset({"getattr", "children", "named_children", "modules", "named_modules", "_modules"})

_Path = list[tuple[str, nn.Module]]
# Name, kind, rate, and what the site drops.
_Found = tuple[str, "SiteKind", float, tuple[SiteRole, Parameters]]


class SiteKind(StrEnum):
    """How the rate of a dropout site is set."""

    MODULE = "module"
    """``p`` of a dropout module."""
    ATTRIBUTE = "attribute"
    """A number that a module keeps."""
    LORA = "lora"
    """The dropout module before an adapter, or the identity in its place."""
    INSERTED = "inserted"
    """A hook on a module's output."""


def find_sites(model: nn.Module, *, insert: str | Sequence[str] = ()) -> tuple[SiteBlock, ...]:
    """List the dropout sites of a model, and the parameters behind each.

    Args:
        model: Any module; it is read, not run.
        insert: Where else dropout could be: globs on the names of modules, such as ``"*.down_proj"``, or the words
            ``"attention-output"`` and ``"mlp-output"`` for the layers that write to the residual stream. Such a site has the
            name of the module and ``.output_dropout``, and rate 0. Default: nowhere.

    Returns:
        In the order of ``named_modules()``; a module that stands in several places once. ``parameters`` are names as in
        ``named_parameters()``, frozen ones too; roles and parameters follow :mod:`spectra.fisher.site_roles`. Whether a site
        has an effect is not certain before ``spectra.training.verify_sites``.

    Raises:
        InputError: A pattern of ``insert`` that matches no module.
    """
    modules = dict(model.named_modules())
    inserted = set(_inserted(model, modules, (insert,) if isinstance(insert, str) else insert))
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    sites = []
    for place in modules:
        for name, kind, rate, (role, parameters) in _sites_at(_path(modules, place), is_inserted=place in inserted):
            behind = {id(parameter) for parameter in parameters}
            block = tuple(names[key] for key in names if key in behind)
            sites.append(SiteBlock(name=name, kind=kind.value, role=role.value, drop_prob=float(rate), parameters=block))
    return tuple(sites)


def _sites_at(path: _Path, *, is_inserted: bool) -> Iterator[_Found]:
    name, module = path[-1]
    leaf = name.rpartition(".")[2]
    if not _is_run(path):
        return
    if path[-2:-1] and path[-2][0].endswith(".lora_dropout"):
        yield from _lora_site(path)
    elif isinstance(module, _DROPOUTS):
        if len(path) > 1 and _is_called(path[:-1], leaf):
            yield name, SiteKind.MODULE, module.p, role_and_parameters(path[:-1], leaf)
    else:
        for attribute in _rates_kept(path):
            site = f"{name}.{attribute}".removeprefix(".")
            yield site, SiteKind.ATTRIBUTE, getattr(module, attribute), role_and_parameters(path, attribute)
    if is_inserted and not hasattr(module, OUTPUT_DROPOUT):
        yield f"{name}.{OUTPUT_DROPOUT}", SiteKind.INSERTED, 0.0, (role_of_output(path), list(module.parameters()))


def _is_run(path: _Path) -> bool:
    """Whether a module is used, as far as peft knows: of a head it keeps the original, and a trained copy for every adapter."""
    parts = path[-1][0].split(".")
    if "original_module" in parts:
        return False
    copies = parts.index("modules_to_save") if "modules_to_save" in parts[:-1] else len(parts)
    return copies == len(parts) or parts[copies + 1] in getattr(path[copies][1], "active_adapters", ())


def _lora_site(path: _Path) -> Iterator[_Found]:
    """The dropout of an adapter in use; layers that have the entry and never call it, such as embeddings, have no site."""
    name, module = path[-1]
    layer, adapter = path[-3][1], name.rpartition(".")[2]
    factors = [getattr(layer, factor, {}) for factor in ("lora_A", "lora_B")]
    is_used = adapter in getattr(layer, "active_adapters", ()) and "lora_dropout" in _names_in(type(layer).forward)
    if is_used and all(adapter in factor for factor in factors):
        parameters = [parameter for factor in factors for parameter in factor[adapter].parameters()]
        yield name, SiteKind.LORA, getattr(module, "p", 0.0), (SiteRole.ADAPTER, parameters)


def _rates_kept(path: _Path) -> list[str]:
    module = path[-1][1]
    if isinstance(module, nn.RNNBase) and module.num_layers < 2:  # it drops between its layers
        return []
    return [
        name
        for name, value in vars(module).items()
        if name in _ATTRIBUTES
        and isinstance(value, float | int)
        and not isinstance(value, bool)
        and 0.0 <= value < 1.0
        and _is_read(path, name)
    ]


def _is_called(path: _Path, leaf: str) -> bool:
    """Whether a dropout module is used, as far as the code of the modules around it tells: in doubt it is."""
    kind = type(path[-1][1])
    if issubclass(kind, nn.Sequential | nn.ModuleList | nn.ModuleDict):
        return True
    # Without a forward of its own it is a shelf, from which others take what they need.
    has_code = any(name == "forward" for name, _ in _methods(kind))
    return not has_code or bool(_names_in(kind.forward) & _BY_ANY_NAME) or _is_read(path, leaf)


def _is_read(path: _Path, leaf: str) -> bool:
    """Whether methods other than constructors look the name up: in the module that holds it, or above, if it is no other."""
    *above, (_, owner) = path
    return _reads(owner, leaf) or any(_reads(module, leaf) for _, module in above if not hasattr(module, leaf))


def _reads(module: nn.Module, name: str) -> bool:
    kind: Any = type(module)
    return name in _names_read(kind)


@cache
def _names_read(kind: type[Any]) -> frozenset[str]:
    return frozenset(found for name, method in _methods(kind) if name != "__init__" for found in _names_in(method))


def _methods(kind: type[nn.Module]) -> list[tuple[str, Callable[..., Any]]]:
    members = [pair for base in kind.__mro__ if base is not nn.Module for pair in vars(base).items()]
    return [(name, member) for name, member in members if inspect.isfunction(member)]


def _names_in(function: Callable[..., Any]) -> frozenset[str]:
    """Names that a function, or one inside it, looks up, decorators aside; but not what it takes from ``config``."""
    codes = [code] if isinstance(code := getattr(inspect.unwrap(function), "__code__", None), CodeType) else []
    names = set()
    for code in codes:
        codes.extend(constant for constant in code.co_consts if isinstance(constant, CodeType))
        steps = list(dis.get_instructions(code))
        for before, step in pairwise(steps):
            if step.opname.startswith("LOAD") and isinstance(step.argval, str) and before.argval != "config":
                names.add(step.argval)
    return frozenset(names)


def _path(modules: Mapping[str, nn.Module], name: str) -> _Path:
    parts = name.split(".") if name else []
    return [(place, modules[place]) for place in (".".join(parts[:depth]) for depth in range(len(parts) + 1))]


def _inserted(model: nn.Module, modules: Mapping[str, nn.Module], patterns: Sequence[str]) -> Iterator[str]:
    names = {module: name for name, module in modules.items()}
    for pattern in patterns:
        if pattern in _INSERT_WORDS:
            found = [names[layer] for layer in _INSERT_WORDS[pattern](model)]
        else:
            found = [name for name in modules if name and fnmatchcase(name, pattern)]
        if not found:
            raise InputError(
                f"insert: no module of {type(model).__name__} matches '{pattern}'.{did_you_mean(pattern, modules)} Give globs "
                f"on the names of named_modules(), or {' or '.join(repr(word) for word in _INSERT_WORDS)}."
            )
        yield from found
