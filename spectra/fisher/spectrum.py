"""The eigenvalues of the Fisher information of each layer, exactly, from the inner products of per-sample gradients."""

from __future__ import annotations

import dataclasses
import functools
import itertools
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from spectra._version import __version__
from spectra.errors import InputError
from spectra.fisher.as_found import as_found
from spectra.fisher.batches import chained_fingerprint, mapped, num_samples_of
from spectra.fisher.estimate import check_route, check_seed, nothing_measured, unwrapped
from spectra.fisher.gradient_rows import GradientRows, RowsCollector
from spectra.fisher.layer_gradients import accumulation_dtype
from spectra.fisher.measure import Measurement
from spectra.fisher.parameters import MeasuredParameter, measured_parameters
from spectra.fisher.provenance import tensors_in
from spectra.fisher.result import name_of, notes_of
from spectra.fisher.state import Counts
from spectra.fisher.tasks import task_of
from spectra.results.fisher_records import FisherKind, Reduction, known_word
from spectra.results.fisher_spectrum import FisherSpectrum, LayerSpectrum, SpectrumInfo


@dataclass(frozen=True)
class SpectrumProgress:
    """How far a spectrum is.

    Attributes:
        num_steps: Batches gone through, and layers whose eigenvalues are known.
        total_steps: Of both; where the gradients of all layers do not fit into memory, batches count several times.
    """

    num_steps: int
    total_steps: int


def fisher_spectrum(
    model: nn.Module,
    batches: Iterable[Any],
    *,
    kind: FisherKind | str = FisherKind.EMPIRICAL,
    reduction: Reduction | str = Reduction.TOKEN_MEAN,
    task: str | None = None,
    loss: Callable[[nn.Module, Any], Tensor] | None = None,
    num_draws: int = 1,
    seed: int = 0,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    route: str = "auto",
    max_memory_gib: float = 4.0,
    progress: Callable[[SpectrumProgress], None] | None = None,
) -> FisherSpectrum:
    r"""Compute the eigenvalues of each layer's Fisher information matrix, and of the whole model's.

    With the gradients of N samples as the rows of J, the Fisher is :math:`F = J^\top J / N`, of rank N at most. Its
    eigenvalues other than zero are those of the N × N matrix :math:`J J^\top / N`: exact, without forming F or iterating. They
    add up to the trace of the diagonal. With draws, classes or tokens, J has a row for each of them. A ``"sample_weight"`` of
    the batches multiplies F as it does in :func:`spectra.fisher`, and the rows by its root.

    Gradients are kept as the factors in which the backward pass leaves them, and multiplied in float64. Where those of all
    layers do not fit into the memory allowed, the data are gone through again for the layers that are left. The work grows with
    the square of the number of samples, times the number of parameters.

    Source: fisher-guided dropout specification, section C.3.

    Args:
        model: As for :func:`spectra.fisher`; inside DistributedDataParallel the spectrum is that of this process's batches.
        batches: As there, and few: hundreds of samples, at most 8192 gradients. All are held in memory.
        kind: ``"empirical"``, ``"sampled"`` or ``"exact"``.
        reduction: ``"token_mean"``, ``"sequence_sum"`` or ``"token"``.
        task: What the model predicts; ``None``: by the name of its class.
        loss: Instead: one negative log-likelihood per sample.
        num_draws: Labels drawn per target, for ``sampled``.
        seed: Of the draws, which are those of :func:`spectra.fisher` for the same batches.
        include: Glob patterns on names of parameters. Default: all that require a gradient.
        exclude: Glob patterns on names of parameters.
        route: ``"auto"``, or ``"loop"``: every sample alone.
        max_memory_gib: For the gradients kept at once; those of one layer are, whatever they take. Default 4, our choice: ten
            square matrices of BERT-base for 500 texts of 128 tokens.
        progress: Called after each batch and each layer.

    Returns:
        Eigenvalues by layer, float64, ascending. Those that the rounding of float32 or float64 cannot tell from zero are 0: a
        fit leaves them out. A model in bfloat16 or float16 rounds more, so that its smallest eigenvalues are rounding.

    Raises:
        InputError: As :func:`spectra.fisher`; or more than 8192 gradients, or memory that is none.

    Example:
        >>> import torch, spectra
        >>> _ = torch.manual_seed(0)
        >>> model = torch.nn.Sequential(torch.nn.Linear(20, 30), torch.nn.Tanh(), torch.nn.Linear(30, 5))
        >>> spectrum = fisher_spectrum(model, [(torch.randn(100, 20), torch.randint(5, (100,)))])
        >>> spectrum.eigenvalues("0").shape, spectra.fit_power_law(spectrum.eigenvalues("0")).num_tail > 10
        ((100,), True)
    """
    if not max_memory_gib > 0:
        raise InputError(f"max_memory_gib is {max_memory_gib:g}: pass a number above 0.")
    check_route(route)
    check_seed(seed)
    model, batches = unwrapped(model), list(batches)
    if not batches:
        raise InputError("there are no batches: pass at least one.")
    settings: dict[str, Any] = {
        "model": model,
        "task": "custom" if loss is not None else task_of(model, task),
        "loss": loss,
        "kind": known_word(FisherKind, kind, "kind"),
        "reduction": known_word(Reduction, reduction, "reduction"),
        "num_draws": num_draws,
        "route": route,
    }
    parameters = measured_parameters(model, include, exclude)
    device = parameters[0].tensor.device
    layers: dict[str, list[MeasuredParameter]] = {}
    for parameter in parameters:
        layers.setdefault(parameter.layer_name, []).append(parameter)

    def gone_through(names: Iterable[str], some: Sequence[Any], tick: Callable[[], None], *, sizes_only: bool = False) -> _Pass:
        members = [one for name in names for one in layers[name]]
        on_device = (mapped(batch, lambda tensor: tensor.to(device)) for batch in some)
        return _gone_through(members, on_device, settings, seed, tick, sizes_only=sizes_only)

    groups = _groups(layers, gone_through, batches, max_memory_gib * 2**30)
    tick = _ticks(len(groups) * len(batches) + len(layers), progress)
    counts, spectra, whole = Counts(), [], None
    for names in groups:
        done = gone_through(names, batches, tick)
        counts = _joined(counts, done.counts)
        for name in names if counts.num_samples else ():
            products = done.products(layers[name])
            spectra.append(LayerSpectrum(name, _num_params(layers[name]), _eigenvalues(products, layers[name])))
            whole = products if whole is None else whole.add_(products.to(whole.device))
            tick()
    if whole is None or not counts.reached:
        raise InputError(nothing_measured(counts))
    counts.data = functools.reduce(chained_fingerprint, batches, "")
    info = SpectrumInfo(
        kind=settings["kind"].value,
        reduction=settings["reduction"].value,
        task=done.task,
        num_samples=counts.num_samples,
        num_rows=len(whole),
        num_draws=num_draws,
        seed=seed,
        model=name_of(model),
        data=counts.data,
        version=__version__,
        notes=notes_of(counts, [one.name for one in parameters], asked=route == "loop"),
    )
    return FisherSpectrum(info, tuple(spectra), _eigenvalues(whole, parameters))


