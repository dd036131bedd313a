"""Estimate the diagonal Fisher information of a model from batches of data."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Sized
from contextlib import nullcontext
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from spectra.errors import InputError, did_you_mean
from spectra.fisher import distributed
from spectra.fisher.as_found import as_found
from spectra.fisher.batches import chained_fingerprint, check_batches, mapped
from spectra.fisher.collect import Collector
from spectra.fisher.interrupts import deferred_interrupts
from spectra.fisher.loss_fingerprint import loss_fingerprint
from spectra.fisher.measure import Measurement
from spectra.fisher.outputs import task_of
from spectra.fisher.parameters import check_model, measured_parameters
from spectra.fisher.result import fisher_of
from spectra.fisher.sites import find_sites
from spectra.fisher.state import Counts, load_state, save_state
from spectra.fisher.sums import Sums
from spectra.fisher.weights_fingerprint import weights_fingerprint
from spectra.results.fisher import Aggregate, Fisher, FisherKind, Keep, Reduction
from spectra.results.fisher_records import known_word
from spectra.whole_numbers import is_whole_number

ROUTES = ("auto", "loop")

# An unfinished run is written once a minute, but writing takes at most a twentieth of the time: our choice.
_SECONDS_BETWEEN_SAVES, _SHARE_OF_SAVING = 60.0, 0.05


@dataclass(frozen=True)
class FisherProgress:
    """How far an estimate is.

    Attributes:
        num_samples: Samples added, with or without a target.
        num_batches: Batches added.
        total_batches: All batches, where their number is known.
    """

    num_samples: int
    num_batches: int
    total_batches: int | None


def fisher(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    kind: FisherKind | str = FisherKind.EMPIRICAL,
    reduction: Reduction | str = Reduction.TOKEN_MEAN,
    keep: Keep | str = Keep.VALUES,
    aggregate: Aggregate | str = Aggregate.PARAM_MEAN,
    task: str | None = None,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    num_draws: int = 1,
    seed: int = 0,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    insert: str | Sequence[str] = (),
    route: str = "auto",
    state: str | os.PathLike[str] | None = None,
    progress: Callable[[FisherProgress], None] | None = None,
) -> Fisher:
    r"""Estimate the diagonal Fisher information of a model's parameters.

    .. math:: F_j = \frac1N \sum_n \Big( \partial_j \log p(y_n \mid x_n; \theta) \Big)^2

    over the samples of the batches: the gradient of each sample is squared before anything is averaged. With ``empirical`` the
    labels are the data's, with ``sampled`` they are drawn from the model, with ``exact`` all classes enter with their
    probabilities; only the last two estimate the true Fisher. Source: arXiv 2406.14005, whose reference implementation is
    ``empirical`` with ``token_mean`` and ``mean_of_means``, one sample at a time.

    A batch goes through one forward and backward pass; gradients of single samples are formed layer by layer and never kept.
    Parameters whose use cannot be followed are measured one sample at a time, and listed in ``info.notes``. Squares are added
    in float32 (float64 for a float64 model), also where the model is of a lower precision. The model is run in eval mode and
    left as it was found: modes, ``requires_grad``, ``.grad`` and random states.

    A batch that is a mapping may hold ``"sample_weight"``, shape ``(B,)``: finite numbers :math:`v_n \ge 0` that the samples'
    squares are multiplied by, so that :math:`F_j = \frac1N \sum_n v_n (\cdot)^2`. N still counts samples, and the weights are
    not normalized: they should have mean 1 over the whole data set. The model and ``loss`` never see the key; ``info.notes``
    says that it was used.

    Args:
        model: A transformers model, with or without PEFT adapters, or any module; inside DistributedDataParallel the sums are
            added over all processes, each with its own batches.
        batches: Mappings of tensors as the model takes them, with ``"labels"`` (-100: no target), or pairs
            ``(inputs, targets)``; the first dimension is that of the samples. See :func:`spectra.fisher.outputs.outputs_of`.
        kind: ``"empirical"`` (the paper's, our default for fidelity), ``"sampled"`` or ``"exact"``.
        reduction: How the tokens of a sample enter: ``"token_mean"`` (the reference's), ``"sequence_sum"`` or ``"token"``. For
            the true Fisher of a language model: ``kind="sampled", reduction="sequence_sum"``.
        keep: ``"values"`` (a number per entry: one copy of the parameters), ``"neurons"`` or ``"traces"``; the latter two form
            the gradients of single samples only where that is less work.
        aggregate: How several parameters make one score, unless a call says otherwise; ``"mean_of_means"`` is the paper's.
        task: What the model predicts; ``None``: by the name of its class. One of :data:`spectra.fisher.outputs.TASKS`.
        loss: Instead of a task: ``loss(model, batch)`` returns one negative log-likelihood per sample; ``empirical`` only.
        num_draws: Labels drawn per target, for ``sampled``.
        seed: Of the draws. They depend on the order of the samples, not on the size of batches.
        include: Glob patterns on names of parameters, also of frozen ones. Default: all that require a gradient.
        exclude: Glob patterns on names of parameters.
        insert: Also list these places without dropout as sites, to plan dropout there: globs on modules, or the words
            ``"attention-output"`` and ``"mlp-output"``; see :func:`spectra.fisher.sites.find_sites`.
        route: ``"auto"``, or ``"loop"``: every sample alone, the slow and simple way.
        state: A file that keeps an unfinished run, once a minute and when it is interrupted (Ctrl-C takes effect after the
            batch); the same call continues it, skipping the batches already added. At the end it holds everything, so that
            nothing is lost before the result is saved: remove it then.
        progress: Called after each batch.

    Returns:
        The Fisher: averages over the samples that have a target.

    Raises:
        InputError: An argument or batch that cannot be used, no sample with a target, a gradient that is not finite, or weights
            that only some batches have.
        ResultsError: ``state`` belongs to another estimate, or cannot be written.

    Example:
        >>> import torch
        >>> model = torch.nn.Linear(3, 2)
        >>> batches = [(torch.randn(8, 3), torch.randint(2, (8,)))]
        >>> estimate = fisher(model, batches, kind="exact")
        >>> sorted(estimate.values), estimate.info.num_samples
        (['bias', 'weight'], 8)
    """
    kind, reduction = known_word(FisherKind, kind, "kind"), known_word(Reduction, reduction, "reduction")
    keep, aggregate = known_word(Keep, keep, "keep"), known_word(Aggregate, aggregate, "aggregate")
    check_route(route)
    check_seed(seed)
    if aggregate == Aggregate.RELATIVE and keep != Keep.VALUES:
        raise InputError(f"aggregate='relative' needs every value: pass keep='values', not '{keep}'.")
    is_shared = isinstance(model, nn.parallel.DistributedDataParallel) and distributed.is_distributed()
    model = unwrapped(model)
    check_model(model)
    check_batches(batches)
    resolved_task = "custom" if loss is not None else task_of(model, task)
    parameters = measured_parameters(model, include, exclude)
    sites = find_sites(model, insert=insert)
    tensors = {parameter.name: parameter.tensor for parameter in parameters}
    has_neurons = frozenset(parameter.name for parameter in parameters if parameter.has_neurons)
    sums = Sums(tensors, Keep(keep), has_neurons, frozenset(parameter.name for parameter in parameters if parameter.transposed))
    generator = torch.Generator().manual_seed(seed if not is_shared else _seed_of_rank(seed))
    measurement = Measurement(
        model=model,
        parameters=tensors,
        gradients=sums,
        collect=lambda unfollowed: Collector(tensors, unfollowed, sums),
        task=resolved_task,
        loss=loss,
        kind=kind,
        reduction=reduction,
        num_draws=num_draws,
        generator=generator,
        route=route,
    )
    settings = {
        "kind": str(kind),
        "reduction": str(reduction),
        "keep": str(keep),
        "task": resolved_task,
        "num_draws": num_draws,
        "seed": seed,
        "route": route,
        "parameters": {name: list(tensor.shape) for name, tensor in tensors.items()},
    }
    if state is not None:  # gradients depend on what is frozen, too
        weights = weights_fingerprint(chain(model.parameters(), model.buffers()))
        settings |= {"weights": weights, "loss": loss_fingerprint(loss)}
    file = None if state is None else _state_file(Path(state).expanduser(), is_shared=is_shared)
    device = next(iter(tensors.values())).device
    together = distributed.stopping_together(device) if is_shared else nullcontext()
    with as_found(model, {id(tensor) for tensor in tensors.values()}), together:
        counts = _run(measurement, sums, batches, settings, file, progress)
    if is_shared:
        distributed.same_parameters_looped(counts.unfollowed, list(tensors), device)
        counts = distributed.add_up(sums.tensors(), counts, device)
    if counts.num_samples == 0 or not counts.reached:
        raise InputError(nothing_measured(counts))
    settings = {**settings, "task": measurement.task, "aggregate": str(aggregate)}
    return fisher_of(model, parameters, sites, sums, counts, settings, scale=measurement.scale)


def check_route(route: str) -> None:
    """Refuse a route that there is not.

    Args:
        route: Any word.

    Raises:
        InputError: It is unknown.
    """
    if route not in ROUTES:
        raise InputError(f"unknown route '{route}'.{did_you_mean(route, ROUTES)} Known: {', '.join(ROUTES)}.")


def check_seed(seed: int) -> None:
    """Refuse what is no seed of a generator.

    Args:
        seed: Any value.

    Raises:
        InputError: It is no whole number, or one that torch does not take.
    """
    if not is_whole_number(seed) or not -(2**63) <= seed < 2**64:
        raise InputError(f"seed is {seed!r}: pass a whole number of at most 64 bits, such as 0.")


def unwrapped(model: nn.Module) -> nn.Module:
    """Return the module inside data parallelism and compilation.

    Args:
        model: Any module.

    Returns:
        The module whose parameters have their own names.
    """
    if isinstance(model, nn.parallel.DistributedDataParallel | nn.DataParallel):
        return unwrapped(model.module)
    inside = getattr(model, "_orig_mod", None)  # of torch.compile
    return unwrapped(inside) if isinstance(inside, nn.Module) else model


def _run(
    measurement: Measurement,
    sums: Sums,
    batches: Iterable[Any],
    settings: Mapping[str, Any],
    file: Path | None,
    progress: Callable[[FisherProgress], None] | None,
) -> Counts:
    counts = Counts()
    if file is not None and file.exists():
        counts, generator = load_state(file, settings, sums.tensors())
        sums.traces, sums.squared_traces = dict(counts.traces), dict(counts.squared_traces)
        measurement.generator.set_state(generator)
        measurement.resume(counts)
    to_skip, seen, fingerprint, total = counts.num_batches, 0, "", len(batches) if isinstance(batches, Sized) else None
    device = next(iter(measurement.parameters.values())).device

    def save() -> float:
        assert file is not None
        started = time.monotonic()
        save_state(file, settings, counts, sums.tensors(), measurement.generator.get_state())
        return time.monotonic() - started

    def save_if_new() -> None:
        if file is not None and counts.num_batches > to_skip:
            save()

    due = time.monotonic() + _SECONDS_BETWEEN_SAVES
    with deferred_interrupts() as interrupts:
        for number, batch in enumerate(_saving_first(batches, save_if_new)):
            seen, fingerprint = number + 1, chained_fingerprint(fingerprint, batch)
            if number < to_skip:
                if number == to_skip - 1 and fingerprint != counts.data:
                    raise InputError(
                        f"the first {to_skip} batches are not those of the unfinished run in '{file}'. Pass the same data in "
                        "the same order, or remove the file to start again."
                    )
                continue
            try:
                added, tokens, skipped = measurement.add(mapped(batch, lambda tensor: tensor.to(device)))
            except Exception as error:
                error.add_note(f"in batch {number}, counted from 0")
                raise
            counts = Counts(
                counts.num_samples + added,
                counts.num_tokens + tokens,
                counts.num_skipped + skipped,
                seen,
                fingerprint,
                dict(sums.traces),
                dict(sums.squared_traces),
                dict(measurement.unfollowed),
                sorted(measurement.reached),
                measurement.is_weighted,
            )
            if progress is not None:
                progress(FisherProgress(counts.num_samples + counts.num_skipped, counts.num_batches, total))
            if file is not None and (interrupts.wanted or time.monotonic() >= due):
                due = time.monotonic() + max(_SECONDS_BETWEEN_SAVES, save() / _SHARE_OF_SAVING)
            if interrupts.wanted:
                raise interrupts.interrupt()
        save_if_new()
    if seen < to_skip or seen == 0:
        raise InputError(
            "there are no batches: pass at least one."
            if not to_skip
            else f"there are fewer batches than the unfinished run in '{file}' has. Pass the same data, or remove the file."
        )
    return counts


def _saving_first(batches: Iterable[Any], save: Callable[[], None]) -> Iterator[Any]:
    """Yield the batches; where the data fail, what was measured so far is saved before."""
    iterator = iter(batches)
    while True:
        try:
            batch = next(iterator)
        except StopIteration:
            return
        except Exception:
            save()
            raise
        yield batch


def nothing_measured(counts: Counts) -> str:
    """Say why there is no Fisher.

    Args:
        counts: Of a run at its end.

    Returns:
        The message.
    """
    if counts.num_samples:
        return (
            f"no gradient reaches any of the {len(counts.traces)} parameters that are measured. Choose others with include=, "
            "and look whether the model cuts its graph (detach, no_grad)."
        )
    return f"no sample of {counts.num_skipped} has a target: every label is -100. Pass labels, or mask more tokens."


def _seed_of_rank(seed: int) -> int:
    """Give every process draws of its own; ranks are far apart, so that seeds of neighbouring runs do not meet."""
    return (seed + distributed.rank() * 1_000_003) % 2**63


def _state_file(path: Path, *, is_shared: bool) -> Path:
    return path.with_name(f"{path.stem}.rank{distributed.rank()}{path.suffix}") if is_shared else path
