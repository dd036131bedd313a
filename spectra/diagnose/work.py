"""The work on models: what is left of each goes to whoever works, and each becomes a report when its last layer is there."""

from __future__ import annotations

import platform
import warnings
from collections.abc import Callable, Generator, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from spectra._version import __version__
from spectra.diagnose.assembly import Diagnosed
from spectra.diagnose.crew import Crew
from spectra.diagnose.engines import devices as device_engine
from spectra.diagnose.layer import batches, diagnose_layers
from spectra.diagnose.model_run import ModelRun
from spectra.diagnose.within_memory import split_to_fit
from spectra.errors import SpectraWarning
from spectra.matrices import WeightMatrices
from spectra.results.report import Report
from spectra.results.settings import AnalysisSettings

if TYPE_CHECKING:
    from spectra.diagnose.cache import RowCache


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
        work = split_to_fit(batches(run.waiting, crew.seats, settings.precision), run.plan.need, crew.budget)
        kept = _row_cache(crew.cache, settings) if crew.cache else None
        layers = device_engine.run(
            kept or _diagnose(settings),
            work,
            cost=_cost,
            seats=crew.seats,
            need=run.plan.need,
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