@dataclass(frozen=True)
class _Pass:
    """What comes of going through the data once."""

    rows: GradientRows
    counts: Counts
    task: str
    scale: float

    def products(self, members: Sequence[MeasuredParameter]) -> Tensor:
        """Return J Jᵀ / N for some parameters, whose gradients are not needed any more."""
        total = torch.zeros((), dtype=torch.float64)
        for one in members:
            total = self.rows.inner_products(one.name).add_(total.to(one.tensor.device))
            self.rows.reset(one.name)
        return total.div_(self.counts.num_samples * self.scale**2)


def _gone_through(
    members: Sequence[MeasuredParameter],
    batches: Iterable[Any],
    settings: Mapping[str, Any],
    seed: int,
    tick: Callable[[], None],
    *,
    sizes_only: bool,
) -> _Pass:
    tensors = {one.name: one.tensor for one in members}
    rows = GradientRows(tensors, sizes_only)
    measurement = Measurement(
        parameters=tensors,
        gradients=rows,
        collect=lambda unfollowed: RowsCollector(tensors, unfollowed, rows),
        generator=torch.Generator().manual_seed(seed),
        **settings,
    )
    counts = Counts(traces=dict.fromkeys(tensors, 0.0), unfollowed=measurement.unfollowed)
    with as_found(measurement.model, {id(tensor) for tensor in tensors.values()}):
        for batch in batches:
            added, _, skipped = measurement.add(batch)
            counts.num_samples += added
            counts.num_skipped += skipped
            tick()
    counts.reached, counts.is_weighted = sorted(measurement.reached), measurement.is_weighted
    return _Pass(rows, counts, measurement.task, measurement.scale)


def _joined(before: Counts, after: Counts) -> Counts:
    """Take the counts of the last pass, which are those of all, and what each pass says of its parameters."""
    return dataclasses.replace(
        after,
        traces=before.traces | after.traces,
        unfollowed=before.unfollowed | after.unfollowed,
        reached=[*before.reached, *after.reached],
    )


def _groups(
    layers: Mapping[str, Sequence[MeasuredParameter]],
    gone_through: Callable[..., _Pass],
    batches: Sequence[Any],
    budget: float,
) -> list[list[str]]:
    """Cut the layers into groups whose gradients fit into memory, by the batch that takes most of it for a sample."""
    largest = max(batches, key=lambda batch: sum(tensor.nbytes for tensor in tensors_in(batch)) / num_samples_of(batch))
    sizes = gone_through(layers, [largest], lambda: None, sizes_only=True).rows.num_bytes
    factor = sum(map(num_samples_of, batches)) / num_samples_of(largest)
    groups: list[list[str]] = [[]]
    room = budget
    for name, members in layers.items():
        size = factor * sum(sizes[member.name] for member in members)
        if groups[-1] and size > room:
            groups.append([])
            room = budget
        groups[-1].append(name)
        room -= size
    return groups


def _ticks(total: int, progress: Callable[[SpectrumProgress], None] | None) -> Callable[[], None]:
    done = itertools.count(1)

    def tick() -> None:
        if progress is not None:
            progress(SpectrumProgress(next(done), total))

    return tick


def _num_params(members: Iterable[MeasuredParameter]) -> int:
    return sum(one.tensor.numel() for one in members)


def _eigenvalues(products: Tensor, members: Sequence[MeasuredParameter]) -> NDArray[np.float64]:
    """Return the eigenvalues of F, or the largest of them; those that are rounding as 0."""
    values = torch.linalg.eigvalsh(products).cpu().numpy()
    values = values[max(0, len(values) - _num_params(members)) :]
    # Rounding of the products, relative to the largest eigenvalue, and of the gradients, relative to its root.
    of_gradients = max(torch.finfo(accumulation_dtype(one.tensor.dtype)).eps for one in members)
    rounding = max(float(np.finfo(np.float64).eps), of_gradients**2)
    return np.where(values > len(products) * rounding * values[-1:], values, 0.0)
