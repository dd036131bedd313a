r"""Spectral norm regularization: a penalty on the largest singular value of every weight, by its gradient.

The penalty is half the square of the largest singular value of each weight, times a strength. Its gradient,

.. math:: \gamma \, \sigma_1 u_1 v_1^H ,

comes from a few power iterations. It is the baseline that TempBalance is compared with, and goes together with it.

Source: arXiv 1705.10941; as in arXiv 2312.00359 and its code, five iterations from a new random vector at each step, for every
parameter with more than one dimension.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor
from torch.optim import Optimizer

from spectra.errors import InputError
from spectra.policies.policy_options import is_number
from spectra.training.parameter_groups import unwrapped_optimizer
from spectra.whole_numbers import is_whole_number

# Code of arXiv 2312.00359: "sg", whose tuned values lie between 1e-4 and 0.015, and the iterations.
STRENGTH, NUM_ITERATIONS = 0.01, 5


def spectral_norm_gradient(
    weight: Tensor, *, num_iterations: int = NUM_ITERATIONS, generator: torch.Generator | None = None
) -> Tensor:
    r"""Estimate the gradient of half the squared spectral norm, :math:`\sigma_1 u_1 v_1^H`.

    Args:
        weight: Floating-point or complex, two or more dimensions; read as a matrix of shape ``(first dimension, rest)``.
        num_iterations: Of the power method, at least 1.
        generator: Of the vector it starts from, on the weight's device; default: torch's own.

    Returns:
        Shape, dtype and device of ``weight``; zero for a weight of zeros.

    Raises:
        InputError: A weight with fewer dimensions, or no iterations.

    Example:
        >>> spectral_norm_gradient(torch.diag(torch.tensor([3.0, 1e-3])))[0, 0].item()
        3.0
    """
    if weight.ndim < 2:
        raise InputError(f"weight: expected two or more dimensions, got shape {tuple(weight.shape)}. Leave vectors out.")
    _require_iterations(num_iterations)
    matrix = weight.detach().flatten(1)
    matrix = matrix.float() if matrix.dtype in (torch.float16, torch.bfloat16) else matrix
    tiny = torch.finfo(matrix.dtype).tiny  # a weight of zeros has no direction
    right = torch.randn(matrix.shape[1], generator=generator, device=matrix.device, dtype=matrix.dtype)
    left = matrix @ right
    for _ in range(num_iterations):
        left = left / left.norm().clamp_min(tiny)
        right = matrix.mH @ left
        right = right / right.norm().clamp_min(tiny)
        left = matrix @ right  # sigma times the left vector
    return torch.outer(left, right.conj()).reshape(weight.shape).to(weight.dtype)


class SpectralNormPenalty:
    """Adds the gradient of the penalty to those of the loss, before each step of an optimizer.

    Where a gradient scaler leaves it to a fused optimizer to divide gradients by its scale, the penalty is multiplied by it.
    A step with a sparse gradient raises :class:`~spectra.errors.InputError`: the penalty has an entry for every row.

    Args:
        optimizer: Or accelerate's wrapper of one. Parameters with one dimension, or without a gradient, are left alone.
        strength: Factor on the gradient, at least 0. Default 0.01: as published.
        num_iterations: Of the power method, at least 1.
        generator: Of the vectors it starts from.

    Raises:
        InputError: No torch optimizer, or a strength or number of iterations that cannot be.

    Example:
        >>> weight = torch.nn.Parameter(torch.diag(torch.tensor([2.0, 1e-3])))
        >>> optimizer = torch.optim.SGD([weight], lr=0.5)
        >>> penalty = SpectralNormPenalty(optimizer, strength=1.0)
        >>> weight.grad = torch.zeros_like(weight)
        >>> optimizer.step()
        >>> round(weight[0, 0].item(), 4)
        1.0
    """

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        strength: float = STRENGTH,
        num_iterations: int = NUM_ITERATIONS,
        generator: torch.Generator | None = None,
    ) -> None:
        if not is_number(strength) or strength < 0.0:
            raise InputError(f"strength: expected a number of at least 0, got {strength!r}.")
        _require_iterations(num_iterations)
        self.strength, self.num_iterations = float(strength), num_iterations
        self._optimizer, self._generator = unwrapped_optimizer(optimizer), generator
        self._handle = self._optimizer.register_step_pre_hook(self._add)

    def remove(self) -> None:
        """Add nothing any more."""
        self._handle.remove()

    @torch.no_grad()
    def _add(self, optimizer: Optimizer, *_: object) -> None:
        weights = list(self._weights())
        for parameter in weights:
            _require_dense_gradient(parameter)  # before any gradient is changed
        scale = getattr(optimizer, "grad_scale", None)  # of gradients that the step itself will divide by it
        for parameter in weights:
            assert parameter.grad is not None
            gradient = spectral_norm_gradient(parameter, num_iterations=self.num_iterations, generator=self._generator)
            if scale is not None:
                gradient *= scale.to(gradient.device)
            parameter.grad.add_(gradient, alpha=self.strength)

    def _weights(self) -> Iterator[Tensor]:
        for group in self._optimizer.param_groups:
            yield from (p for p in group["params"] if p.ndim > 1 and p.grad is not None)


def _require_iterations(num_iterations: object) -> None:
    if not is_whole_number(num_iterations, least=1):
        raise InputError(f"num_iterations: expected a whole number of at least 1, got {num_iterations!r}.")


def _require_dense_gradient(parameter: Tensor) -> None:
    gradient = parameter.grad
    if gradient is not None and gradient.layout is not torch.strided:
        raise InputError(
            f"optimizer: a weight of shape {tuple(parameter.shape)} has a sparse gradient, as of nn.Embedding(sparse=True), "
            "and the penalty is dense. Make the layer with sparse=False, or give its weight to an optimizer of its own."
        )
