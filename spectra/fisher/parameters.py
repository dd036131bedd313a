"""Which parameters of a model are measured, and what is known of each: the module that holds it, its kind, its other names."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import torch
from torch import Tensor, nn

from spectra.errors import InputError, did_you_mean


@dataclass(frozen=True, eq=False)
class MeasuredParameter:
    """A parameter to measure.

    Attributes:
        name: The first of its names in ``named_parameters()``.
        tensor: The parameter.
        layer_name: The module that holds it.
        kind: Of that module: ``linear``, ``embedding``, ``convolution``, ``norm`` or ``other``.
        transposed: A dense weight stored as (in, out).
        aliases: Its other names.
    """

    name: str
    tensor: Tensor
    layer_name: str
    kind: str
    transposed: bool
    aliases: tuple[str, ...]

    @property
    def has_neurons(self) -> bool:
        """Whether its rows and columns are neurons of a dense layer."""
        return self.kind == "linear" and self.tensor.ndim == 2


def measured_parameters(
    model: nn.Module, include: str | Sequence[str] = (), exclude: str | Sequence[str] = ()
) -> list[MeasuredParameter]:
    """Choose the parameters to measure: those that are trained, or those asked for by name.

    Args:
        model: Any module.
        include: Glob patterns on names; also frozen parameters that match are measured. Default: all with ``requires_grad``.
        exclude: Glob patterns on names.

    Returns:
        In the order of ``named_parameters()``, tied ones once.

    Raises:
        InputError: What :func:`check_model` refuses; a pattern that matches nothing; nothing left; parameters that have no
            gradient (integers), no data (on the meta device), or are sharded.
    """
    check_model(model)
    include, exclude = _patterns(include), _patterns(exclude)
    modules = dict(model.named_modules())
    names: dict[int, list[str]] = {}
    tensors: dict[int, Tensor] = {}
    for name, tensor in dict[str, Tensor](model.named_parameters(remove_duplicate=False)).items():
        names.setdefault(id(tensor), []).append(name)
        tensors[id(tensor)] = tensor
    everything = [name for several in names.values() for name in several]
    for pattern in (*include, *exclude):
        if not any(fnmatchcase(name, pattern) for name in everything):
            raise InputError(
                f"no parameter matches '{pattern}'.{did_you_mean(pattern, everything)} See model.named_parameters(); "
                "patterns are globs: '*.query.weight'."
            )
    chosen = []
    for key, tensor in tensors.items():
        aliases = names[key]
        wanted = any(_matches(name, include) for name in aliases) if include else tensor.requires_grad
        if wanted and not any(_matches(name, exclude) for name in aliases):
            chosen.append(_described(aliases, tensor, modules))
    if not chosen:
        raise InputError(
            "no parameter is left to measure: none that is chosen has requires_grad. Name frozen ones with include=, or check "
            "exclude=."
        )
    _refuse_unmeasurable(chosen)
    return chosen


def check_model(model: nn.Module) -> None:
    """Refuse what cannot be run through, before anything is computed.

    Args:
        model: Any module.

    Raises:
        InputError: No module at all, gradients ruled out by inference mode, or weights that are not finite, by name.
    """
    if not isinstance(model, nn.Module):
        raise InputError(f"the model is a {type(model).__name__}: pass a torch.nn.Module, such as AutoModel... gives.")
    if torch.is_inference_mode_enabled():
        raise InputError("there are no gradients inside torch.inference_mode(): call this outside of it.")
    for name, tensor in model.named_parameters():
        if tensor.is_floating_point() and not tensor.is_meta and not bool(tensor.detach().isfinite().all()):
            raise InputError(f"weight '{name}' is not finite: it holds NaN or infinity. Repair or retrain the model.")


def kind_of(module: nn.Module) -> str:
    """Tell what kind of layer holds a parameter.

    Args:
        module: That holds it.

    Returns:
        ``linear``, ``embedding``, ``convolution``, ``norm`` or ``other``.
    """
    if isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D":  # transformers' Conv1D is a dense layer
        return "linear"
    if isinstance(module, nn.Embedding):
        return "embedding"
    if isinstance(module, nn.modules.conv._ConvNd):
        return "convolution"
    return "norm" if "norm" in type(module).__name__.lower() else "other"


def _described(aliases: Sequence[str], tensor: Tensor, modules: dict[str, nn.Module]) -> MeasuredParameter:
    name = aliases[0]
    layer_name = name.rpartition(".")[0]
    module = modules[layer_name]
    transposed = type(module).__name__ == "Conv1D" and tensor.ndim == 2
    return MeasuredParameter(name, tensor, layer_name, kind_of(module), transposed, tuple(aliases[1:]))


def _refuse_unmeasurable(chosen: Sequence[MeasuredParameter]) -> None:
    for parameter in chosen:
        tensor, name = parameter.tensor, parameter.name
        if not tensor.is_floating_point():
            raise InputError(
                f"parameter '{name}' holds {tensor.dtype} codes, which have no gradient. Leave it out with exclude=."
            )
        if tensor.is_meta:
            raise InputError(f"parameter '{name}' is on the meta device and has no values. Load the model's weights first.")
        if hasattr(tensor, "placements"):  # a DTensor
            raise InputError(
                f"parameter '{name}' is sharded over processes, which is not supported. Load the model whole, or use DDP."
            )


def _patterns(patterns: str | Sequence[str]) -> tuple[str, ...]:
    return (patterns,) if isinstance(patterns, str) else tuple(patterns)


def _matches(name: str, patterns: Sequence[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def common_dtype(parameters: Sequence[MeasuredParameter]) -> str:
    """Return the dtypes of parameters as words, ``float32`` or ``bfloat16+float32``."""
    return "+".join(sorted({str(parameter.tensor.dtype).removeprefix("torch.") for parameter in parameters}))
