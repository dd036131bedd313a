"""Telling a caller's loss function from others, in this process and the next."""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType, MethodType
from typing import Any

from torch import Tensor, nn

from spectra.fisher.batches import chained_fingerprint


def loss_fingerprint(loss: Callable[..., Any] | None) -> str | None:
    """Say which function a loss is: its name, and a hash of its code and of the values it was given.

    Values are plain ones, tensors and functions, as arguments of a partial, defaults or variables of an enclosing function. Of
    anything else the class alone counts: what an object holds may change while it is used. So do global variables by name only.

    Args:
        loss: A function, method, partial or object that is called; ``None``: there is none.

    Returns:
        ``"module.name:hash"``, the same in every process of one version of Python; ``None`` for none.
    """
    if loss is None:
        return None
    inner = loss
    while isinstance(inner, functools.partial):
        inner = inner.func
    return f"{_name(inner)}:{hashlib.sha256(_described(loss, ()).encode()).hexdigest()}"


def _name(thing: Any) -> str:
    named = thing if hasattr(thing, "__qualname__") else type(thing)
    return f"{getattr(named, '__module__', None)}.{named.__qualname__}"


def _described(value: Any, within: tuple[int, ...]) -> str:
    """Describe a value without its address, so that another process finds the same words."""
    if id(value) in within:  # a function that calls itself, or a list that holds itself
        return "itself"
    below = functools.partial(_described, within=(*within, id(value)))
    if value is None or isinstance(value, bool | int | float | complex | str | bytes):
        return repr(value)
    if isinstance(value, list | tuple):
        return f"{type(value).__name__}({', '.join(map(below, value))})"
    if isinstance(value, set | frozenset):  # whose order is another in every process
        return f"set({', '.join(sorted(map(below, value)))})"
    if isinstance(value, Mapping):
        return f"mapping({', '.join(f'{below(key)}: {below(one)}' for key, one in value.items())})"
    if isinstance(value, Tensor):
        return chained_fingerprint("", value)
    if isinstance(value, functools.partial):
        return f"partial({below(value.func)}, {below(value.args)}, {below(value.keywords)})"
    if isinstance(value, MethodType):
        return f"method({_name(type(value.__self__))}, {below(value.__func__)})"
    if isinstance(value, FunctionType):
        cells = [below(_content(cell)) for cell in value.__closure__ or ()]
        defaults = (below(value.__defaults__), below(value.__kwdefaults__))
        return f"{_name(value)}({below(value.__code__)}, {', '.join((*defaults, *cells))})"
    if isinstance(value, CodeType):
        return f"{value.co_code.hex()} {below(value.co_consts)} {below(value.co_names)}"
    if not hasattr(value, "__qualname__"):  # an object: of a module that is called, what it is called by
        called = getattr(type(value), "forward" if isinstance(value, nn.Module) else "__call__", None)
        return f"{_name(value)}({below(called) if isinstance(called, FunctionType) else ''})"
    return _name(value)


def _content(cell: Any) -> Any:
    try:
        return cell.cell_contents
    except ValueError:  # not yet assigned
        return None
