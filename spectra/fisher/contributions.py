"""Gradients of single samples, kept in the form in which the backward pass leaves them.

The gradient of sample n with respect to a tensor E that the model uses has one of four forms:

=============  ==========================================================  =================================================
form           the backward pass leaves                                    gradient of sample n
=============  ==========================================================  =================================================
``Factored``   ``left`` (B, g, T, m), ``right`` (B, g, T, k)               ``left[n]ᵀ @ right[n]``, reshaped to E's shape
``Rows``       ``ids`` (B, T), ``gradients`` (B, T, d)                     row i of E: the sum of gradients where ids = i
``Dense``      ``gradients`` (B, ...) in which every sample has its own    ``gradients[n]``, reshaped to E's shape
``OwnRows``    ``gradients`` (B, ...) of an E that has a batch dimension   zero but for row n
=============  ==========================================================  =================================================

A dense layer is ``Factored`` with left = output gradients and right = inputs over the T tokens of a sample (g = 1); a
convolution is the same over its windows, with g groups; an embedding is ``Rows``. The sum over a sample's tokens is formed
before anything is squared: (Σ_t g_t a_t)² has cross terms between tokens, and the squares of the factors alone would miss them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor


@dataclass(frozen=True)
class Factored:
    """Gradients as products of two factors; ``shape`` is that of E."""

    left: Tensor
    right: Tensor
    shape: torch.Size

    def of_sample(self, sample: int) -> Tensor:
        """Return the gradient of one sample, in E's shape."""
        return torch.matmul(self.left[sample].transpose(-1, -2), self.right[sample]).reshape(self.shape)


@dataclass(frozen=True)
class Rows:
    """Gradients that touch the rows an embedding looked up."""

    ids: Tensor
    gradients: Tensor
    shape: torch.Size

    def of_sample(self, sample: int) -> Tensor:
        """Return the gradient of one sample, in E's shape."""
        dense = self.gradients.new_zeros(self.shape)
        return dense.index_add_(0, self.ids[sample], self.gradients[sample])


@dataclass(frozen=True)
class Dense:
    """Gradients one by one."""

    gradients: Tensor
    shape: torch.Size

    def of_sample(self, sample: int) -> Tensor:
        """Return the gradient of one sample, in E's shape."""
        return self.gradients[sample].reshape(self.shape)


@dataclass(frozen=True)
class OwnRows:
    """Gradients of a tensor whose row n meets sample n alone."""

    gradients: Tensor

    def of_sample(self, sample: int) -> Tensor:
        """Return the gradient of one sample, in E's shape."""
        dense = torch.zeros_like(self.gradients)
        dense[sample] = self.gradients[sample]
        return dense


Contribution = Factored | Rows | Dense | OwnRows
