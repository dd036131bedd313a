"""Follow a model's forward pass and see to it that the backward pass tells the samples of a batch apart.

``Capture`` is a torch-function mode: torch shows it every operation of the forward pass, whatever module calls it. It writes on
each tensor where it comes from (:mod:`spectra.fisher.provenance`). Where something computed from parameters alone meets the
batch, the operation is replaced by one that hands over the gradient sample by sample (:mod:`spectra.fisher.rules`). An
operation without a rule, or one that meets rows of no one sample, is left as it is: its parameters are put on the list
``unfollowed`` with the reason, and are measured one sample at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from spectra.fisher.contributions import Contribution
from spectra.fisher.meetings import Meetings, NotFollowedError
from spectra.fisher.provenance import (
    ATTRIBUTES,
    BY_TYPE_ONLY,
    MARK,
    PUTS_ROWS_BACK,
    SELECTIONS,
    Expression,
    Provenance,
    chooses_rows,
    is_in_place,
    mark,
    tensors_in,
)
from spectra.fisher.rules import RULES

_WRITTEN = "something computed from it is written in place"


class Capture(TorchFunctionMode):
    """The mode for one batch: enter it around the forward pass, and around each backward pass, which may recompute parts of it.

    Args:
        parameters: The parameters to measure, by name; tied ones once.
        num_samples: Samples in the batch.
        unfollowed: Parameters to leave alone, with the reason; grows.
        arrive: Called in the backward pass with an expression and its gradient, once per use.
    """

    def __init__(
        self,
        parameters: Mapping[str, Tensor],
        num_samples: int,
        unfollowed: dict[str, str],
        arrive: Callable[[Expression, Contribution], None],
    ) -> None:
        super().__init__()
        self.meetings = Meetings(parameters, num_samples, arrive)
        self.path = 0  # tells one sequence of operations from another
        self._unfollowed = unfollowed
        # What is known of a tensor may be wrong after another name of its memory was written to.
        self._written: set[str] = set()

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        """Let an operation happen, or replace it."""
        kwargs = kwargs or {}
        if func in ATTRIBUTES:
            return func(*args, **kwargs)
        if self.meetings.counting:
            self.path = hash((self.path, func))
        if func is torch.autograd.backward:
            return self._go_back(*args, **kwargs)
        expressions, provenances = [], set()
        for value in (*args, *kwargs.values()):
            for tensor in (value,) if isinstance(value, Tensor) else tensors_in(value):
                origin = self.meetings.origin(tensor)
                if isinstance(origin, Expression):
                    expressions.append(origin)
                elif origin is not None:
                    provenances.add(origin)
        if not expressions:
            return self._plain(func, args, kwargs, provenances)
        if not provenances:
            return self._derive(func, args, kwargs, expressions)
        if func in BY_TYPE_ONLY:
            is_derived = self.meetings.expression(args[0]) is not None
            return self._derive(func, args, kwargs, expressions) if is_derived else self._plain(func, args, kwargs, provenances)
        return self._meet(func, args, kwargs, expressions, provenances)

    def _go_back(self, tensors: tuple[Tensor, ...], **kwargs: Any) -> None:
        """Run a backward pass with the mode on, since gradient checkpointing computes forward passes in it.

        Versions of torch that show the backward pass to a mode turn the mode off for it; they do not show edges of the graph.
        """
        with self:
            torch.autograd.backward([torch.autograd.graph.get_gradient_edge(tensor) for tensor in tensors], **kwargs)

    def _plain(self, func: Any, args: Any, kwargs: Any, provenances: set[Provenance]) -> Any:
        result = func(*args, **kwargs)
        if provenances:
            found = Provenance.MIXED if self._mixes(func, args, kwargs, provenances) else Provenance.BATCHED
            given = {id(tensor) for tensor in tensors_in((args, kwargs))}
            # What is only passed through, as by .to() of the same type, stays what it was.
            mark([tensor for tensor in tensors_in(result) if id(tensor) not in given], found)
            if is_in_place(func):
                mark(args[0], found)
        return result

    def _mixes(self, func: Any, args: Any, kwargs: Any, provenances: set[Provenance]) -> bool:
        if func in PUTS_ROWS_BACK:
            return self.meetings.origin(args[0]) is Provenance.MIXED
        return Provenance.MIXED in provenances or chooses_rows(func, args, kwargs)

    def _derive(self, func: Any, args: Any, kwargs: Any, expressions: list[Expression]) -> Any:
        """Follow what is computed from parameters alone."""
        result = func(*args, **kwargs)
        sources = tuple(dict.fromkeys(name for expression in expressions for name in expression.sources))
        if is_in_place(func):
            self._leave(sources, _WRITTEN)
            self._written |= set(sources)
        selects = func in SELECTIONS and len(expressions) == 1 and expressions[0].is_selection
        dtype = expressions[0].tensor.dtype  # in another one, squares might leave its range on their way back
        for tensor in tensors_in(result):
            if tensor.is_floating_point() and not self.meetings.is_parameter(tensor):
                setattr(tensor, MARK, Expression(tensor, sources, selects and tensor.dtype == dtype))
        return result

    def _meet(self, func: Any, args: Any, kwargs: Any, expressions: list[Expression], provenances: set[Provenance]) -> Any:
        """Replace an operation of parameters and the batch by one that tells the samples apart, if there is one."""
        names = [name for expression in expressions for name in expression.sources]
        rule = RULES.get(func)
        if is_in_place(func) and self.meetings.expression(args[0]) is not None:
            self._written |= set(names)
            reason = _WRITTEN
        elif any(name in self._unfollowed for name in names):
            reason = "it is used together with another that is not followed"
        elif Provenance.MIXED in provenances:
            reason = "it meets rows chosen by the data, which belong to no one sample"
        elif rule is None:
            reason = f"the operation '{getattr(func, '__name__', func)}' has no rule"
        else:
            try:
                result = rule(self.meetings, func, args, kwargs)
            except NotFollowedError as error:
                reason = str(error)
            else:
                mark(result, Provenance.BATCHED)
                return result
        self._leave(names, reason)
        return self._plain(func, self._detached(args), self._detached(kwargs), provenances)

    def _leave(self, names: Iterable[str], reason: str) -> None:
        for name in names:
            self._unfollowed.setdefault(name, reason)

    def _detached(self, value: Any) -> Any:
        """Cut the parameters that are not followed out of the graph; they are measured elsewhere."""
        if isinstance(value, Tensor):
            expression = self.meetings.expression(value)
            return value if expression is None or not self._written.isdisjoint(expression.sources) else value.detach()
        if isinstance(value, Mapping):
            return {key: self._detached(inner) for key, inner in value.items()}
        if isinstance(value, list | tuple) and not isinstance(value, torch.Size):
            return type(value)(map(self._detached, value))
        return value
