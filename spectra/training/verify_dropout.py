"""Whether a model reads its drop probabilities: attention may take its rate from another place than the one that was set.

In some versions of transformers a model reads a rate from its dropout module under one attention implementation, and from a
number beside it under another (BERT from 4.48 to 4.57, with SDPA). Setting the one that is not read changes nothing and raises
nothing. So each site is tried.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from spectra.errors import InputError
from spectra.fisher.sites import SiteKind, find_sites
from spectra.results.fisher import SiteBlock
from spectra.training.drop_sites import apply_rates, sites_named

# Large, so that a site with few units shows; what survives is scaled by 10, so that even nothing dropped shows.
_LARGE = 0.9


def verify_sites(model: nn.Module, batch: Any, names: Iterable[str] | None = None) -> None:
    """Check that each dropout site changes the outputs in training, and none in evaluation.

    In training mode all rates are 0 but that of one site, and the outputs must differ from those with all rates 0; in
    evaluation they must be equal to the bit. Costs one forward pass per site and four more, without gradients. For an adapter
    the output of its first factor is compared, too, because a fresh adapter's second one is 0.

    Args:
        model: The model, on the device of the batch. Rates, modes, buffers, the type of problem in its configuration and
            torch's random numbers stay as they are.
        batch: Keyword arguments of the model, such as ``input_ids`` and ``attention_mask``; or ``(inputs, targets)``; or the
            inputs. Everything that has a site must take part: for an encoder and decoder, inputs of both.
        names: Sites, as in ``apply_rates``. Default: all of ``find_sites``.

    Raises:
        InputError: Sites without effect in training, or with one in evaluation, all by name; names that are no sites; or the
            outputs are not finite, or random in training beside dropout, so that effects cannot be told.
    """
    everywhere = [site.name for site in find_sites(model)]
    sites = sites_named(model, everywhere if names is None else names)
    off = dict.fromkeys([*everywhere, *(site.name for site in sites)], 0.0)
    with _put_back(model), apply_rates(model, off), _adapters_seen(model, sites) as seen, torch.no_grad():
        model.train()
        _quiet(model)
        silent = _without_effect(model, batch, sites, seen)
        model.eval()
        loud = _with_effect(model, batch, sites, seen)
    faults = [f"'{name}' has no effect in training" for name in silent] + [f"'{name}' drops in evaluation" for name in loud]
    if faults:
        raise InputError(
            f"{len(faults)} of {len(sites)} dropout sites of {type(model).__name__} do not do what their rates say: "
            f"{'; '.join(faults)}. The attention implementation may read another number: try another one "
            '(attn_implementation="eager"), or leave these sites out.'
        )


def _without_effect(model: nn.Module, batch: Any, sites: list[SiteBlock], seen: list[Tensor]) -> list[str]:
    nothing_dropped = _finite(model, _outputs(model, batch, seen))
    if not _are_same(nothing_dropped, _outputs(model, batch, seen, other_noise=True)):
        raise InputError(
            f"the outputs of {type(model).__name__} are random in training even with every dropout site at 0. Switch off what "
            "else is random, such as rates in the configuration, masking of inputs or noise in a router, and verify again."
        )
    silent = []
    for site in sites:
        with apply_rates(model, {site.name: _LARGE}):
            if _are_same(nothing_dropped, _outputs(model, batch, seen)):
                silent.append(site.name)
    return silent


def _with_effect(model: nn.Module, batch: Any, sites: list[SiteBlock], seen: list[Tensor]) -> list[str]:
    nothing_dropped = _finite(model, _outputs(model, batch, seen))
    with apply_rates(model, dict.fromkeys((site.name for site in sites), _LARGE)):
        if _are_same(nothing_dropped, _outputs(model, batch, seen)):
            return []
    loud = []
    for site in sites:
        with apply_rates(model, {site.name: _LARGE}):
            if not _are_same(nothing_dropped, _outputs(model, batch, seen)):
                loud.append(site.name)
    return loud


def _outputs(model: nn.Module, batch: Any, seen: list[Tensor], *, other_noise: bool = False) -> list[Tensor]:
    """Run the model from where the random numbers stand, and put them back, so that each run draws the same ones."""
    seen.clear()
    devices = list({parameter.device for parameter in model.parameters() if parameter.is_cuda})
    with torch.random.fork_rng(devices=devices):
        if other_noise:
            for device in (torch.device("cpu"), *devices):
                torch.rand(1, device=device)
        inputs = batch[0] if isinstance(batch, tuple | list) else batch
        return [*_tensors(model(**inputs) if isinstance(inputs, Mapping) else model(inputs)), *seen]


def _tensors(value: Any) -> Iterator[Tensor]:
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, Mapping):
        yield from _tensors(tuple(value.values()))
    elif isinstance(value, tuple | list):
        for part in value:
            yield from _tensors(part)


def _finite(model: nn.Module, outputs: list[Tensor]) -> list[Tensor]:
    # Minus infinity may be meant, as the score of what is masked out.
    if all(bool((output < math.inf).all()) for output in outputs if output.is_floating_point()):
        return outputs
    name = next((name for name, parameter in model.named_parameters() if not parameter.isfinite().all()), None)
    cause = f"Nor is parameter '{name}': load the model again." if name else "Its parameters are: check the batch."
    raise InputError(f"the outputs of {type(model).__name__} are not finite, so that no site can be tried. {cause}")


def _are_same(first: list[Tensor], second: list[Tensor]) -> bool:
    return len(first) == len(second) and all(map(torch.equal, first, second))


@contextmanager
def _put_back(model: nn.Module) -> Iterator[None]:
    modes = {module: module.training for module in model.modules()}
    layerdrops = {module: module.layerdrop for module in modes if "layerdrop" in vars(module)}
    buffers = [(buffer, buffer.clone()) for buffer in model.buffers()]  # running statistics, for one
    configs: list[Any] = [module.config for module in modes if hasattr(getattr(module, "config", None), "problem_type")]
    problems = [(config, config.problem_type) for config in configs]  # models set it when they first see labels
    try:
        yield
    finally:
        for module, mode in modes.items():
            module.training = mode
        for module, rate in layerdrops.items():
            module.layerdrop = rate
        for config, problem in problems:
            config.problem_type = problem
        with torch.no_grad():
            for buffer, old in buffers:
                buffer.copy_(old)


def _quiet(model: nn.Module) -> None:
    """Switch off the dropping of whole layers, which would hide what a site does."""
    for module in model.modules():
        if "layerdrop" in vars(module):
            module.layerdrop = 0.0  # type: ignore[assignment]
        if type(module).__name__.endswith(("DropPath", "StochasticDepth")):
            module.training = False


@contextmanager
def _adapters_seen(model: nn.Module, sites: list[SiteBlock]) -> Iterator[list[Tensor]]:
    """Collect what the first factors of adapters give."""
    seen: list[Tensor] = []
    with ExitStack() as hooks:
        for site in sites:
            if site.kind == SiteKind.LORA:
                layer, adapter = site.name.split(".lora_dropout.")
                factor = model.get_submodule(f"{layer}.lora_A.{adapter}")
                hooks.callback(factor.register_forward_hook(lambda _module, _inputs, output: seen.append(output)).remove)
        yield seen
