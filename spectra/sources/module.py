"""A live ``nn.Module``: its parameters, with what the modules know of them, and effective weights of parametrised ones."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from threading import Lock
from typing import TYPE_CHECKING, Any

from spectra.errors import SourceError
from spectra.sources.names import unwrapped_names
from spectra.sources.quantized import dequantized
from spectra.sources.quantized.live import HQQ_CODES, companions, own_dequantize
from spectra.sources.tensors import CONVOLUTION, EMBEDDING, LINEAR, OTHER, TRANSPOSED_CONVOLUTION, Layout, Source, StoredTensor
from spectra.sources.torch_tensor import dtype_name, row_reader, storage_format, storage_key, unreadable

if TYPE_CHECKING:
    import torch

_ONE_AT_A_TIME = Lock()


def open_module(model: torch.nn.Module) -> Source:
    """List the parameters of a model, in the order of ``named_modules()``.

    The model is not changed: no mode, device, dtype or ``requires_grad``, no attribute, no buffer.

    Args:
        model: Any module; on any device, compiled or wrapped for parallel training too.

    Returns:
        The source. Shared parameters appear once with data and again as ``tied_to``; a parametrised weight appears as the
        weight that the module computes with, under its plain name.

    Raises:
        SourceError: A lazy module that has not seen a batch.
    """
    import torch

    rows: list[StoredTensor] = []
    seen: dict[Any, str] = {}
    with torch.no_grad():
        for module_name, module in model.named_modules(remove_duplicate=False):
            if _is_parametrization(module_name):
                continue
            layout = _layout(module)
            for attribute, get in _weights(module):
                name = f"{module_name}.{attribute}" if module_name else attribute
                tensor = get()
                if torch.nn.parameter.is_lazy(tensor):
                    raise SourceError(f"'{name}' has no shape yet: run one batch through the lazy module first.")
                # An effective weight is a new tensor at each call: only the module's identity tells that it is shared.
                parametrised = attribute not in module._parameters and attribute not in module._buffers
                key: Any = (id(module), attribute) if parametrised else storage_key(tensor)
                first = seen.setdefault(key, name) if key is not None else name
                rows.append(
                    StoredTensor(
                        name=name,
                        shape=tuple(tensor.shape),
                        dtype=dtype_name(tensor),
                        read=row_reader(get),
                        layout=layout,
                        tied_to=None if first == name else first,
                        unreadable=unreadable(tensor),
                        quantized=storage_format(tensor) or ("hqq" if get == own_dequantize(module) else ""),
                    )
                )
    names = [row.name for row in rows]
    plain = dict(zip(names, unwrapped_names(names), strict=True))
    config = _config_of(model)
    tensors = tuple(dequantized([_with_names(row, plain) for row in rows], config, is_live=True))
    inner = getattr(model, "_orig_mod", model)
    class_name = type(inner.module if isinstance(getattr(inner, "module", None), torch.nn.Module) else inner).__name__
    return Source(class_name, f"module {class_name}", "module", tensors, config)


def _with_names(row: StoredTensor, plain: dict[str, str]) -> StoredTensor:
    return dataclasses.replace(row, name=plain[row.name], tied_to=plain[row.tied_to] if row.tied_to else None)


def _is_parametrization(module_name: str) -> bool:
    return "parametrizations" in module_name.split(".")


def _weights(module: torch.nn.Module) -> Iterator[tuple[str, Callable[[], torch.Tensor]]]:
    """Yield the attribute names of a module's own weights and a function that gives the weight it computes with."""
    from torch.nn.utils import parametrize

    hooked = _hooked(module)
    yield from hooked.items()
    hidden = {f"{attribute}{suffix}" for attribute in hooked for suffix in ("_g", "_v", "_orig", "_mask", "_u")}
    hidden |= {HQQ_CODES} if own_dequantize(module) else set()
    # Matrices among the buffers that a checkpoint holds, too: a file cannot tell them from parameters.
    kept = {name: buffer for name, buffer in module._buffers.items() if name not in module._non_persistent_buffers_set}
    buffers = {name: buffer for name, buffer in kept.items() if buffer is not None and buffer.dim() >= 2}
    for attribute, tensor in (module._parameters | buffers).items():
        if tensor is not None and attribute not in hidden:
            yield attribute, partial(getattr, module, attribute)
    for attribute, companion in companions(module).items():
        yield attribute, partial(_itself, companion)
    dequantize = own_dequantize(module)
    if dequantize is not None:
        yield "weight", dequantize
    weight_of: Any = getattr(type(module), "weight", None)
    if "_packed_params" in module._modules and callable(weight_of):  # torch's dynamically and statically quantized layers
        yield "weight", partial(weight_of, module)
    if parametrize.is_parametrized(module):
        parametrizations: Any = module.parametrizations
        for attribute in parametrizations:
            yield attribute, partial(_effective, module, attribute)


