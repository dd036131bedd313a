"""Measure the layers of a model again and again while it trains: opened once, planned once, on one process or on many.

The numbers are those of :func:`spectra.analyze` for the same weights and settings. On several processes each layer is measured
by one of them, and all get all rows, the same to the bit.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from functools import partial
from typing import Literal, cast

import torch
from torch import Tensor, distributed, nn

from spectra.diagnose.engines import local
from spectra.diagnose.engines.devices import resolve_device, resolve_workers
from spectra.diagnose.layer import batches, diagnose_layers, known_before_reading
from spectra.errors import InputError, SpectraError, did_you_mean
from spectra.esd.accelerator import CPU
from spectra.esd.eigenvalues import MATRIX_ERRORS
from spectra.fisher.distributed import is_distributed, rank
from spectra.matrices import WeightMatrices
from spectra.results.records import LayerDiagnostics
from spectra.results.settings import AnalysisSettings
from spectra.training.gram_rows import gram_of, is_gram_enough, rows_of_grams
from spectra.training.live_weights import LiveWeights, copied, live_weights, sampled_rows, weights_state
from spectra.training.sharded_layers import (
    exchanged,
    gathered,
    has_divided_rows,
    num_processes,
    owners,
    summed_gram,
)

Rows = list[LayerDiagnostics]


@dataclass(frozen=True)
class Snapshot:
    """Layers as they were at one moment, copied to host memory: to be measured in a thread while training goes on.

    Attributes:
        jobs: The copied weights, in model order.
        settings: Resolved settings.
        workers: Worker threads.
    """

    jobs: tuple[WeightMatrices, ...]
    settings: AnalysisSettings
    workers: int

    def measure(self) -> tuple[LayerDiagnostics, ...]:
        """Measure the copies, on the CPU.

        While it runs, NumPy's BLAS has one thread per worker in the whole process.

        Returns:
            What :meth:`LayerMeter.measure` would have returned when the snapshot was made, in model order.
        """
        return _in_order(_diagnosed(self.jobs, self.settings, CPU, self.workers), self.jobs)


class LayerMeter:
    """Measures the layers of a live model.

    Where ``torch.distributed`` connects several processes, all of them must make it and call its methods with the same
    arguments, and train one model: replicas (DDP), or shards of one (FSDP2, FSDP1, tensor parallel, ZeRO-3). With shards each
    process holds at most one whole layer at a time.

    Args:
        model: Live, wrapped or not. It is not changed.
        settings: Resolved settings, such as ``resolve_settings("tempbalance")``. ``lora`` counts for models with adapters:
            ``"merged"`` measures the weights that they compute with.
        device: Where spectra are computed; ``"auto"``: where the model is.
        workers: Worker threads. Default: this process' share of the machine's cores; on a GPU one.

    Raises:
        SourceError: No weight to analyse.
        InputError: A device that is not there, layers that are not the same on all processes, or what
            :func:`spectra.training.live_weights.live_weights` refuses.
    """

    def __init__(
        self,
        model: nn.Module,
        settings: AnalysisSettings,
        *,
        device: str = "auto",
        workers: int | Literal["auto"] = "auto",
    ) -> None:
        self._model, self._settings = model, settings
        self._device = resolve_device(device, model)
        self._cpu_workers = _share_of_cores() if workers == "auto" else resolve_workers(workers)
        self._workers = 1 if self._device != CPU and workers == "auto" else self._cpu_workers
        self._samples: dict[str, Tensor] = {}
        self._failures: list[str] = []  # of this process, in the measurement under way
        self._state = weights_state(model)
        self._weights = live_weights(model, settings)
        if len({tuple(names) for names in exchanged([self.layers])}) > 1:
            raise InputError("the processes hold different layers. Train one model in all of them, or measure in each alone.")

    @property
    def layers(self) -> tuple[str, ...]:
        """Names of the layers, in model order."""
        return tuple(dict.fromkeys(job.layer_name for job in self._weights.jobs))

    @property
    def costs(self) -> Mapping[str, float]:
        """Floating-point operations by layer."""
        costs = dict.fromkeys(self.layers, 0.0)
        for job in self._weights.jobs:
            costs[job.layer_name] += job.flops
        return costs

    @property
    def rows_before_reading(self) -> tuple[LayerDiagnostics, ...]:
        """Rows with what is known of the layers from names and shapes alone: no numbers of spectra or fits."""
        return tuple(known_before_reading(job) for job in self._weights.jobs)

    def measure(self, layers: Collection[str] | None = None) -> tuple[LayerDiagnostics, ...]:
        """Analyse layers as they are now.

        Args:
            layers: Names; default: all.

        Returns:
            Their rows in model order. What is wrong with a layer, such as NaN weights, is its status.

        Raises:
            InputError: A layer that there is not.
            SpectraError: A process ran out of memory, or the like; then all of them raise it.
        """
        weights = self._up_to_date()
        jobs = self._chosen(layers)
        self._remember(jobs)
        self._failures = []
        if weights.shards:
            rows = exchanged(self._rows_of_shards(_by_tensor(jobs), sum_grams=True))
            known = {row.matrix_name for row in rows}
            missing = [job for job in jobs if job.matrix_name not in known]
            if missing:
                rows += exchanged(self._rows_of_shards(_by_tensor(missing), sum_grams=False))
        else:
            rows = exchanged(self._guarded(lambda: self._rows_of_live(_own_share(jobs))))
        failures = exchanged(self._failures)
        if failures:
            raise SpectraError(f"layers could not be measured: {failures[0]}")
        return _in_order(rows, jobs)

    def snapshot(self, layers: Collection[str] | None = None) -> Snapshot:
        """Copy what measuring needs, to be measured while training goes on.

        Args:
            layers: Names; default: all.

        Returns:
            The copy, in host memory.

        Raises:
            InputError: A layer that there is not; or several processes: they must measure together.
        """
        if is_distributed():
            raise InputError("snapshot: several processes must measure together. Call measure().")
        weights = self._up_to_date()
        jobs = self._chosen(layers)
        self._remember(jobs)
        return Snapshot(tuple(copied(jobs, weights.places)), weights.settings, self._cpu_workers)

    def change(self, layers: Collection[str]) -> dict[str, float]:
        """Estimate how far layers have moved since they were measured last.

        Args:
            layers: Names.

        Returns:
            By name, in model order: Frobenius norm of the change over that of the weight, from 16 evenly spaced rows of each
            weight. Infinite where nothing is known: never measured, not finite, all zero, or sharded and computed from
            several parameters.

        Raises:
            InputError: A layer that there is not.
        """
        self._up_to_date()
        jobs = self._chosen(layers)
        squares = {job.layer_name: torch.zeros(2, dtype=torch.float64) for job in jobs}
        for job, *_ in _by_tensor(jobs):
            squares[job.layer_name] += self._squares(job)
        sums = torch.stack(list(squares.values())) if squares else torch.zeros(0, 2)
        if is_distributed():
            if not self._weights.shards and rank():  # replicas may differ in the last bit: all take the word of one
                sums.zero_()
            sums = sums.to(next(self._model.parameters()).device)
            distributed.all_reduce(sums)
        ratios = (sums[:, 0] / sums[:, 1]).sqrt().nan_to_num(nan=torch.inf, posinf=torch.inf)
        return dict(zip(squares, ratios.tolist(), strict=True))

    def _up_to_date(self) -> LiveWeights:
        """Open the model again where it was changed otherwise than by training: dtype, adapters, pruning."""
        state = weights_state(self._model)
        if state != self._state:
            self._weights, self._state = live_weights(self._model, self._settings), state
        return self._weights

    def _chosen(self, layers: Collection[str] | None) -> list[WeightMatrices]:
        jobs = self._weights.jobs
        if layers is None:
            return list(jobs)
        known = self.layers
        unknown = [name for name in layers if name not in known]
        if unknown:
            raise InputError(f"no layer '{unknown[0]}' is measured.{did_you_mean(unknown[0], known)}")
        wanted = set(layers)
        return [job for job in jobs if job.layer_name in wanted]

    def _rows_of_live(self, jobs: Sequence[WeightMatrices]) -> Rows:
        """Analyse weights where they are: on a GPU by products there, which saves the way to the host and back."""
        weights = self._weights
        rows: Rows = []
        if self._device.startswith("cuda"):
            there = [job for job in jobs if job.tensor.name in weights.places and is_gram_enough(job, weights.settings)]
            rows = [row for row in rows_of_grams(there, self._gram, weights.settings) if row is not None]
        known = {row.matrix_name for row in rows}
        rest = [job for job in jobs if job.matrix_name not in known]
        return rows + _diagnosed(rest, weights.settings, self._device, self._workers)

    def _gram(self, job: WeightMatrices) -> Tensor:
        weight = self._weights.places[job.tensor.name].get().to(self._device)
        return gram_of(weight if job.num_rows >= job.num_cols else weight.T, self._weights.settings.precision)

    def _rows_of_shards(self, tensors: Sequence[list[WeightMatrices]], *, sum_grams: bool) -> Rows:
        """Gather one weight for each process, let each analyse its own, and go on with the next ones."""
        count = num_processes()
        ordered = sorted(tensors, key=_cost, reverse=True)
        rounds = [ordered[start : start + count] for start in range(0, len(ordered), count)]
        return [row for one in rounds for row in self._rows_of_round(one, sum_grams=sum_grams)]

    def _rows_of_round(self, tensors: Sequence[list[WeightMatrices]], *, sum_grams: bool) -> Rows:
        weights = self._weights
        whole: list[WeightMatrices] = []
        grams: dict[str, Tensor] = {}
        for owner, jobs in enumerate(tensors):
            if sum_grams and self._can_sum(jobs):
                gram = summed_gram(self._parameter(jobs), owner, weights.settings.precision)
                grams |= {jobs[0].matrix_name: gram} if gram is not None else {}
            else:
                with gathered(weights.shards[jobs[0].tensor.name], owner):
                    whole += copied(jobs, weights.places) if owner == rank() else []
        summed = [job for jobs in tensors for job in jobs if job.matrix_name in grams]
        by_gram = partial(rows_of_grams, summed, lambda job: grams[job.matrix_name], weights.settings)
        rows = self._guarded(lambda: [row for row in by_gram() if row is not None])
        return rows + self._guarded(lambda: _diagnosed(whole, weights.settings, self._device, self._workers) if whole else [])

    def _guarded(self, measured: Callable[[], Rows]) -> Rows:
        """Note what goes wrong on this process, and go on: the others wait for it where they talk next."""
        try:
            return measured()
        except MATRIX_ERRORS as error:
            self._failures.append(f"{type(error).__name__}: {error}".rstrip(": "))
            return []

    def _can_sum(self, jobs: Sequence[WeightMatrices]) -> bool:
        (job, *others) = jobs
        is_tall = not others and job.num_rows >= job.num_cols and job.tensor.name in self._weights.places
        return is_tall and is_gram_enough(job, self._weights.settings) and has_divided_rows(self._parameter(jobs))

    def _parameter(self, jobs: Sequence[WeightMatrices]) -> Tensor:
        place = self._weights.places[jobs[0].tensor.name]
        return cast(Tensor, getattr(place.module, place.attribute))

    def _remember(self, jobs: Sequence[WeightMatrices]) -> None:
        for job, *_ in _by_tensor(jobs):
            sample = sampled_rows(job, self._weights)
            if sample is not None:
                self._samples[job.tensor.name] = sample

    def _squares(self, job: WeightMatrices) -> Tensor:
        """Sums of squares of a weight's change and of the weight, over the sampled rows."""
        before, now = self._samples.get(job.tensor.name), sampled_rows(job, self._weights)
        if before is None or now is None or before.shape != now.shape:
            return torch.tensor([torch.inf, 1.0], dtype=torch.float64)
        before = before.double()
        return torch.stack([(now - before).square().sum(), before.square().sum()]).cpu()


