"""Noise of our own at named modules, in place of the dropout they do: hooks, and how they come off again.

A dropout module is told to drop nothing and its output gets the noise instead; the output of any other module gets the noise
on top. No parameter, buffer or state dict changes. Some attention modules read the rate of a dropout module and never call
it; at such a place a hook would turn dropout off and put nothing in its stead, so that the first training step refuses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import ExitStack
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.dropout import _DropoutNd

from spectra.errors import InputError, did_you_mean
from spectra.training.applied import Applied

# Gets an output and whether its module is in training mode.
Noise = Callable[[Tensor, bool], Tensor]


def apply_noise(model: nn.Module, noises: Mapping[str, Noise]) -> Applied:
    """Put noise on the outputs of modules.

    Args:
        model: The model; its parameters and its state dict stay as they are.
        noises: By name of the module, as in ``named_modules()``. Of an output that is a tuple, the first element gets it.

    Returns:
        What takes the noise away again.

    Raises:
        InputError: Names that are no modules, or two names of one module; while the model runs, an output that is no tensor,
            or a module that its parent does not call in training.
    """
    modules = _modules(model, noises)
    called: set[str] = set()
    with ExitStack() as undo:
        for name, noise in noises.items():
            module = modules[name]
            if isinstance(module, _DropoutNd):
                undo.callback(setattr, module, "p", module.p)
                module.p = 0.0
            undo.callback(module.register_forward_hook(_noise_hook(name, noise, called)).remove)
            parent = model.get_submodule(name.rpartition(".")[0])
            undo.callback(parent.register_forward_hook(_called_hook(name, called)).remove)
        return Applied(undo.pop_all())


def _modules(model: nn.Module, names: Mapping[str, Any]) -> dict[str, nn.Module]:
    modules = dict(model.named_modules(remove_duplicate=False))
    del modules[""]  # the whole model has no parent to say whether it is called
    unknown = [f"'{name}'.{did_you_mean(name, modules)}" for name in names if name not in modules]
    if unknown:
        raise InputError(
            f"no module of {type(model).__name__} is called {' Nor '.join(unknown)} Take names from named_modules(); a rate "
            "that a module keeps as a number has no output."
        )
    first: dict[nn.Module, str] = {}
    for name in names:
        if (other := first.setdefault(modules[name], name)) != name:
            raise InputError(f"'{other}' and '{name}' are one module. Give only one of them.")
    return modules


def _noise_hook(name: str, noise: Noise, called: set[str]) -> Callable[[nn.Module, Any, Any], Any]:
    def hook(module: nn.Module, _: Any, output: Any) -> Any:
        called.add(name)
        first = output[0] if isinstance(output, tuple) and output else output
        if not isinstance(first, Tensor):
            raise InputError(
                f"site '{name}': expected a tensor as output, got {type(first).__name__}. Name a module inside it."
            )
        noisy = noise(first, module.training)
        return (noisy, *output[1:]) if isinstance(output, tuple) else noisy

    return hook


def _called_hook(name: str, called: set[str]) -> Callable[[nn.Module, Any, Any], None]:
    def hook(parent: nn.Module, _inputs: Any, _output: Any) -> None:
        if parent.training and name not in called:
            raise InputError(
                f"site '{name}': {type(parent).__name__} never calls this module, it only reads what is stored in it, so that "
                "no noise reaches its output. Leave the site out, or set its rate with apply_rates."
            )

    return hook