def _itself(tensor: torch.Tensor) -> torch.Tensor:
    return tensor


def _hooked(module: torch.nn.Module) -> dict[str, Callable[[], torch.Tensor]]:
    """Weights that ``torch.nn.utils``' older weight_norm and spectral_norm, and prune, compute in a hook before a forward."""
    found: dict[str, Callable[[], torch.Tensor]] = {}
    hooks: list[Any] = list(module._forward_pre_hooks.values())
    for hook in hooks:
        if hasattr(hook, "n_power_iterations"):  # spectral_norm: without the iteration, which would change its buffers
            found[hook.name] = partial(hook.compute_weight, module, do_power_iteration=False)
        elif hasattr(hook, "compute_weight"):
            found[hook.name] = partial(hook.compute_weight, module)
        elif hasattr(hook, "apply_mask"):  # torch.nn.utils.prune
            found[hook._tensor_name] = partial(hook.apply_mask, module)
    return found


def _effective(module: torch.nn.Module, attribute: str) -> torch.Tensor:
    import torch

    parametrizations: Any = module.parametrizations
    # Two threads that read parts of one weight would restore each other's modes.
    with _ONE_AT_A_TIME, torch.no_grad(), _evaluating(parametrizations[attribute]):
        weight: torch.Tensor = getattr(module, attribute)
        return weight


@contextmanager
def _evaluating(module: torch.nn.Module) -> Iterator[None]:
    """Switch to evaluation and back: in training mode spectral_norm changes its buffers at every access."""
    modes = [(child, child.training) for child in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for child, training in modes:
            child.training = training


def _layout(module: torch.nn.Module) -> Layout:
    import torch

    name = type(module).__name__
    if isinstance(module, torch.nn.Linear):
        return Layout(LINEAR, class_name=name)
    if isinstance(module, torch.nn.Embedding | torch.nn.EmbeddingBag):
        return Layout(EMBEDDING, class_name=name)
    if isinstance(module, torch.nn.modules.conv._ConvTransposeNd):
        return Layout(TRANSPOSED_CONVOLUTION, groups=module.groups, class_name=name)
    if isinstance(module, torch.nn.modules.conv._ConvNd):
        return Layout(CONVOLUTION, groups=module.groups, class_name=name)
    if name == "Conv1D" and hasattr(module, "nf"):  # transformers' GPT-2 layer; known by name, not imported
        return Layout(LINEAR, is_transposed=True, class_name=name)
    if isinstance(module, torch.nn.MultiheadAttention):
        return Layout(OTHER, class_name=name, num_heads=module.num_heads)
    return Layout(OTHER, class_name=name)


def _config_of(model: torch.nn.Module) -> dict[str, Any]:
    config = getattr(getattr(model, "module", model), "config", None)
    to_dict = getattr(config, "to_dict", None)
    return dict(to_dict()) if callable(to_dict) else {}
