"""The gradients of single samples, kept in the form in which they arrive, and their inner products.

They are the rows of a matrix J: one for each sample and objective (see :mod:`spectra.fisher.objectives`), in the order of the
batches, and within a batch of the objectives, then the samples. A row is zero where a sample has no target, or fewer targets
than others. The rows of a dense layer are kept as their two factors where these are smaller than the product.
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional

from spectra.errors import InputError
from spectra.fisher.collect import pulled_back
from spectra.fisher.contributions import Contribution, Dense, Factored, Rows
from spectra.fisher.layer_gradients import upcast
from spectra.fisher.meetings import Meetings
from spectra.fisher.provenance import Expression

# Rows of J: its matrix of inner products takes 512 MiB then, and its eigenvalues minutes.
MOST_ROWS = 8192

# The part of J that is formed at once: little on a CPU, where 16 MiB, used again, took a quarter of the time of 128 MiB, made
# anew (a vocabulary, 32 samples); but some entries of each row, so that the products are long. Accelerators have work for more.
_CPU_BLOCK_BYTES, _BLOCK_BYTES = 16 * 2**20, 256 * 2**20
_FEWEST_ENTRIES = 4096

Kept = Factored | Rows | Dense
Place = tuple[int, int, range]  # batch, objective, samples


@dataclass
class GradientRows:
    """Keeps the gradients of some parameters.

    Args:
        parameters: Which, by name.
        sizes_only: Keep nothing, and only count the memory that it would take.
    """

    parameters: Mapping[str, Tensor]
    sizes_only: bool = False
    num_bytes: Counter[str] = field(init=False, default_factory=Counter)
    _kept: dict[str, dict[Place, list[Kept]]] = field(init=False, default_factory=dict, repr=False)
    _num_samples: dict[tuple[int, int], int] = field(init=False, default_factory=dict)  # by batch and objective
    _batch: int = field(init=False, default=-1)
    _objective: int = field(init=False, default=0)
    _size: int = field(init=False, default=0)  # samples of the batch at hand

    @property
    def num_rows(self) -> int:
        """Rows so far."""
        return sum(self._num_samples.values())

    def start_batch(self, num_samples: int) -> None:
        """Begin a batch."""
        self._batch += 1
        self._size = num_samples

    def start_objective(self, index: int) -> None:
        """Begin a backward pass, which gives the samples of the batch a row each.

        Args:
            index: Of the objective.

        Raises:
            InputError: There are too many rows.
        """
        self._objective = index
        self._num_samples[self._batch, index] = self._size
        if self.num_rows > MOST_ROWS:
            raise InputError(
                f"a spectrum of more than {MOST_ROWS:,} gradients takes too long: pass fewer samples, or a kind and reduction "
                "with fewer gradients per sample."
            )

    def end_batch(self) -> None:
        """End a batch."""

    def reset(self, name: str) -> None:
        """Forget a parameter."""
        self._kept.pop(name, None)
        self.num_bytes.pop(name, None)

    def add_sample(self, name: str, sample: int, gradient: Tensor) -> None:
        """Keep the gradient of one sample.

        Args:
            name: The parameter.
            sample: Place in the batch.
            gradient: In the parameter's shape.
        """
        self._keep(name, range(sample, sample + 1), Dense(upcast(gradient).unsqueeze(0), gradient.shape))

    def add_use(self, name: str, use: Contribution) -> None:
        """Keep the gradients of a batch through one use of a parameter; those of several uses are added up.

        Args:
            name: The parameter.
            use: In the parameter's shape.
        """
        self._keep(name, range(self._size), _smallest(use, self._size))

    def inner_products(self, name: str) -> Tensor:
        """Multiply the gradients of a parameter with one another.

        Args:
            name: The parameter.

        Returns:
            Shape ``(num_rows, num_rows)``, float64, on the parameter's device.

        Raises:
            InputError: A gradient is not finite.
        """
        parameter, kept = self.parameters[name], self._kept.get(name, {})
        total = torch.zeros(self.num_rows, self.num_rows, dtype=torch.float64, device=parameter.device)
        if not kept or not parameter.numel():
            return total
        begins = self._begins()
        rows = [begins[batch, objective] + sample for batch, objective, samples in kept for sample in samples]
        order = torch.tensor(rows, device=parameter.device)
        uses = list(kept.values())
        factors = [one for several in uses for one in several if isinstance(one, Factored)]
        is_single = len(factors) == len(uses) and all(len(several) == 1 for several in uses)
        products = _of_factors(factors) if is_single and _are_short(factors) else _by_blocks(uses, parameter.shape)
        total[order.unsqueeze(1), order] = products
        self._check(name, total.diagonal())
        return total

    def _keep(self, name: str, samples: range, use: Kept) -> None:
        self.num_bytes[name] += sum(tensor.nbytes for tensor in vars(use).values() if isinstance(tensor, Tensor))
        if not self.sizes_only:
            self._kept.setdefault(name, {}).setdefault((self._batch, self._objective, samples), []).append(use)

    def _begins(self) -> dict[tuple[int, int], int]:
        """Give each batch and objective its first row; they begin in this order one by one, too."""
        sums = itertools.accumulate(self._num_samples.values(), initial=0)
        return dict(zip(self._num_samples, sums, strict=False))  # the last sum is of all

    def _check(self, name: str, squares: Tensor) -> None:
        wrong = (~squares.isfinite()).nonzero()
        if len(wrong):
            row = int(wrong[0])
            (batch, _), begin = max((one for one in self._begins().items() if one[1] <= row), key=lambda one: one[1])
            raise InputError(
                f"the gradient of '{name}' is not finite for sample {row - begin} of batch {batch}. Check the weights and this "
                "sample; a float16 model may overflow: try bfloat16 or float32."
            )


@dataclass
class RowsCollector:
    """Hands the uses of parameters by one batch to the rows.

    Args:
        parameters: Whose gradients are kept.
        unfollowed: Parameters whose arrivals are void.
        rows: Where they are kept.
    """

    parameters: Mapping[str, Tensor]
    unfollowed: Mapping[str, str]
    rows: GradientRows
    meetings: Meetings | None = None
    reached: set[str] = field(default_factory=set)
    _waiting: list[tuple[str, Expression, Contribution]] = field(default_factory=list)

    def arrive(self, expression: Expression, contribution: Contribution) -> None:
        """Take the gradients of one use.

        Args:
            expression: What was used.
            contribution: Its gradients by sample.
        """
        for name in expression.sources:
            if name in self.unfollowed:
                continue
            self.reached.add(name)
            if expression.tensor is self.parameters[name]:
                self.rows.add_use(name, contribution)
            else:
                self._waiting.append((name, expression, contribution))

    def finish(self, num_samples: int) -> None:
        """Carry back what arrived at expressions; to be called after each backward pass.

        Args:
            num_samples: Samples of the batch.
        """
        for name, expression, use in self._waiting:
            parameter = self.parameters[name]
            gradients = [pulled_back(expression, parameter, use.of_sample(sample)) for sample in range(num_samples)]
            self.rows.add_use(name, Dense(torch.stack(gradients), parameter.shape))
        self._waiting = []


def _smallest(use: Contribution, num_samples: int) -> Kept:
    """Return the form that takes least memory, of those of which single rows of a weight can be had."""
    if isinstance(use, Factored) and use.left.shape[1] == 1:
        alive = use.left[:, 0].any(2) & use.right[:, 0].any(2)  # padding and tokens without a target have no gradient
        length = max(1, int(alive.sum(1).max()))
        if length * (use.left.shape[3] + use.right.shape[3]) < use.shape.numel():
            # The tokens that contribute first; those after them are zero in one of the factors.
            places = alive.to(torch.uint8).argsort(dim=1, descending=True, stable=True)[:, :length, None]
            left, right = (torch.take_along_dim(one[:, 0], places, 1).unsqueeze(1) for one in (use.left, use.right))
            return Factored(left, right, use.shape)
    if isinstance(use, Rows | Dense):
        return use
    gradients = torch.stack([use.of_sample(sample) for sample in range(num_samples)])
    return Dense(gradients, gradients.shape[1:])


def _are_short(factors: Sequence[Factored]) -> bool:
    """Say whether the products of the factors are less work than those of the gradients."""
    tokens, rows, cols = max(one.left.shape[2] for one in factors), factors[0].left.shape[3], factors[0].right.shape[3]
    return tokens**2 * (rows + cols) < rows * cols


def _of_factors(factors: Sequence[Factored]) -> Tensor:
    """Multiply gradients by their factors: sum over tokens t of n and u of m of (left_nt · left_mu) (right_nt · right_mu)."""
    tokens = max(one.left.shape[2] for one in factors)
    left, right = (
        torch.cat([functional.pad(side[:, 0], (0, 0, 0, tokens - side.shape[2])) for side in sides]).double()
        for sides in ([one.left for one in factors], [one.right for one in factors])
    )  # (R, T, m) and (R, T, k)
    step = max(1, _numbers_at_once(left.device) // (len(left) * tokens**2))
    parts = []
    for some in zip(torch.split(left, step), torch.split(right, step), strict=True):
        products = [one.flatten(0, 1) @ whole.flatten(0, 1).t() for one, whole in zip(some, (left, right), strict=True)]
        parts.append((products[0] * products[1]).view(-1, tokens, len(left), tokens).sum((1, 3)))
    return torch.cat(parts)


def _by_blocks(uses: Sequence[Sequence[Kept]], shape: torch.Size) -> Tensor:
    """Multiply gradients by forming them, a few rows of the weight at a time and always in the same memory."""
    num_rows, width = (shape[0], shape[1:].numel()) if shape else (1, 1)
    if all(isinstance(one, Rows) for several in uses for one in several):
        uses, num_rows = _looked_up(uses)
    sizes = [len(_gradients_of(several[0])) for several in uses]
    device = _gradients_of(uses[0][0]).device
    num_entries = max(_FEWEST_ENTRIES, _numbers_at_once(device) // sum(sizes))
    step = min(num_rows, max(1, num_entries // width))
    memory = torch.empty(sum(sizes), step * width, dtype=torch.float64, device=device)
    total = torch.zeros(sum(sizes), sum(sizes), dtype=torch.float64, device=device)
    for start in range(0, num_rows, step):
        stop = min(num_rows, start + step)
        block = memory[:, : (stop - start) * width].zero_()
        for part, several in zip(torch.split(block, sizes), uses, strict=True):
            for use in several:
                _add_rows(part.view(len(part), -1, width), use, start, num_rows)
        total += _squared(block)
    return total


def _numbers_at_once(device: torch.device) -> int:
    return (_CPU_BLOCK_BYTES if device.type == "cpu" else _BLOCK_BYTES) // 8


def _squared(block: Tensor) -> Tensor:
    """Return J Jᵀ; NumPy sees that it is symmetric and takes half the time (measured for 500 and 2,000 rows)."""
    if block.device.type != "cpu":
        return block @ block.t()
    array = block.numpy()
    return torch.from_numpy(array @ array.T)


def _looked_up(uses: Sequence[Sequence[Kept]]) -> tuple[list[list[Kept]], int]:
    """Number the rows of an embedding that were looked up: all others are zero, and mostly many more."""
    touched = torch.unique(torch.cat([one.ids.flatten() for several in uses for one in several if isinstance(one, Rows)]))
    return [
        [Rows(torch.searchsorted(touched, one.ids), one.gradients, one.shape) for one in several if isinstance(one, Rows)]
        for several in uses
    ], len(touched)


def _gradients_of(use: Kept) -> Tensor:
    return use.left if isinstance(use, Factored) else use.gradients


def _add_rows(part: Tensor, use: Kept, start: int, num_rows: int) -> None:
    """Add the rows of a weight's gradients that follow ``start`` to a tensor of shape ``(B, rows, width)``."""
    stop = start + part.shape[1]
    if isinstance(use, Factored):
        part += use.left[:, 0, :, start:stop].transpose(1, 2) @ use.right[:, 0]
    elif isinstance(use, Dense):
        part += use.gradients.reshape(len(part), num_rows, -1)[:, start:stop]
    else:
        samples, tokens = ((use.ids >= start) & (use.ids < stop)).nonzero(as_tuple=True)
        rows = use.ids[samples, tokens] - start
        part.index_put_((samples, rows), use.gradients[samples, tokens].to(part.dtype), accumulate=True)
