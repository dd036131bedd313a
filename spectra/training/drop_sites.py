"""Drop probabilities at work in a model, by the name of the site, and how the old ones come back."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from contextlib import ExitStack
from functools import partial
from typing import Any

from torch import Tensor, nn
from torch.nn.functional import dropout
from torch.nn.modules.dropout import _DropoutNd

from spectra.errors import InputError, did_you_mean
from spectra.fisher.sites import OUTPUT_DROPOUT, SiteKind, find_sites
from spectra.policies.drop_prob import check_rates
from spectra.results.fisher import SiteBlock
from spectra.training.applied import Applied


class AppliedRates(Applied):
    """Rates that are at work until :meth:`restore`, or until the ``with`` block ends, an exception included.

    Last in, first out: of rates on top of others, restore the later ones first; otherwise they come back.

    Args:
        rates: By site.
        previous: What they replace, by site; 0 where a site is inserted.
        undo: What puts the old rates back, last things first.
    """

    def __init__(self, rates: Mapping[str, float], previous: Mapping[str, float], undo: ExitStack) -> None:
        super().__init__(undo)
        self.rates = dict(rates)
        self.previous = dict(previous)


def apply_rates(model: nn.Module, rates: Mapping[str, float]) -> AppliedRates:
    """Set drop probabilities of a model. Weights, state dict, mode and everything else stay as they are.

    A compiled model follows changed rates. Insert sites before it runs for the first time: of hooks that come later,
    ``torch.compile`` knows nothing.

    Args:
        model: The model, without wrappers for parallel or compiled runs: they change names.
        rates: Drop probability, in ``[0, 1)``, by name of the site as in ``find_sites``. The name of a module followed by
            ``.output_dropout`` inserts dropout at its output (of a tuple, at the first element). Other sites keep their rates.

    Returns:
        What puts the old rates back: ``with apply_rates(model, rates): ...``, or ``.restore()``; ``.previous`` holds them.

    Raises:
        InputError: No mapping, names that are no sites, or rates outside ``[0, 1)``; all of them are named, and nothing is
            changed. While the model runs: an output that is no tensor.

    Example:
        >>> model = nn.Sequential(nn.Linear(4, 4), nn.Dropout(0.1))
        >>> with apply_rates(model, {"1": 0.25, "0.output_dropout": 0.5}):
        ...     model[1].p
        0.25
        >>> model[1].p
        0.1
    """
    check_rates(rates)
    sites = sites_named(model, rates)
    previous = {site.name: _rate_of(model, site) for site in sites}
    with ExitStack() as undo:
        for site in sites:
            undo.callback(_set_rate(model, site, float(rates[site.name])))
        return AppliedRates(rates, previous, undo.pop_all())


def sites_named(model: nn.Module, names: Iterable[str]) -> list[SiteBlock]:
    """Return the sites of some names.

    Args:
        model: The model.
        names: As in :func:`apply_rates`.

    Returns:
        In the order of the names.

    Raises:
        InputError: Names that are no sites.
    """
    names = list(names)
    sites = _sites_for(model, names)
    unknown = [f"'{name}'{_why_unknown(model, name, sites)}" for name in names if name not in sites]
    if unknown:
        raise InputError(
            f"{len(unknown)} of {len(names)} names are no dropout sites of {type(model).__name__}: {' '.join(unknown)} "
            "find_sites(model) lists them; rates belong to the model class whose sites they name."
        )
    return [sites[name] for name in names]


def fits(model: nn.Module, names: Iterable[str]) -> bool:
    """Say whether at least one of the names is that of a site of the model."""
    names = list(names)
    return not _sites_for(model, names).keys().isdisjoint(names)


def _sites_for(model: nn.Module, names: list[str]) -> dict[str, SiteBlock]:
    """Return the sites of a model by name, with those that the names insert."""
    modules = {name for name, _ in model.named_modules()}
    outputs = [name.removesuffix(f".{OUTPUT_DROPOUT}") for name in names if name not in modules]
    return {site.name: site for site in find_sites(model, insert=[name for name in outputs if name in modules])}


def _why_unknown(model: nn.Module, name: str, sites: Iterable[str]) -> str:
    if isinstance(dict(model.named_modules()).get(name), _DropoutNd):
        return " (a dropout module, but nothing in the model calls it)."
    return f".{did_you_mean(name, sites)}"


def _rate_of(model: nn.Module, site: SiteBlock) -> float:
    if site.kind != SiteKind.INSERTED:
        return site.drop_prob
    hook = _inserted(model.get_submodule(site.name.rpartition(".")[0]))
    return hook.drop_prob if hook else 0.0


def _set_rate(model: nn.Module, site: SiteBlock, rate: float) -> Callable[[], object]:
    """Set one rate, and return what puts the old one back."""
    place, _, leaf = site.name.rpartition(".")
    holder = model.get_submodule(place)
    if site.kind == SiteKind.INSERTED:
        return _insert(holder, site.name, rate)
    if site.kind == SiteKind.ATTRIBUTE:
        return _replace(holder, leaf, rate)
    module = holder.get_submodule(leaf)
    if isinstance(module, nn.Identity):  # in place of an adapter's dropout
        return _replace(holder, leaf, nn.Dropout(rate).train(module.training) if rate else module)
    return _replace(module, "p", rate)


def _replace(holder: object, name: str, value: object) -> Callable[[], object]:
    old = getattr(holder, name)
    setattr(holder, name, value)
    return partial(setattr, holder, name, old)


def _insert(module: nn.Module, site: str, rate: float) -> Callable[[], object]:
    hook = _inserted(module)
    if hook:  # rates on top of others replace them
        return _replace(hook, "drop_prob", rate)
    return module.register_forward_hook(_OutputDropout(site, rate)).remove


def _inserted(module: nn.Module) -> _OutputDropout | None:
    return next((hook for hook in module._forward_hooks.values() if isinstance(hook, _OutputDropout)), None)


class _OutputDropout:
    """Forward hook that drops from a module's output."""

    def __init__(self, site: str, drop_prob: float) -> None:
        self.site = site
        self.drop_prob = drop_prob

    def __call__(self, module: nn.Module, _: object, output: Any) -> Any:
        if not module.training or self.drop_prob == 0.0:
            return output
        first = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(first, Tensor):
            raise InputError(
                f"site '{self.site}': expected a tensor as output, got {type(first).__name__}. Insert at a module inside it."
            )
        dropped = dropout(first, self.drop_prob)
        return (dropped, *output[1:]) if isinstance(output, tuple) else dropped
