"""What is known of the tensors of one batch, and the list of places where parameters meet it."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from spectra.fisher.contributions import Contribution
from spectra.fisher.layer_gradients import Arrive
from spectra.fisher.provenance import MARK, Expression, Provenance


class NotFollowedError(Exception):
    """A use of a parameter has no rule that tells samples apart; the message is the reason."""


class Meetings:
    """The uses of parameters by one batch.

    Args:
        parameters: The parameters to measure, by name; tied ones once.
        num_samples: Samples in the batch.
        arrive: Called in the backward pass with an expression and its gradient, once per use.
    """

    def __init__(
        self, parameters: Mapping[str, Tensor], num_samples: int, arrive: Callable[[Expression, Contribution], None]
    ) -> None:
        self.num_samples = num_samples
        self.token = torch.empty(0, requires_grad=True)
        self.uses: Counter[str] = Counter()
        self.ids_of: dict[str, list[Tensor]] = {}  # of embeddings: what each use looks up
        self.fingerprints: list[tuple[tuple[str, ...], Tensor]] | None = None
        self.counting = True
        self.is_differentiated = False  # by the model itself, in its forward pass
        self._arrive = arrive
        self._parameters = {id(tensor): Expression(tensor, (name,), True) for name, tensor in parameters.items()}

    def is_parameter(self, tensor: Tensor) -> bool:
        """Say whether a tensor is one of the parameters to measure, itself."""
        return id(tensor) in self._parameters

    def origin(self, tensor: Tensor) -> Expression | Provenance | None:
        """Say where a tensor comes from; what needs a gradient and bears no mark comes from a recomputation of activations."""
        known = self._parameters.get(id(tensor))
        if known is not None:
            return known
        mark: Expression | Provenance | None = getattr(tensor, MARK, None)
        if mark is None and tensor.requires_grad:
            return Provenance.BATCHED
        # What the model cuts off (detach, zeros_like) is a constant. Where no gradients are taken, as in the first forward pass
        # of reentrant checkpointing, nothing tells.
        is_cut_off = isinstance(mark, Expression) and not tensor.requires_grad and torch.is_grad_enabled()
        return None if is_cut_off else mark

    def expression(self, value: Any) -> Expression | None:
        """Return what a value is, if it was computed from parameters alone."""
        origin = self.origin(value) if isinstance(value, Tensor) else None
        return origin if isinstance(origin, Expression) else None

    def is_batched(self, value: Any) -> bool:
        """Say whether the first dimension of a tensor runs over the samples, or samples times something."""
        return (
            isinstance(value, Tensor)
            and value.ndim > 0
            and self.origin(value) is Provenance.BATCHED
            and value.shape[0] % self.num_samples == 0
            and value.shape[0] > 0
        )

    def register(self, expression: Expression, partner: Tensor) -> Arrive:
        """Count one use of an expression.

        Args:
            expression: What is used.
            partner: The batched tensor it meets.

        Returns:
            What its gradient is to be handed to.
        """
        if self.counting:
            self.uses.update(expression.sources)
            if self.fingerprints is not None:
                self.fingerprints.append((expression.sources, _fingerprint(partner, self.num_samples)))

        def arrive(contribution: Contribution) -> None:
            if self.counting:
                self.is_differentiated = True
            else:
                self._arrive(expression, contribution)

        return arrive

    def register_lookup(self, expression: Expression, ids: Tensor) -> Arrive:
        """Count one lookup in a table, and remember the rows.

        Args:
            expression: The table.
            ids: Of the rows.

        Returns:
            What its gradient is to be handed to.
        """
        if self.counting and self.is_parameter(expression.tensor):
            for name in expression.sources:
                self.ids_of.setdefault(name, []).append(ids.detach().reshape(self.num_samples, -1))
        return self.register(expression, ids)


def _fingerprint(tensor: Tensor, num_samples: int) -> Tensor:
    """Return three numbers per sample: two projections, which depend on the order of the entries, and the norm."""
    rows = tensor.detach().reshape(num_samples, -1).double()
    places = torch.arange(rows.shape[1], dtype=torch.float64, device=rows.device)
    return torch.stack([rows @ places.cos(), rows @ (places * math.sqrt(2)).sin(), rows.norm(dim=1)], dim=1).cpu()