def _share_of_cores() -> int:
    """Cores for this process, where a launcher says how many there are on its machine."""
    return max(1, local.usable_cores() // int(os.environ.get("LOCAL_WORLD_SIZE", "1")))


def _diagnosed(jobs: Iterable[WeightMatrices], settings: AnalysisSettings, device: str, workers: int) -> Rows:
    diagnose = partial(diagnose_layers, settings=settings, device=device)
    with closing(local.run(diagnose, batches(jobs), cost=_cost, workers=workers)) as finished:
        return [row for _, results in finished for row, _ in results]


def _cost(jobs: Sequence[WeightMatrices]) -> float:
    return sum(job.flops for job in jobs)


def _by_tensor(jobs: Iterable[WeightMatrices]) -> list[list[WeightMatrices]]:
    """Group what is read from one tensor: the parts of a fused weight."""
    groups: dict[str, list[WeightMatrices]] = {}
    for job in jobs:
        groups.setdefault(job.tensor.name, []).append(job)
    return list(groups.values())


def _own_share(jobs: Sequence[WeightMatrices]) -> list[WeightMatrices]:
    """The jobs of this process, of those that every process could do."""
    chosen = owners([job.flops for job in jobs], num_processes())
    return [job for job, owner in zip(jobs, chosen, strict=True) if owner == rank()]


def _in_order(rows: Iterable[LayerDiagnostics], jobs: Sequence[WeightMatrices]) -> tuple[LayerDiagnostics, ...]:
    by_name = {row.matrix_name: row for row in rows}
    return tuple(by_name[job.matrix_name] for job in jobs)
