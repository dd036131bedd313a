"""Analyse all layers of a model."""

from __future__ import annotations

import os
import platform
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, Unpack

import numpy as np

from spectra._version import __version__
from spectra.diagnose.assembly import Diagnosed
from spectra.diagnose.engines import devices as device_engine
from spectra.diagnose.engines.available_memory import memory_budget
from spectra.diagnose.engines.devices import resolve_devices, resolve_workers, seats_at
from spectra.diagnose.layer import batches, diagnose_layers
from spectra.diagnose.memory_need import bytes_of, split_to_fit
from spectra.diagnose.model_run import ModelRun
from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.shard_of_process import resolve_shard
from spectra.errors import InputError, SpectraWarning, did_you_mean
from spectra.esd.accelerator import CPU
from spectra.matrices import WeightMatrices
from spectra.results.kept_rows import open_rows
from spectra.results.report import Report
from spectra.results.settings import AnalysisSettings, SettingsChanges

if TYPE_CHECKING:
    from spectra.diagnose.cache import RowCache
    from spectra.sources.open import Model

ENGINES = ("local", "ray")


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        layer_name: The layer just finished; empty at the start.
        num_done: Layers finished.
        num_layers: All layers.
        share_done: Share of the work, by floating-point operations, in [0, 1].
        num_models: Models that these are the layers of.
    """

    layer_name: str
    num_done: int
    num_layers: int
    share_done: float
    num_models: int = 1


def analyze(
    model: Model,
    *,
    base: Model | None = None,
    profile: str = "default",
    device: str = "auto",
    workers: int | Literal["auto"] = "auto",
    max_memory: int | str | None = None,
    engine: str = "local",
    address: str | None = None,
    output: str | os.PathLike[str] | None = None,
    shard: str | None = None,
    force: bool = False,
    cache: str | os.PathLike[str] | None = None,
    progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[SettingsChanges],
) -> Report:
    """Fit the heavy tail of every weight matrix of a model, and describe its spectrum.

    Args:
        model: Path of a checkpoint folder or file, a hub id, ``"demo"``, a live ``nn.Module`` (which is not changed), or
            a mapping of names to arrays or tensors; or a folder with a PEFT adapter.
        base: Analyse the difference to this model, weight by weight, matched by name. For an adapter: its base model.
        profile: ``"default"``, ``"weightwatcher"`` for the numbers of WeightWatcher 0.7.7, or ``"tempbalance"``.
        device: Where spectra are computed: ``"cpu"`` (NumPy), a device of torch's such as ``"cuda:1"``, several
            (``"cuda:0,cuda:1"``), or ``"cuda"``: every GPU. ``"auto"``: the device of a live module, the CPU for files.
        workers: Worker threads. Default: the cores this process may use; on GPUs three for each. Numbers do not depend on it;
            on GPUs their last digits may.
        max_memory: How much the layers in flight may take together, on top of the process as it is: bytes, or a size such as
            ``"8G"``. Fewer than ``workers`` layers run at once where more do not fit. Default: 80 % of what is free, or of what
            the limit of a cgroup leaves. Numbers do not depend on it. Not for GPUs and clusters, which go by their own memory.
        engine: Who works: ``"local"``, threads of this process; or ``"ray"``, the processes of a Ray cluster, which open the
            checkpoint themselves. Numbers do not depend on it.
        address: Of the Ray cluster: ``"auto"``, ``"HOST:PORT"`` or ``"ray://HOST:PORT"``; ``workers`` is then how many tasks
            are in flight at most. Default: a cluster of this machine alone, with that many CPUs.
        output: Result folder. Layers are kept there as they are finished; the same call continues an interrupted run and
            returns a finished one.
        shard: Analyse one part of the layers, for :func:`spectra.merge`: ``"i/n"``, the i-th of n from 0, or ``"auto"``, which
            asks the launcher: see :mod:`spectra.diagnose.shard_of_process`. Needs ``output``, the same folder for all shards.
        force: Write into ``output`` whatever it holds; its other files are left alone.
        cache: Folder that keeps rows and spectra by the content of weights, for this and other models: what an earlier
            analysis computed of equal weights, under equal settings, is read and not computed again. May be shared by
            several processes. ``report.environment`` counts what came from it. See :mod:`spectra.diagnose.cache`.
        progress: Called after each layer.
        **settings: Any of the following; ``None`` or nothing keeps the profile's value, which for ``"default"`` is named.

            What is analysed.
            ``include``, ``exclude``: glob patterns on layer names. ``kinds``: only these kinds of layers.
            ``split_fused`` ("auto"): fused projections and gates are split by architecture, or "none".
            ``split_heads`` (False): one matrix per attention head.
            ``max_evals``, ``max_side``: leave out weights with more eigenvalues, or a longer side.
            ``moe`` ("per_expert"): a row per expert, "summary" (``report.experts``, and rows only of experts that failed) or
            "pool" (one spectrum for all).
            ``conv_mode`` ("pooled"): kernel positions in one spectrum, "slices" (a row each) or "operator" (the spectrum of
            the convolution as a linear map, arXiv 1805.10408).
            ``lora`` ("delta"): of an adapter the change, "merged", "factors" or "base".

            Spectra.
            ``precision`` ("float64"): or "float32", arithmetic of Gram products and singular values, on a GPU of the
            eigensolver, too.
            ``method`` ("auto"): "gram" or "svd"; see :mod:`spectra.esd.eigenvalues`.
            ``conv_norm`` (1.0): factor on eigenvalues of convolutions; WeightWatcher and TempBalance: 0.5.
            ``normalize`` ("none"): "1/N" divides eigenvalues by the larger side.
            ``subsample`` ("none"): "farms" fits the pooled spectra of windows of equal shape, with ``window_rows``,
            ``window_aspect`` and ``windows_per_side``; see :mod:`spectra.esd.subsample`.

            Fits.
            ``xmin`` ("ks"), ``xmin_pos``, ``num_tail``, ``max_fingers``, ``finger_threshold``: see
            :func:`spectra.fit_power_law`. ``min_evals`` (8): fewest eigenvalues for a fit, as WeightWatcher. ``min_tail`` (2):
            fewest in its tail. ``evals_threshold``: eigenvalues at or under it stay out of the fit; by default those that are
            numerically null.
            ``inverse`` (False): fit ``1 / eigenvalue``, the tail towards zero; without verdict or label.
            ``truncated`` (False): fit the truncated power law, too.
            ``alternatives`` (False): likelihood ratios against other distributions.
            ``pvalue_samples`` (0): synthetic spectra for a goodness-of-fit p-value; 2500 give it to 0.01 (arXiv 0706.1062).
            ``bootstrap_samples`` (0): resamples for 95 % intervals of alpha and xmin.

            More diagnostics.
            ``mp_fit`` (False), ``mp_method`` ("quantile"), ``tw_level`` (0.99): see :func:`spectra.fit_marchenko_pastur`.
            ``randomize`` (False), ``num_replicas``: compare with the same weights in random order.
            ``vectors`` (False): localization of eigenvectors. ``seed`` (0): of everything random; numbers do not depend on
            the order of layers or on filters.

    Returns:
        The report; of a shard with its layers only. A layer that could not be analysed is a row whose ``status`` says why.

    Raises:
        SourceError: The model cannot be read, or has no weight to analyse.
        InputError: An argument that cannot be used, a pattern that matches nothing, or a layer that needs more memory by
            itself than there is.
        ResultsError: ``output`` or ``cache`` holds something else, or cannot be written; or another process is at work in
            ``output``.
        EngineError: The Ray cluster cannot be reached, or lacks what it needs.

    Warns:
        SpectraWarning: No more rows could be kept in ``cache``, because the disk is full, say. The report is whole.

    Example:
        >>> import numpy as np
        >>> report = analyze({"layer.weight": np.diag(np.arange(1.0, 101.0))})
        >>> report.layers[0].num_eigenvalues, round(report.layers[0].stable_rank, 2)
        (100, 33.84)
    """
    resolved = resolve_settings(profile, **settings)
    part = resolve_shard(shard, has_output=output is not None)
    crew = crew_for(
        model,
        engine=engine,
        address=address,
        workers=workers,
        device=device,
        precision=resolved.precision,
        cache=cache,
        max_memory=max_memory,
    )
    with closing(ModelRun(model, resolved, base=base, output=output, shard=part, force=force, budget=crew.budget)) as run:
        (report,) = [report for _, report in work_through([run], crew, progress=progress)]
    return report


@dataclass(frozen=True)
class Crew:
    """Who works.

    Attributes:
        engine: ``"local"`` or ``"ray"``.
        address: Of a Ray cluster, or ``None``.
        workers: Threads, or CPUs of a Ray cluster that is started for it.
        at_once: Most tasks in flight on a cluster that is there; ``None``: as many as it has room for.
        device: Where spectra are computed; several between commas.
        seats: The device of each thread of this machine; empty for Ray.
        cache: Folder of rows of earlier analyses, or ``None``.
        budget: Bytes that layers in flight may take together; ``None``: not counted here.
    """

    engine: str
    address: str | None
    workers: int
    at_once: int | None
    device: str
    seats: tuple[str, ...] = ()
    cache: Path | None = None
    budget: int | None = None


def crew_for(
    model: Model | None,
    *,
    engine: str,
    address: str | None,
    workers: int | Literal["auto"],
    device: str,
    precision: str,
    cache: str | os.PathLike[str] | None = None,
    max_memory: int | str | None = None,
) -> Crew:
    """Check who is to work.

    Args:
        model: Whose device ``"auto"`` stands for; ``None``: a file's.
        engine: As :func:`analyze` takes it.
        address: Likewise.
        workers: Likewise.
        device: Likewise.
        precision: Likewise.
        cache: Likewise.
        max_memory: Likewise.

    Returns:
        Who works.

    Raises:
        InputError: Something that cannot be used.
        ResultsError: ``cache`` holds something else, or cannot be made.
        MissingPackageError: Ray is not installed.
    """
    if engine not in ENGINES:
        raise InputError(f"engine: unknown {engine!r}.{did_you_mean(str(engine), ENGINES)} Known: {', '.join(ENGINES)}.")
    if engine == "ray":
        from spectra.diagnose.engines.ray_cluster import check_address
        from spectra.diagnose.remote_work import device_on_nodes

        if cache is not None:
            raise InputError("cache: the nodes of engine 'ray' do not use one. Leave it out, or use engine='local'.")
        if max_memory is not None:
            raise InputError("max_memory: engine 'ray' goes by the memory of each node. Leave it out, or use engine 'local'.")
        check_address(address)
        at_once = None if address is None or workers == "auto" else resolve_workers(workers)
        return Crew(engine, address, resolve_workers(workers), at_once, device_on_nodes(device))
    if address is not None:
        raise InputError(f"address '{address}': only engine 'ray' works at another place. Add engine='ray' (--engine ray).")
    where = resolve_devices(device, model, precision)
    seats = seats_at(where, workers)
    kept = None if cache is None else open_rows(cache)
    return Crew(engine, None, len(seats), None, ",".join(where), seats, kept, budget_at(seats, max_memory))


def budget_at(seats: Sequence[str], max_memory: int | str | None) -> int | None:
    """Choose how many bytes layers in flight may take together.

    Args:
        seats: The device of each worker.
        max_memory: As :func:`analyze` takes it.

    Returns:
        Bytes; ``None`` for devices of torch's, where stacks are made by the memory of the device.

    Raises:
        InputError: Not a size, or one for other devices than the CPU.
    """
    if set(seats) <= {CPU}:
        return memory_budget(max_memory)
    if max_memory is not None:
        raise InputError("max_memory: other devices than the CPU go by their own memory. Leave it out, or use device 'cpu'.")
    return None


def work_through(
    runs: Sequence[ModelRun], crew: Crew, *, progress: Callable[[Progress], None] | None = None
) -> Generator[tuple[ModelRun, Report], None, None]:
    """Analyse what is left of models.

    Args:
        runs: The models; they are begun in this order.
        crew: Who works.
        progress: Called after each layer.

    Yields:
        Each model with its report, as soon as that is written; finished ones first.
    """
    total = max(sum(run.plan.flops for run in runs), 1.0)
    waiting = {id(run): len(run.waiting) for run in runs if run.complete is None}
    num_layers = sum(len(run.plan.jobs) for run in runs)
    num_done = num_layers - sum(waiting.values())
    share = 1.0 - sum(_cost(run.waiting) for run in runs) / total
    if progress and waiting:
        progress(Progress("", num_done, num_layers, share, len(runs)))
    for run in runs:
        if run.complete is not None:
            yield run, run.complete
            run.release()
    with closing(_worked([run for run in runs if id(run) in waiting], crew)) as finished:
        for run, batch, results in finished:
            run.add(batch, results)
            for job in batch:
                num_done += 1
                share += job.flops / total
                if progress:
                    progress(Progress(job.layer_name, num_done, num_layers, min(share, 1.0), len(runs)))
            waiting[id(run)] -= len(batch)
            if not waiting[id(run)]:
                yield run, run.finish(environment_of(run.started, run.seconds, crew.workers, crew.device))
                run.release()


def _worked(
    runs: Sequence[ModelRun], crew: Crew
) -> Generator[tuple[ModelRun, Sequence[WeightMatrices], Sequence[Diagnosed]], None, None]:
    for run in runs:
        if not run.waiting:  # all layers of an interrupted run were done
            yield run, [], []
    runs = [run for run in runs if run.waiting]
    if crew.engine == "ray" and runs:
        from spectra.diagnose.remote_work import work_remotely

        yield from work_remotely(runs, address=crew.address, workers=crew.workers, at_once=crew.at_once, device=crew.device)
        return
    for run in runs:
        run.begin()
        settings = run.plan.settings
        work = split_to_fit(batches(run.waiting, crew.seats, settings.precision), settings, crew.budget)
        kept = _row_cache(crew.cache, settings) if crew.cache else None
        layers = device_engine.run(
            kept or _diagnose(settings),
            work,
            cost=_cost,
            seats=crew.seats,
            need=partial(bytes_of, settings=settings),
            budget=crew.budget,
        )
        with closing(layers) as finished:
            for batch, results in finished:
                if kept:
                    run.made_by.update(kept.counts)
                yield run, batch, results
        if kept and kept.trouble:
            warnings.warn(f"no more rows are kept in the cache: {kept.trouble}", SpectraWarning, stacklevel=2)


def _row_cache(folder: Path, settings: AnalysisSettings) -> RowCache:
    from spectra.diagnose.cache import RowCache  # imports the digest

    return RowCache(folder, settings, _diagnose(settings))


def _diagnose(settings: AnalysisSettings) -> Callable[[Sequence[WeightMatrices], str], list[Diagnosed]]:
    return lambda batch, device: diagnose_layers(batch, settings, device=device)


def _cost(batch: Sequence[WeightMatrices]) -> float:
    return sum(job.flops for job in batch)


def environment_of(started: datetime, seconds: float, workers: int, device: str) -> dict[str, Any]:
    """Return what a result says of how it was made.

    Args:
        started: When.
        seconds: How long it took.
        workers: Threads.
        device: Where spectra were computed.

    Returns:
        Versions and machine, with these.
    """
    return {
        "spectra": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "device": device,
        "workers": workers,
        "started_at": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
    }
