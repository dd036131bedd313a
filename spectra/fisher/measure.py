"""Measure one batch: a followed forward pass, backward passes that tell the samples apart, a plain loop for the rest."""

from __future__ import annotations

import gc
import math
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from spectra.errors import InputError
from spectra.fisher.batches import first_other, flag_last, mapped, num_samples_of, picked, samples
from spectra.fisher.capture import Capture
from spectra.fisher.collect import Collector
from spectra.fisher.contributions import Contribution
from spectra.fisher.likelihoods import Categorical, Custom, Gaussian
from spectra.fisher.meetings import Meetings
from spectra.fisher.objectives import objectives
from spectra.fisher.outputs import outputs_of
from spectra.fisher.provenance import Expression, Provenance, mark
from spectra.fisher.sample_weights import check_alike, without_weights
from spectra.fisher.state import Counts
from spectra.fisher.sums import Sums
from spectra.results.fisher_records import FisherKind, Keep, Reduction

Likelihood = Categorical | Gaussian | Custom

# The gradients of a float16 model are taken of the loss times this, so that small ones do not become zero. Our choice: the
# largest finite number is 65,504, and gradients of the mean loss of a trained model are below 1.
_HALF_PRECISION_SCALE = 1024.0

# How far the traces of a sample in a batch may be from those of the sample alone: relative to them, by rounding, and relative
# to the largest of the model, below which a trace is nothing but rounding: that of keys' biases is 0.
_SAMPLES_OF_A_PROOF = 4
_BATCH_OF_A_PROOF = 8  # samples that are measured together for it: more would cost more and prove no more
_MOST_PROOFS_OF_A_BATCH = 4  # of a model that takes another way at every call; then the loop takes over
_PROOF = {torch.float16: (0.1, 1e-4), torch.bfloat16: (0.1, 1e-4)}
_PROOF_FLOAT32 = (1e-3, 1e-8)

# How far a sample's activations may differ with its place in the batch, relative to their norm: by rounding, not by more.
_TOLERANCE = {torch.float16: 0.05, torch.bfloat16: 0.05}
_TOLERANCE_FLOAT32 = 1e-3


class Gradients(Protocol):
    """What takes the gradients of the samples: sums of squares, or the gradients themselves."""

    def start_batch(self, num_samples: int) -> None:
        """Begin a batch."""

    def start_objective(self, index: int) -> None:
        """Begin a backward pass: the objectives of a batch are counted from 0."""

    def add_sample(self, name: str, sample: int, gradient: Tensor) -> None:
        """Take the gradient of one sample."""

    def reset(self, name: str) -> None:
        """Forget a parameter."""

    def end_batch(self) -> None:
        """End a batch."""


class Arrivals(Protocol):
    """What gathers the uses of parameters of one batch."""

    reached: set[str]
    meetings: Meetings | None

    def arrive(self, expression: Expression, contribution: Contribution) -> None:
        """Take the gradients of one use."""

    def finish(self, num_samples: int) -> None:
        """End a backward pass."""


