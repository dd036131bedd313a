"""Parameter groups by the name of their unit: which parameters a unit has, and an optimizer's groups split by it.

=================================  ====================================================================================
a unit that is                     has
=================================  ====================================================================================
a layer                            weight and bias of the module, parametrized or not, and the adapters put around it
a block: a path above its layers   these layers, and what else stands below the path and is no layer: normalization layers
any other set of layers            the parameters of these layers
=================================  ====================================================================================

Everything else is *base*: its multiplier is 1. So are layers of a block that its unit does not list: a policy has excluded
them, or somebody has taken them out of a plan. Names are those of the model inside all wrappers; a parameter with several names
goes by its first one.

Each group carries the name of its unit. Weight decays go by the units of the learning rates, unless groups are split for them,
too: then a group has one unit for each, and its parameters are those that the two share. Since names stay in the groups, and
with them in checkpoints, no second account of what belongs where can go astray.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from itertools import compress
from typing import Any

from torch import Tensor, nn
from torch.optim import Optimizer

from spectra.errors import InputError, did_you_mean
from spectra.fisher.parameters import kind_of
from spectra.policies.drop_prob import chosen
from spectra.training.unit_members import name_shift

LEARNING_RATE, WEIGHT_DECAY = TARGETS = ("learning_rate", "weight_decay")

UNIT = "spectra_unit"  # key in a parameter group: name of its unit
DECAY_UNIT = "spectra_decay_unit"  # and of the one that its weight decay goes by; missing where that is the same
BASE = ""  # the unit of what belongs to none
_TAGS = {LEARNING_RATE: UNIT, WEIGHT_DECAY: DECAY_UNIT}
_LAYERS = ("linear", "embedding", "convolution")  # kinds of modules whose weight is a layer

_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module", "base_layer"}
_FRONT = re.compile(r"^(?:module\.|base_model\.model\.)+")  # DistributedDataParallel, peft
_COPY = re.compile(
    r"(?:^|\.)(?:modules_to_save\.[^.]+|original_module)(?=\.)"
)  # peft's copies of a module that is trained whole
_PARAMETRIZED = re.compile(r"(?<![^.])parametrizations\.([^.]+)\..+$")

_NOT_SPLIT = {
    "LBFGS": "takes one group only: make another optimizer",
    "ZeroRedundancyOptimizer": "has shared its groups out already: make it from build_parameter_groups",
}


def plain_parameter_name(name: str) -> str:
    """Take off what wrappers put into names: parallel and compiled training, checkpointing, adapters.

    Args:
        name: Of a parameter or module.

    Returns:
        The name in the plain model.

    Example:
        >>> plain_parameter_name("module.base_model.model.encoder.0.query.base_layer.weight")
        'encoder.0.query.weight'
    """
    name = ".".join(part for part in name.split(".") if part not in _WRAPPERS)
    return _COPY.sub("", _FRONT.sub("", name)).removeprefix(".")


def parameter_units(model: nn.Module, members: Mapping[str, Sequence[str]], *, norms_follow: bool = False) -> dict[str, str]:
    """Tell which unit each parameter of a model belongs to.

    Args:
        model: Live, wrapped or not.
        members: Layer names of each unit. A unit whose name is a path above all its layers is a block. Where no name is one of
            this model's, all may differ from them by one prefix: ``encoder.layer.0`` is ``bert.encoder.layer.0`` then.
        norms_follow: Normalization layers that are in no unit go with the layer before them: the last one with a weight, in the
            order of the modules, below the nearest module that holds both; with the next one if there is none before. They
            stay base if that layer is. For units that are layers: blocks hold theirs.

    Returns:
        Name of the parameter, as in ``model.named_parameters()``, to its unit; ``""`` for base.

    Raises:
        InputError: A unit without a name, layers that the model does not have, a layer in two units, or parameters that FSDP
            has put together.
    """
    names = _plain_names(model)
    shift = _checked_shift(model, members, set(names.values()))
    layers: dict[str, str] = {}
    blocks: dict[str, str] = {}
    for unit, its_layers in members.items():
        path = shift(plain_parameter_name(unit))
        plain = [shift(plain_parameter_name(layer)) for layer in its_layers]
        if all(layer.startswith(f"{path}.") for layer in plain):
            blocks[path] = unit
        for layer in plain:
            if layers.setdefault(layer, unit) != unit:
                raise InputError(f"layer '{layer}' is in two units, '{layers[layer]}' and '{unit}'. Leave it in one.")
    layers |= dict.fromkeys(_unlisted_layers(model, names, layers), BASE)
    units = {name: _unit_of(path, layers, blocks) for name, path in names.items()}
    return units | _units_of_norms(model, names, units) if norms_follow else units


def build_parameter_groups(
    model: nn.Module, units: Mapping[str, str], *, groups: Sequence[Mapping[str, Any]] | None = None, **options: Any
) -> list[dict[str, Any]]:
    """Make parameter groups for an optimizer, one for each unit and set of options.

    Args:
        model: Whose parameters are trained.
        units: From :func:`parameter_units`; what is missing is base.
        groups: As an optimizer takes them, with their options; each is split. Default: one, of all trainable parameters.
        **options: Of all groups that do not have their own, such as ``lr``.

    Returns:
        The parts of each group in turn: base first, then units in the order of the model, without empty ones. Tagged under the
        key ``UNIT``; options that are tensors are cloned for each.

    Raises:
        InputError: Names that the model does not have; parameters that are not the model's, or in two groups; groups that are
            split already.

    Example:
        >>> model = nn.ModuleDict({"first": nn.Linear(2, 2), "second": nn.Linear(2, 1, bias=False)})
        >>> units = parameter_units(model, {"second": ["second"]})
        >>> [(group[UNIT], len(group["params"])) for group in build_parameter_groups(model, units, lr=0.1)]
        [('', 2), ('second', 1)]
    """
    if groups is None:
        groups = [{"params": [parameter for parameter in model.parameters() if parameter.requires_grad]}]
    return _split([{**options, **group} for group in groups], _unit_by_parameter(model, units), UNIT)


def split_parameter_groups(
    optimizer: Optimizer, model: nn.Module, units: Mapping[str, str], *, target: str = LEARNING_RATE
) -> None:
    """Split the parameter groups of an optimizer by unit, in place, before or after it has made steps.

    Its state stays, and so do the options of its groups. Split again by the same units, nothing happens.

    Args:
        optimizer: Of the model's parameters, or accelerate's wrapper of one.
        model: As it was when the optimizer was made for it, all wrapping done.
        units: From :func:`parameter_units`; what is missing is base.
        target: What the units are for: ``learning_rate``, which weight decays follow, or ``weight_decay`` alone. Groups that
            are split for one are split further for the other where their units differ, in either order.

    Raises:
        InputError: No optimizer; an unknown target; parameters that the model does not have; other units than those it was
            split by for the same target; a scheduler is attached, whose learning rates are by number of the group; or an
            optimizer whose groups cannot be split.
    """
    tag = _TAGS[chosen(target, TARGETS, "target")]
    inner = unwrapped_optimizer(optimizer)
    unit_by_parameter = _unit_by_parameter(model, units)
    if any(tag in group for group in inner.param_groups):
        _refuse_other_units(inner.param_groups, unit_by_parameter, target)
        return
    parts = _split(inner.param_groups, unit_by_parameter, tag)
    if [len(part["params"]) for part in parts] != [len(group["params"]) for group in inner.param_groups]:
        _refuse_splitting(optimizer, inner)
        inner.param_groups[:] = parts
    else:  # as they are: whoever counts them, or holds one, need not know
        for group, part in zip(inner.param_groups, parts, strict=True):
            group[tag] = part[tag]


def group_unit(group: Mapping[str, Any], target: str = LEARNING_RATE) -> str:
    """Tell which unit a parameter group belongs to.

    Args:
        group: Of an optimizer.
        target: ``learning_rate`` or ``weight_decay``.

    Returns:
        Name of the unit; ``""`` for base.
    """
    unit: str = group.get(UNIT, BASE)
    return group.get(DECAY_UNIT, unit) if target == WEIGHT_DECAY else unit


def unwrapped_optimizer(optimizer: Any) -> Optimizer:
    """Return the optimizer inside wrappers that show its parameter groups, such as accelerate's.

    Args:
        optimizer: Wrapped or not.

    Returns:
        The one whose ``step`` does the work.

    Raises:
        InputError: It is no torch optimizer.
    """
    groups = getattr(optimizer, "param_groups", None)
    while groups is not None and getattr(getattr(optimizer, "optimizer", None), "param_groups", None) is groups:
        optimizer = optimizer.optimizer
    if not isinstance(optimizer, Optimizer):
        raise InputError(
            f"optimizer: expected a torch.optim.Optimizer, got {type(optimizer).__name__}. Pass the optimizer itself."
        )
    return optimizer


def _plain_names(model: nn.Module) -> dict[str, str]:
    """Parameter name → name in the plain model; parts of an adapter go by the name of the weight that they change."""
    adapted = {name: module for name, module in model.named_modules(remove_duplicate=False) if "base_layer" in module._modules}
    return {name: _plain_path(name, adapted) for name, _ in model.named_parameters()}


def _plain_path(name: str, adapted: Mapping[str, nn.Module]) -> str:
    parts = name.split(".")
    for length in range(len(parts) - 1, 0, -1):
        layer = ".".join(parts[:length])
        if layer in adapted and parts[length] != "base_layer":
            # peft can adapt one parameter among several of a module, such as stacked experts.
            return f"{plain_parameter_name(layer)}.{getattr(adapted[layer], 'parameter_name', 'weight')}"
    return _PARAMETRIZED.sub(r"\1", plain_parameter_name(name))


def _unit_of(path: str, layers: Mapping[str, str], blocks: Mapping[str, str]) -> str:
    for layer in _layer_names(path):
        if layer in layers:
            return layers[layer]
    parts = path.split(".")
    above = (".".join(parts[:length]) for length in range(len(parts) - 1, 0, -1))
    return next((blocks[block] for block in above if block in blocks), BASE)


def _layer_names(path: str) -> Iterator[str]:
    """Yield the names that the layer of a parameter may have: a layer is named by its weight, without ``.weight``."""
    module, dot, leaf = path.rpartition(".")
    yield path
    if "bias" in leaf:  # in_proj_bias goes with in_proj_weight, gate_up_proj_bias with gate_up_proj
        yield module + dot + leaf.replace("bias", "weight")
        yield module + dot + leaf.removesuffix("_bias")
    yield module


def _units_of_norms(model: nn.Module, names: Mapping[str, str], units: Mapping[str, str]) -> dict[str, str]:
    modules = dict(model.named_modules(remove_duplicate=False))
    norms = {name for name in names if kind_of(modules[name.rpartition(".")[0]]) == "norm"}
    places = {name: place for place, name in enumerate(names)}
    weights = [
        (places[name], path, units[name]) for name, path in names.items() if name not in norms and path.endswith("weight")
    ]
    return {name: _unit_beside(names[name], places[name], weights) for name in names if name in norms and units[name] == BASE}


def _unit_beside(path: str, place: int, weights: Sequence[tuple[int, str, str]]) -> str:
    parts = path.split(".")
    for length in range(len(parts) - 2, -1, -1):
        above = "".join(f"{part}." for part in parts[:length])
        near = [(other, unit) for other, name, unit in weights if name.startswith(above)]
        if near:
            before = [unit for other, unit in near if other < place]
            return before[-1] if before else near[0][1]
    return BASE


def _checked_shift(model: nn.Module, members: Mapping[str, Sequence[str]], names: set[str]) -> Callable[[str], str]:
    flat = next((name for name, _ in model.named_parameters() if name.rpartition(".")[2].startswith("_flat_param")), None)
    if flat:
        raise InputError(f"'{flat}' holds the parameters of several modules. Wrap the model in FSDP with use_orig_params=True.")
    if BASE in members:
        raise InputError("members: a unit without a name. Name it, or leave its layers out.")
    others = (pair for listed in (model.named_modules, model.named_buffers) for pair in listed(remove_duplicate=False))
    aliases = (name for name, _ in model.named_parameters(remove_duplicate=False))
    known = names | {plain_parameter_name(name) for name, _ in others} | set(map(plain_parameter_name, aliases))
    plain = {unit: [plain_parameter_name(layer) for layer in layers] for unit, layers in members.items()}
    return name_shift(plain, known, type(model).__name__)


def _unlisted_layers(model: nn.Module, names: Mapping[str, str], listed: Collection[str]) -> Iterator[str]:
    """Yield the layers that no unit lists, by the names that an analysis gives them."""
    modules = dict(model.named_modules(remove_duplicate=False))
    for name, parameter in model.named_parameters():
        kind, leaf = kind_of(modules[name.rpartition(".")[0]]), name.rpartition(".")[2]
        # Of a sharded parameter a process may hold a flat part.
        is_weight = parameter.ndim > 1 or (kind in _LAYERS and leaf == "weight")
        if is_weight and kind != "norm" and not any(layer in listed for layer in _layer_names(names[name])):
            yield names[name].removesuffix(".weight")


def _unit_by_parameter(model: nn.Module, units: Mapping[str, str]) -> dict[int, str]:
    parameters: dict[str, Tensor] = dict(model.named_parameters())
    unknown = [name for name in units if name not in parameters]
    if unknown:
        raise InputError(
            f"units: {len(unknown)} of {len(units)} names are no parameters of {type(model).__name__}, such as '{unknown[0]}'."
            f"{did_you_mean(unknown[0], parameters)} Use parameter_units of this model."
        )
    return {id(parameter): units.get(name, BASE) for name, parameter in parameters.items()}


def _refuse_splitting(optimizer: Optimizer, inner: Optimizer) -> None:
    kinds = [kind.__name__ for kind in type(inner).__mro__]
    reason = next((_NOT_SPLIT[kind] for kind in kinds if kind in _NOT_SPLIT), None)
    if reason:
        raise InputError(f"optimizer: {kinds[0]} {reason}.")
    # A scheduler marks the optimizer that it was given: the wrapper, or the one inside.
    if any(hasattr(one.step, "_wrapped_by_lr_sched") for one in (optimizer, inner)):
        raise InputError(
            "optimizer: a scheduler is attached, whose learning rates are by number of the group. Split the groups first "
            "(split_by_policy, or TempBalanceCallback.attach under a Trainer), then make the scheduler."
        )


def _split(groups: Iterable[Mapping[str, Any]], unit_by_parameter: Mapping[int, str], tag: str) -> list[dict[str, Any]]:
    order = [BASE, *dict.fromkeys(unit for unit in unit_by_parameter.values() if unit != BASE)]
    seen: dict[int, int] = {}
    parts: list[dict[str, Any]] = []
    for number, group in enumerate(groups):
        if tag in group:
            raise InputError(f"groups: group {number} is split by unit already. Pass the groups as they were before.")
        params = [group["params"]] if isinstance(group["params"], Tensor) else list(group["params"])
        units = [_checked(_tensor(param), number, seen, unit_by_parameter) for param in params]
        parts += [_part(group, params, [u == unit for u in units]) | {tag: unit} for unit in order if unit in units]
    return parts


def _checked(parameter: Tensor, number: int, seen: dict[int, int], unit_by_parameter: Mapping[int, str]) -> str:
    shape = tuple(parameter.shape)
    if id(parameter) not in unit_by_parameter:
        raise InputError(
            f"group {number} has a parameter of shape {shape} that the model does not have. Pass the model that the optimizer "
            "was made for, after all wrapping."
        )
    if id(parameter) in seen:
        raise InputError(f"a parameter of shape {shape} is in group {seen[id(parameter)]} and in group {number}. List it once.")
    seen[id(parameter)] = number
    return unit_by_parameter[id(parameter)]


def _part(group: Mapping[str, Any], params: Sequence[Any], kept: Sequence[bool]) -> dict[str, Any]:
    """Return some of the parameters with the options of their group."""
    part = {key: value.detach().clone() if isinstance(value, Tensor) else value for key, value in group.items()}
    part["params"] = list(compress(params, kept))
    if "param_names" in group:
        part["param_names"] = list(compress(group["param_names"], kept))
    return part


def _tensor(param: Any) -> Tensor:
    """A parameter, from what an optimizer takes: itself, or its name and itself."""
    tensor: Tensor = param[1] if isinstance(param, tuple) else param
    return tensor


def _refuse_other_units(groups: Sequence[Mapping[str, Any]], unit_by_parameter: Mapping[int, str], target: str) -> None:
    for number, group in enumerate(groups):
        for parameter in group["params"]:
            wanted, found = _checked(parameter, number, {}, unit_by_parameter), group_unit(group, target)
            if wanted != found:
                raise InputError(
                    f"optimizer: group {number} is split already for its {target}, as '{found}', and its parameter of shape "
                    f"{tuple(parameter.shape)} belongs to '{wanted}' now. One optimizer has one policy for each target: give "
                    "the units that it was split by (unit, exclude and what is trained), or make a new optimizer."
                )
