"""From the uses of a parameter to its squared gradient: the uses of one sample are added before anything is squared.

A parameter used once goes straight into the sums while the backward pass runs. A parameter used several times (tied, shared,
sliced) waits until its last use has arrived. For a vocabulary matrix that is embedding and output layer at once, keeping the
gradient of the whole batch would cost samples × vocabulary × width: the output layer's part is squared at once, but for the
rows that the embedding will touch, which wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
from torch import Tensor

from spectra.fisher.contributions import Contribution, Factored, Rows
from spectra.fisher.meetings import Meetings
from spectra.fisher.provenance import Expression
from spectra.fisher.sums import Sums


@dataclass
class Collector:
    """Gathers what arrives in the backward pass of one batch.

    Args:
        parameters: What is measured, by name.
        unfollowed: Parameters whose arrivals are void.
        sums: Where squares go.
    """

    parameters: Mapping[str, Tensor]
    unfollowed: Mapping[str, str]
    sums: Sums
    meetings: Meetings | None = None  # of the batch at hand
    reached: set[str] = field(default_factory=set)
    _waiting: dict[str, list[tuple[Expression, Contribution]]] = field(default_factory=dict)
    _kept_rows: dict[str, list[tuple[Tensor, Tensor]]] = field(default_factory=dict)

    def arrive(self, expression: Expression, contribution: Contribution) -> None:
        """Take the gradients of one use.

        Args:
            expression: What was used.
            contribution: Its gradients by sample.
        """
        meetings = self.meetings
        assert meetings is not None
        for name in expression.sources:
            if name in self.unfollowed:
                continue
            self.reached.add(name)
            if meetings.uses[name] == 1 and expression.tensor is self.parameters[name]:
                self.sums.add(name, contribution)
            elif self._is_tied_vocabulary(name, expression, contribution):
                assert isinstance(contribution, Factored)
                self._keep_looked_up_rows(name, contribution, meetings.ids_of[name])
            else:
                self._waiting.setdefault(name, []).append((expression, contribution))

    def finish(self, num_samples: int) -> None:
        """Square what waited; to be called after each backward pass.

        Args:
            num_samples: Samples of the batch.
        """
        with torch.no_grad():
            for name, kept in self._kept_rows.items():
                self._finish_tied(name, kept, self._waiting.pop(name, []))
            for name, uses in self._waiting.items():
                self._finish_shared(name, uses, num_samples)
        self._waiting, self._kept_rows = {}, {}

    def _is_tied_vocabulary(self, name: str, expression: Expression, contribution: Contribution) -> bool:
        """Say whether all other uses are lookups of rows known from the forward pass."""
        assert self.meetings is not None
        is_whole = expression.tensor is self.parameters[name] and isinstance(contribution, Factored)
        return is_whole and self.meetings.uses[name] == 1 + len(self.meetings.ids_of.get(name, ()))

    def _keep_looked_up_rows(self, name: str, factors: Factored, lookups: list[Tensor]) -> None:
        kept = []
        for sample, (left, right) in enumerate(zip(factors.left[:, 0], factors.right[:, 0], strict=True)):
            alive = left.any(1) & right.any(1)
            rows = torch.unique(torch.cat([ids[sample] for ids in lookups]))
            kept.append((rows, self.sums.add_product(name, sample, left[alive], right[alive], rows)))
        self._kept_rows[name] = kept

    def _finish_tied(self, name: str, kept: list[tuple[Tensor, Tensor]], uses: list[tuple[Expression, Contribution]]) -> None:
        lookups = [contribution for _, contribution in uses if isinstance(contribution, Rows)]
        for sample, (rows, gradient) in enumerate(kept):
            for lookup in lookups:
                gradient.index_add_(0, torch.searchsorted(rows, lookup.ids[sample]), lookup.gradients[sample])
            self.sums.add_rows(name, rows, gradient, sample)

    def _finish_shared(self, name: str, uses: list[tuple[Expression, Contribution]], num_samples: int) -> None:
        parameter = self.parameters[name]
        first = uses[0][0]
        same = all(expression.tensor is first.tensor for expression, _ in uses)
        factors = [contribution for _, contribution in uses if isinstance(contribution, Factored)]
        if same and len(factors) == len(uses) and first.is_selection:
            # Σ_u left_uᵀ right_u: the uses are more tokens of the same layer.
            left, right = torch.cat([one.left for one in factors], 2), torch.cat([one.right for one in factors], 2)
            squares = torch.zeros(first.tensor.shape, dtype=left.dtype, device=left.device)
            traces = self.sums.add_squared_products(squares, Factored(left, right, squares.shape))
            self.sums.add_squares(name, pulled_back(first, parameter, squares), traces)
            return
        for sample in range(num_samples):
            total = sum(pulled_back(expression, parameter, one.of_sample(sample)) for expression, one in uses)
            assert isinstance(total, Tensor)
            self.sums.add_sample(name, sample, total)


def pulled_back(expression: Expression, parameter: Tensor, gradient: Tensor) -> Tensor:
    """Carry the gradient of an expression back to a parameter it was computed from.

    Args:
        expression: Whose gradient it is.
        parameter: One of its sources.
        gradient: In the expression's shape; or sums of squares, of a selection.

    Returns:
        In the parameter's shape.
    """
    if expression.tensor is parameter:
        return gradient
    back = torch.autograd.grad(
        expression.tensor, parameter, gradient.to(expression.tensor.dtype), retain_graph=True, allow_unused=True
    )[0]
    return torch.zeros_like(parameter) if back is None else back.to(gradient.dtype)
