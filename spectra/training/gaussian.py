r"""Gaussian dropout: multiplicative noise with the mean and the variance of a dropout mask.

A baseline for guided dropout. The layer of that name in the code of arXiv 2406.14005 (commit b449b03) makes two mistakes,
which are not repeated here:

==========================================  ===============================================  ==================================
there                                       what follows                                     here
==========================================  ===============================================  ==================================
it asks ``if self.train():``, a call that   noise at evaluation too; a module that was put   ``self.training`` is read, and the
sets training mode and is always true       into ``eval()`` leaves it                        output in evaluation is the input
its standard deviation is ``p / (1 - p)``   a ninth of the variance of dropout at            ``sqrt(p / (1 - p))``: the
                                            ``p = 0.1``: a standard deviation of 0.111, not  variance of a mask that drops with
                                            0.333                                            probability ``p``
==========================================  ===============================================  ==================================
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from functools import partial
from numbers import Real
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from spectra.errors import InputError
from spectra.training.applied import Applied
from spectra.training.site_noise import apply_noise

if TYPE_CHECKING:
    from torch import Generator


def gaussian_dropout(x: Tensor, drop_prob: float, *, training: bool, generator: Generator | None = None) -> Tensor:
    r"""Multiply each entry by a draw from :math:`\mathcal N(1, p / (1 - p))`.

    Source: Srivastava et al. (2014), "Dropout: a simple way to prevent neural networks from overfitting", section 10, where
    ``p`` is the probability of keeping.

    Args:
        x: Floating-point, any shape.
        drop_prob: ``p`` in [0, 1), of the dropout whose variance the noise has.
        training: Whether to multiply; otherwise, and for ``p = 0``, ``x`` itself is returned.
        generator: Of the noise, on the device of ``x``; default: torch's own.

    Returns:
        Shape and dtype of ``x``; differentiable. Its expectation is ``x``.

    Raises:
        InputError: A probability outside [0, 1), or integers.

    Example:
        >>> gaussian_dropout(torch.ones(2), 0.5, training=False)
        tensor([1., 1.])
    """
    return _noisy(x, training, drop_prob=_checked(drop_prob, "drop_prob"), where="x", generator=generator)


class GaussianDropout(nn.Module):
    """The layer of :func:`gaussian_dropout`; it has no parameters and no buffers.

    Args:
        drop_prob: In [0, 1).

    Raises:
        InputError: A probability outside [0, 1).

    Example:
        >>> GaussianDropout(0.1)
        GaussianDropout(drop_prob=0.1)
    """

    def __init__(self, drop_prob: float) -> None:
        super().__init__()
        self.drop_prob = _checked(drop_prob, "drop_prob")

    def forward(self, x: Tensor) -> Tensor:
        """Multiply by noise in training mode; return ``x`` itself in evaluation mode."""
        return gaussian_dropout(x, self.drop_prob, training=self.training)

    def extra_repr(self) -> str:
        """Return what the layer shows between its brackets."""
        return f"drop_prob={self.drop_prob}"


def apply_gaussian(model: nn.Module, rates: Mapping[str, float]) -> Applied:
    """Put Gaussian dropout at some places of a model.

    A dropout module at such a place does nothing else until the noise is taken away; the output of any other module is
    multiplied as it leaves the module.

    Args:
        model: The model; its parameters and its state dict stay as they are.
        rates: Drop probabilities by name of the module, as in ``named_modules()``.

    Returns:
        A context manager that takes the noise away at its end; without ``with``, call its ``restore()``.

    Raises:
        InputError: Names that are no modules, two names of one module, or a rate outside [0, 1); while the model runs, a
            module that is never called.

    Example:
        >>> model = nn.Sequential(nn.Linear(3, 2), nn.Dropout(0.1))
        >>> with apply_gaussian(model, {"1": 0.2}):
        ...     output = model(torch.ones(4, 3))
        >>> model[1].p
        0.1
    """
    checked = {name: _checked(drop_prob, f"site '{name}'") for name, drop_prob in rates.items()}
    return apply_noise(
        model, {name: partial(_noisy, drop_prob=drop_prob, where=f"site '{name}'") for name, drop_prob in checked.items()}
    )


def _checked(drop_prob: object, where: str) -> float:
    if isinstance(drop_prob, Real) and 0.0 <= float(drop_prob) < 1.0:
        return float(drop_prob)
    raise InputError(f"{where}: expected a drop probability in [0, 1), got {drop_prob!r}.")


def _noisy(x: Tensor, training: bool, *, drop_prob: float, where: str, generator: Generator | None = None) -> Tensor:
    if not x.is_floating_point():
        raise InputError(f"{where}: expected floating-point activations, got {x.dtype}. Convert them first.")
    if not training or drop_prob == 0.0:
        return x
    # Near 1, bfloat16 has steps of 0.8 %, coarse beside a standard deviation of 10 %.
    dtype = torch.promote_types(x.dtype, torch.float32)
    noise = torch.randn(x.shape, dtype=dtype, device=x.device, generator=generator)
    return (x * (1.0 + math.sqrt(drop_prob / (1.0 - drop_prob)) * noise)).to(x.dtype)
