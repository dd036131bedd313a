r"""Guided dropout below the level of modules: a drop probability for each channel (neuron) of an activation.

An extension of ours to arXiv 2406.14005, whose rates are one number per dropout module. Nothing else uses it: rates, such as
those of :func:`spectra.policies.drop_prob.neuron_rates`, come into force only where :func:`apply_neuron_rates` is called.
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

import torch
from numpy.typing import ArrayLike
from torch import Tensor, nn

from spectra.errors import InputError
from spectra.training.applied import Applied
from spectra.training.site_noise import apply_noise

if TYPE_CHECKING:
    from torch import Generator


def channel_dropout(
    x: Tensor,
    drop_probs: ArrayLike | Tensor,
    *,
    training: bool,
    shared: bool = False,
    generator: Generator | None = None,
) -> Tensor:
    r"""Drop each channel with its own probability, and scale up what is kept.

    .. math:: y_{tj} = x_{tj} m_{tj}, \qquad m_{tj} \sim \mathrm{Bernoulli}(1 - p_j) / (1 - p_j)

    so that the expectation of the output is the input. On a linear layer behind it this is an L2 penalty of strength
    :math:`p_j / (1 - p_j)` on the weights of input ``j``, times that input's sum of squares.

    Args:
        x: Floating-point, shape ``(..., d)``.
        drop_probs: Shape ``(d,)``, each in [0, 1). Channels with 0 are passed on bit by bit.
        training: Whether to drop; otherwise ``x`` itself is returned.
        shared: Draw one vector per entry of the first dimension (per sequence) in place of one per position (per token).
        generator: Of the masks, on the device of ``x``; default: torch's own.

    Returns:
        Shape and dtype of ``x``; differentiable.

    Raises:
        InputError: Another number of probabilities than channels, one outside [0, 1), or integers.

    Example:
        >>> y = channel_dropout(torch.ones(50, 2), [0.0, 0.75], training=True)
        >>> y[:, 0].unique(), y[:, 1].unique()
        (tensor([1.]), tensor([0., 4.]))
    """
    return _dropped(
        x, training, keep_probs=_keep_probs(drop_probs, "drop_probs"), where="x", shared=shared, generator=generator
    )


def apply_neuron_rates(model: nn.Module, rates: Mapping[str, ArrayLike | Tensor], *, shared: bool = False) -> Applied:
    """Give the channels at some places of a model drop probabilities of their own.

    A dropout module at such a place does nothing else until they are taken away; the output of any other module is dropped
    from as it leaves the module. Masks come from torch's global generators, as in dropout modules.

    Args:
        model: The model; its parameters and its state dict stay as they are.
        rates: Drop probabilities of the channels, shape ``(d,)``, by name of the module as in ``named_modules()``.
        shared: One mask per sequence in place of one per token.

    Returns:
        A context manager that takes the rates away at its end; without ``with``, call its ``restore()``.

    Raises:
        InputError: Names that are no modules, two names of one module, or a rate outside [0, 1); while the model runs,
            another number of channels than rates, or a module that is never called.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1))
        >>> with apply_neuron_rates(model, {"1": [0.0, 0.5]}):
        ...     output = model(torch.ones(4, 3))
        >>> model[1].p
        0.1
    """
    keep_probs = {name: _keep_probs(drop_probs, f"site '{name}'") for name, drop_probs in rates.items()}
    return apply_noise(
        model,
        {name: partial(_dropped, keep_probs=keep, where=f"site '{name}'", shared=shared) for name, keep in keep_probs.items()},
    )


def _keep_probs(drop_probs: ArrayLike | Tensor, where: str) -> Tensor:
    try:
        probs = torch.as_tensor(drop_probs, dtype=torch.float64, device="cpu").detach()
    except (TypeError, ValueError, RuntimeError) as error:
        raise InputError(f"{where}: expected drop probabilities, one per channel, got {drop_probs!r} ({error}).") from None
    if probs.dim() != 1:
        raise InputError(f"{where}: expected drop probabilities of shape (channels,), got {tuple(probs.shape)}.")
    wrong = torch.nonzero(~((probs >= 0.0) & (probs < 1.0)))  # NaN too
    if len(wrong):
        channel = int(wrong[0])
        raise InputError(
            f"{where}: expected drop probabilities in [0, 1), got {float(probs[channel])} for channel {channel} "
            f"({len(wrong)} of {len(probs)} are outside)."
        )
    return 1.0 - probs


def _dropped(
    x: Tensor,
    training: bool,
    *,
    keep_probs: Tensor,
    where: str,
    shared: bool,
    generator: Generator | None = None,
) -> Tensor:
    if not x.is_floating_point():
        raise InputError(f"{where}: expected floating-point activations, got {x.dtype}. Convert them first.")
    if x.shape[-1:] != keep_probs.shape:
        raise InputError(
            f"{where}: expected one drop probability for each channel of the last dimension of {tuple(x.shape)}, got "
            f"{len(keep_probs)}. Give as many as there are channels."
        )
    if not training:
        return x
    # In bfloat16 a factor 1 / (1 - p) would be off by up to 0.2 %, and with it the mean of what is kept.
    dtype = torch.promote_types(x.dtype, torch.float32)
    keep = keep_probs.to(dtype).to(x.device)
    shape = (*x.shape[:1], *[1] * (x.dim() - 2), *x.shape[-1:]) if shared and x.dim() > 1 else x.shape
    mask = torch.bernoulli(keep.expand(shape), generator=generator) / keep
    return (x * mask).to(x.dtype)
