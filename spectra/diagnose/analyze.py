"""Analyse all layers of a model."""

from __future__ import annotations

import os
import platform
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from spectra._version import __version__
from spectra.diagnose.engines import local
from spectra.diagnose.layer import batches, diagnose_layers
from spectra.diagnose.plan import model_info, plan_analysis
from spectra.diagnose.profiles import as_patterns, resolve_settings
from spectra.diagnose.summary import summarize
from spectra.errors import InputError
from spectra.esd.eigenvalues import FloatArray
from spectra.matrices import WeightMatrices
from spectra.results.records import LayerDiagnostics
from spectra.results.report import Report
from spectra.results.store import Run, run_header
from spectra.sources import open_source

if TYPE_CHECKING:
    from spectra.sources.open import Model


@dataclass(frozen=True)
class Progress:
    """How far a run is.

    Attributes:
        layer_name: The layer just finished; empty at the start.
        num_done: Layers finished.
        num_layers: All layers.
        share_done: Share of the work, by floating-point operations, in [0, 1].
    """

    layer_name: str
    num_done: int
    num_layers: int
    share_done: float


def analyze(
    model: Model,
    *,
    profile: str = "default",
    xmin: str | float | None = None,
    include: str | Sequence[str] = (),
    exclude: str | Sequence[str] = (),
    precision: str | None = None,
    method: str | None = None,
    conv_norm: float | None = None,
    min_evals: int | None = None,
    xmin_pos: float | None = None,
    num_tail: int | float | None = None,
    workers: int | Literal["auto"] = "auto",
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Report:
    """Fit the heavy tail of every weight matrix of a model, and describe its spectrum.

    Args:
        model: Path of a checkpoint folder or file, a hub id, ``"demo"``, a live ``nn.Module`` (which is not changed), or
            a mapping of names to arrays or tensors.
        profile: ``"default"``, or ``"weightwatcher"`` for the numbers of WeightWatcher 0.7.7.
        xmin: Where tails start: ``"ks"``, ``"median"``, ``"hill"``, ``"fixed"`` (with ``num_tail``) or a value; see
            :func:`spectra.fit_power_law`. Default: the profile's, ``"ks"``.
        include: Glob patterns on layer names; only layers that match one are analysed.
        exclude: Glob patterns on layer names to leave out.
        precision: ``"float64"`` (default) or ``"float32"``, the arithmetic of Gram products and singular values.
        method: ``"auto"`` (default), ``"gram"`` or ``"svd"``; see :mod:`spectra.esd.eigenvalues`.
        conv_norm: Factor on the eigenvalues of convolutions. Default 1.0; WeightWatcher and TempBalance: 0.5.
        min_evals: Fewest eigenvalues for a fit. Default 8, as WeightWatcher.
        xmin_pos: For ``xmin="median"``.
        num_tail: For ``xmin="hill"`` and ``"fixed"``.
        workers: Worker threads. Default: the cores this process may use. Numbers do not depend on it.
        output: Result folder. Layers are kept there as they are finished; the same call continues an interrupted run and
            returns a finished one.
        force: Write into ``output`` whatever it holds; its other files are left alone.
        progress: Called after each layer.

    Returns:
        The report. A layer that could not be analysed is a row whose ``status`` says why.

    Raises:
        SourceError: The model cannot be read, or has no weight to analyse.
        InputError: An argument that cannot be used, or a pattern that matches nothing.
        ResultsError: ``output`` holds something else, or cannot be written.

    Example:
        >>> import numpy as np
        >>> report = analyze({"layer.weight": np.diag(np.arange(1.0, 101.0))})
        >>> report.layers[0].num_eigenvalues, round(report.layers[0].stable_rank, 2)
        (100, 33.84)
    """
    settings = resolve_settings(
        profile,
        xmin=xmin,
        include=as_patterns(include),
        exclude=as_patterns(exclude),
        precision=precision,
        method=method,
        conv_norm=conv_norm,
        min_evals=min_evals,
        xmin_pos=xmin_pos,
        num_tail=num_tail,
    )
    num_workers = resolve_workers(workers)
    started, clock = datetime.now(UTC), time.perf_counter()
    source = open_source(model)
    plan = plan_analysis(source, settings)
    info = model_info(source, plan, revision=output is not None)
    run = Run(output, run_header(info, settings, version=__version__), force=force) if output is not None else None
    if run is not None and run.complete is not None:
        return run.complete

    done: dict[str, tuple[LayerDiagnostics, FloatArray | None]] = dict(run.finished) if run else {}
    waiting = [job for job in plan.jobs if job.matrix_name not in done]
    total = max(plan.flops, 1.0)
    share = 1.0 - sum(job.flops for job in waiting) / total
    try:
        if progress:
            progress(Progress("", len(done), len(plan.jobs), share))
        diagnose = partial(diagnose_layers, settings=settings)
        with closing(local.run(diagnose, batches(waiting), cost=_cost, workers=num_workers)) as finished:
            for batch, results in finished:
                for job, (row, values) in zip(batch, results, strict=True):
                    done[job.matrix_name] = (row, values)
                    if run:
                        run.add(row, values)
                    share += job.flops / total
                    if progress:
                        progress(Progress(job.layer_name, len(done), len(plan.jobs), min(share, 1.0)))
        layers = tuple(done[job.matrix_name][0] for job in plan.jobs)
        spectra = {job.matrix_name: values for job in plan.jobs if (values := done[job.matrix_name][1]) is not None}
        report = Report(
            model=info,
            layers=layers,
            skipped=plan.skipped,
            summary=summarize(layers, plan.skipped),
            settings=settings,
            environment=_environment(started, time.perf_counter() - clock, num_workers),
            spectra=spectra,
        )
        if run:
            run.finish(report)
    finally:
        if run:
            run.close()
    return report


def resolve_workers(workers: int | Literal["auto"]) -> int:
    """Check a number of workers, or choose it.

    Args:
        workers: At least 1, or ``"auto"``.

    Returns:
        The number.

    Raises:
        InputError: Anything else.
    """
    if workers == "auto":
        return local.usable_cores()
    if not isinstance(workers, int) or workers < 1:
        raise InputError(f"workers: expected 'auto' or a number of at least 1, got {workers!r}.")
    return workers


def _cost(batch: Sequence[WeightMatrices]) -> float:
    return sum(job.flops for job in batch)


def _environment(started: datetime, seconds: float, workers: int) -> dict[str, Any]:
    return {
        "spectra": __version__,
        "python": platform.python_version(),
        "numpy": np.__version__,
        "platform": f"{platform.system()} {platform.machine()}",
        "workers": workers,
        "started_at": started.isoformat(timespec="seconds"),
        "seconds": round(seconds, 3),
    }