@dataclass
class Measurement:
    """What stays the same from batch to batch.

    Args:
        model: In eval mode.
        parameters: To measure, by name.
        gradients: What takes them.
        collect: Given the parameters that are left out, makes what gathers the uses of a batch and hands them on.
        task: A word of ``TASKS``.
        loss: Instead of the task.
        kind: Which Fisher.
        reduction: Over the tokens of a sample.
        num_draws: Of labels, for ``sampled``.
        generator: Of the draws, on the CPU.
        route: ``"auto"``, or ``"loop"`` for one sample at a time throughout.
    """

    model: nn.Module
    parameters: Mapping[str, Tensor]
    gradients: Gradients
    collect: Callable[[Mapping[str, str]], Arrivals]
    task: str
    loss: Callable[[nn.Module, Any], Tensor] | None
    kind: str
    reduction: str
    num_draws: int
    generator: torch.Generator
    route: str = "auto"
    unfollowed: dict[str, str] = field(default_factory=dict)
    reached: set[str] = field(default_factory=set)
    num_batches: int = 0
    is_weighted: bool = False
    _is_checked: bool = False
    _proven: set[int] | None = field(default_factory=set)
    _path: int | None = None

    def __post_init__(self) -> None:
        if self.route == "loop":
            self.unfollowed = dict.fromkeys(self.parameters, "asked for")
        half = any(tensor.dtype == torch.float16 for tensor in self.parameters.values())
        self.scale = _HALF_PRECISION_SCALE if half else 1.0

    def resume(self, counts: Counts) -> None:
        """Go on where another run stopped.

        Args:
            counts: Of that run.
        """
        self.unfollowed |= counts.unfollowed
        self.reached |= set(counts.reached)
        self.num_batches = counts.num_batches
        self.is_weighted = counts.is_weighted

    def add(self, batch: Any) -> tuple[int, int, int]:
        """Add the squared gradients of a batch, times the weights of its samples if it has any.

        Args:
            batch: On the model's device.

        Returns:
            Samples with a target, their targets, samples without.

        Raises:
            InputError: A gradient that is not finite, a parameter that cannot be followed after all, weights that cannot be
                used or that only some batches have, or what ``outputs_of`` and ``objectives`` refuse.
            RuntimeError: As torch raises it in the model.
        """
        batch, weights = without_weights(batch)
        if self.num_batches:
            check_alike(is_weighted=weights is not None, were_weighted=self.is_weighted)
        self.is_weighted = weights is not None
        num_samples = num_samples_of(batch)
        batch = mapped(batch, torch.Tensor.detach)  # marks are written on these, not on the caller's tensors
        self.gradients.start_batch(num_samples)
        state = self.generator.get_state()
        num_targets = None
        try:
            if num_samples > 1 and not self._is_checked and self.route == "auto":
                with self._naming_samples_of(batch):
                    self._check_samples_come_first(batch)
                self._is_checked = True
            if len(self.unfollowed) < len(self.parameters):
                num_targets = self._together(batch, num_samples, weights)
        except _DifferentiatesError:
            self._loop_all("the model takes gradients in its forward pass")
        except RuntimeError as error:
            if "setup_context" not in str(error):  # torch's words where a model applies torch.func to an operation of ours
                raise
            self._loop_all("the model uses torch.func")
        if self.unfollowed:
            self.generator.set_state(state)  # the loop draws what the batch drew
            with self._naming_samples_of(batch):
                num_targets = self._one_by_one(batch, num_samples, weights)
        assert num_targets is not None
        self.gradients.end_batch()
        self.num_batches += 1
        counted = int((num_targets > 0).sum())
        return counted, int(num_targets.sum()), num_samples - counted

    def _loop_all(self, reason: str) -> None:
        self.unfollowed = {**dict.fromkeys(self.parameters, reason), **self.unfollowed}

    def _objectives(self, outputs: Likelihood, weights: Tensor | None) -> Any:
        return flag_last(
            objectives(
                outputs,
                kind=self.kind,
                reduction=self.reduction,
                num_draws=self.num_draws,
                generator=self.generator,
                weights=weights,
            )
        )

    def _outputs(self, batch: Any) -> Likelihood:
        outputs = outputs_of(self.model, batch, self.task, self.loss)
        if isinstance(outputs, Gaussian):  # float targets of a plain module
            self.task = "regression"
        for parameter in self.parameters.values():  # what a model that takes gradients in its forward pass has left there
            parameter.grad = None
        return outputs

    @contextmanager
    def _naming_samples_of(self, batch: Any) -> Iterator[None]:
        """Let an error name a sample by its place in the batch, not among the few it was measured with."""
        try:
            yield
        except InputError:
            with torch.no_grad():
                self._outputs(batch)
            raise

    def _together(self, batch: Any, num_samples: int, weights: Tensor | None = None) -> Tensor:
        for _ in range(_MOST_PROOFS_OF_A_BATCH):
            collector, capture, outputs = self._forward(batch, num_samples)
            if self._proven is None or capture.path in self._proven:
                return self._backward(collector, capture, outputs, num_samples, weights)
            path = capture.path
            # One graph at a time in memory: that of the batch, of its proof, of the batch again. They hang in cycles.
            del collector, capture, outputs
            gc.collect()
            self._prove(batch, num_samples, path)
            gc.collect()
            self._proven.add(path)
        self._loop_all("the model takes another way at every call")
        with torch.no_grad():
            return self._outputs(batch).num_targets

    def _forward(self, batch: Any, num_samples: int) -> tuple[Arrivals, Capture, Likelihood]:
        collector = self.collect(self.unfollowed)
        capture = Capture(self.parameters, num_samples, self.unfollowed, collector.arrive)
        collector.meetings = capture.meetings
        mark(batch, Provenance.BATCHED)
        with torch.enable_grad(), capture:
            outputs = self._outputs(batch)
        if capture.meetings.is_differentiated:
            raise _DifferentiatesError
        self._path = capture.path
        return collector, capture, outputs

    def _backward(
        self, collector: Arrivals, capture: Capture, outputs: Likelihood, num_samples: int, weights: Tensor | None
    ) -> Tensor:
        assert capture.meetings is not None
        known = set(self.unfollowed)
        capture.meetings.counting = False  # what is called from now on is a recomputation of gradient checkpointing
        with torch.enable_grad():
            for index, (objective, is_last) in enumerate(self._objectives(outputs, weights)):
                self.gradients.start_objective(index)
                with capture:
                    self._go_back(objective, is_last=is_last)
                collector.finish(num_samples)
        self.reached |= collector.reached
        self._take_strays(capture.meetings.uses, known)
        return outputs.num_targets

    def _go_back(self, objective: Tensor, *, is_last: bool) -> None:
        if objective.requires_grad:  # not if it depends on none of the parameters that are followed
            torch.autograd.backward(objective * self.scale, retain_graph=not is_last)

    def _take_strays(self, uses: Counter[str], known: Collection[str]) -> None:
        """Loop the parameters that got an ordinary gradient: some use of theirs was not seen, as in compiled code.

        Also those that could not be followed when gradient checkpointing repeated their use.

        Args:
            uses: How often each was used where that was seen.
            known: Parameters that were on the list before the backward pass.

        Raises:
            InputError: One was followed in earlier batches.
        """
        for name, parameter in self.parameters.items():
            is_stray = name not in known and (parameter.grad is not None or name in self.unfollowed)
            parameter.grad = None
            if not is_stray:
                continue
            if uses[name]:
                if self.num_batches:
                    raise InputError(
                        f"after {self.num_batches} batches, parameter '{name}' was used in a way that cannot be followed. "
                        "Pass route='loop'."
                    )
                self.gradients.reset(name)
            self.unfollowed.setdefault(name, "a use of it was not seen")

    def _one_by_one(self, batch: Any, num_samples: int, weights: Tensor | None = None) -> Tensor:
        counts = []
        for sample in range(num_samples):
            with torch.enable_grad():
                outputs = self._outputs(mapped(samples(batch, sample, sample + 1), torch.Tensor.detach))
                counts.append(outputs.num_targets)
                weight = None if weights is None else weights[sample : sample + 1]
                for index, (objective, is_last) in enumerate(self._objectives(outputs, weight)):
                    self.gradients.start_objective(index)
                    self._go_back(objective, is_last=is_last)
                    self._add_gradients(sample)
        return torch.cat(counts)

    def _add_gradients(self, sample: int) -> None:
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                if parameter.grad is not None and name in self.unfollowed:
                    gradient = parameter.grad
                    self.gradients.add_sample(name, sample, gradient.to_dense() if gradient.is_sparse else gradient)
                    self.reached.add(name)
                parameter.grad = None

    def _prove(self, batch: Any, num_samples: int, path: int) -> None:
        """Compare the gradients that a batch gives for some of its samples with those of the samples alone.

        Done whenever the model takes a sequence of operations it has not taken before, and before anything of the batch counts.
        What differs is left to the loop: layouts whose rows are not the samples', and gradients that were lost on the way. The
        samples have no weights here: one of 0 would prove nothing.
        """
        rows = _spread(num_samples, _BATCH_OF_A_PROOF)
        together, by_batch = self._trial(self.unfollowed, len(rows))
        together._together(mapped(picked(batch, rows), torch.Tensor.detach), len(rows))
        if together._path != path:  # a smaller batch may take another way
            rows = list(range(num_samples))
            together, by_batch = self._trial(self.unfollowed, num_samples)
            together._together(mapped(batch, torch.Tensor.detach), num_samples)
        chosen = _spread(len(rows), _SAMPLES_OF_A_PROOF)
        alone, by_sample = self._trial(self.parameters, len(chosen))
        with self._naming_samples_of(batch):
            alone._one_by_one(picked(batch, [rows[place] for place in chosen]), len(chosen))
        self.unfollowed |= {name: reason for name, reason in together.unfollowed.items() if name not in self.unfollowed}
        found, expected = by_batch.batch_traces(), by_sample.batch_traces()
        largest = max(float(traces.max()) for traces in expected.values())
        if not math.isfinite(largest):
            return  # the batch itself will be refused, by the sample's name
        for name, parameter in self.parameters.items():
            relative, floor = _PROOF.get(parameter.dtype, _PROOF_FLOAT32)
            agree = torch.allclose(found[name].cpu()[chosen], expected[name].cpu(), rtol=relative, atol=floor * largest)
            if not agree:
                self.unfollowed.setdefault(name, "a batch did not give the gradients of its samples")

    def _trial(self, left_out: Iterable[str], num_samples: int) -> tuple[Measurement, Sums]:
        """Make a measurement beside this one, of one number per parameter and sample."""
        sums = Sums(self.parameters, Keep.TRACES)
        sums.start_batch(num_samples)
        trial = replace(
            self,
            gradients=sums,
            collect=lambda unfollowed: Collector(self.parameters, unfollowed, sums),
            kind=FisherKind.EMPIRICAL,  # any objective shows whether samples are kept apart; this one draws nothing
            reduction=Reduction.SEQUENCE_SUM,
            unfollowed=dict.fromkeys(left_out, ""),
            reached=set(),
            num_batches=0,
            _proven=None,
        )
        return trial, sums

    def _check_samples_come_first(self, batch: Any) -> None:
        """See whether every use of a parameter meets each sample in its own rows, wherever the sample stands and beside whom.

        It does not where the first dimension is not that of the samples (in time-major recurrent networks, say). The sums would
        still be some numbers, so these parameters are left to the loop.
        """
        other = first_other(batch)
        one, two = (self._fingerprints(picked(batch, rows)) for rows in ([0, other, 0], [other, other, 0]))
        for key in dict.fromkeys([*one, *two]):
            is_apart = key in one and key in two
            for name in key[0]:
                tolerance = _TOLERANCE.get(self.parameters[name].dtype, _TOLERANCE_FLOAT32)
                if not (is_apart and _agree(one[key][[0, 0, 1, 1]], torch.cat([one[key][2:], two[key][[2, 0, 1]]]), tolerance)):
                    self.unfollowed.setdefault(name, "its layer's input does not have the samples in its first dimension")

    def _fingerprints(self, three: Any) -> dict[tuple[tuple[str, ...], int], Tensor]:
        capture = Capture(self.parameters, 3, self.unfollowed, lambda *_: None)
        capture.meetings.fingerprints = []
        three = mapped(three, torch.Tensor.detach)
        mark(three, Provenance.BATCHED)
        with torch.enable_grad(), capture:
            self._outputs(three)
        if capture.meetings.is_differentiated:
            raise _DifferentiatesError
        counted: Counter[tuple[str, ...]] = Counter()
        found = {}
        for sources, fingerprint in capture.meetings.fingerprints:
            found[sources, counted[sources]] = fingerprint
            counted[sources] += 1
        return found


class _DifferentiatesError(Exception):
    """A model takes gradients in its forward pass, so that what arrives is not the gradient of the loss alone."""


def _spread(count: int, most: int) -> list[int]:
    """Return up to so many places of a sequence, evenly spaced, the first and the last among them."""
    places: list[int] = torch.linspace(0, count - 1, min(count, most)).round().long().tolist()
    return places


def _agree(found: Tensor, expected: Tensor, tolerance: float) -> bool:
    norms = torch.maximum(found[:, -1:], expected[:, -1:])
    return bool(((found - expected).abs() <= tolerance * norms).all())
