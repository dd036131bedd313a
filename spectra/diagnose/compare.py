"""Compare models with a base, matrix by matrix: spectra before and after, the spectrum of the change, and what turned."""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Callable, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING, Literal, Unpack

from spectra._version import __version__
from spectra.diagnose.compare_reports import compare_reports, is_report
from spectra.diagnose.compared_models import OpenedModels, open_models
from spectra.diagnose.comparison_memory import bytes_of_comparison
from spectra.diagnose.crew import budget_at
from spectra.diagnose.engines import devices as device_engine
from spectra.diagnose.layer import batches
from spectra.diagnose.matrix_change import Asked, compare_matrices
from spectra.diagnose.profiles import resolve_settings
from spectra.diagnose.thresholds import INTRUDER_COSINE, NUM_DIRECTIONS
from spectra.diagnose.within_memory import Need, check_that_all_fit, split_to_fit
from spectra.diagnose.work import Progress, environment_of
from spectra.errors import InputError
from spectra.matrices import WeightMatrices
from spectra.results.comparison import Comparison
from spectra.results.comparison_store import ComparisonRun, FinishedMatrix, comparison_header
from spectra.results.report import Report
from spectra.results.settings import SettingsChanges
from spectra.sources.training_checkpoints import step_of

if TYPE_CHECKING:
    from spectra.sources.open import Model


def compare(
    base: Model | Report,
    *others: Model | Report,
    over_time: bool = False,
    profile: str = "default",
    directions: int = NUM_DIRECTIONS,
    intruder_threshold: float = INTRUDER_COSINE,
    device: str = "auto",
    workers: int | Literal["auto"] = "auto",
    max_memory: int | str | None = None,
    output: str | os.PathLike[str] | None = None,
    force: bool = False,
    progress: Callable[[Progress], None] | None = None,
    **settings: Unpack[SettingsChanges],
) -> Comparison:
    """Compare models with a base, matrix by matrix.

    Weights are matched by name as :mod:`spectra.sources.pairs` does it, which sees through a wrapper's prefix. Of matrices that
    changed, the spectra before and after are those of :func:`spectra.analyze`; the spectrum of the change is computed in
    float64 from the difference, or from the factors of an adapter. The base is decomposed once, however many models there are;
    a matrix that did not change is decomposed once for all.

    Args:
        base: A path, a hub id, ``"demo"``, a live module, a mapping of tensors, or an adapter, which is merged. Or a saved
            result of ``spectra.analyze``, a folder or a ``Report``: then metrics alone are compared.
        *others: Models, of any of these kinds. An adapter stands for the base with it.
        over_time: The models are checkpoints of one run, in order, and the base is the first of them.
        profile: As for :func:`spectra.analyze`.
        directions: k, size of the leading singular subspaces that are compared, at least 1, and how many singular
            vectors are looked at for intruders. Default 10, as in PEFT (``top_k``).
        intruder_threshold: A leading left singular vector whose largest absolute cosine to any of the base's is smaller is
            an intruder (arXiv 2410.21228); in (0, 1]. Default 0.5, as in Hugging Face's PEFT (``threshold_epsilon``).
        device: Where spectra are computed, as for :func:`spectra.analyze`; singular vectors always on the CPU.
        workers: As for :func:`spectra.analyze`.
        max_memory: As for :func:`spectra.analyze`: how much the matrices in flight may take together, of all models.
        output: Result folder. Matrices are kept there as they are finished; the same call continues an interrupted run and
            returns a finished one.
        force: Write into ``output`` whatever it holds; its other files are left alone.
        progress: Called after each matrix of the base.
        **settings: As for :func:`spectra.analyze`; ``None`` or nothing keeps the profile's value.

    Returns:
        The comparison. A matrix that could not be compared is a row whose ``status`` says why.

    Raises:
        SourceError: A model cannot be read, or has no weight in common with the base.
        InputError: No other model, an argument that cannot be used, a pattern that matches nothing, a matrix that does not
            fit into the memory, or saved reports of different settings.
        ResultsError: ``output`` holds something else, another process is at work in it, or it cannot be written; or a saved
            report cannot be read.

    Example:
        >>> import numpy as np
        >>> weights = np.random.default_rng(0).standard_normal((60, 40))
        >>> changed = weights + np.outer(np.ones(60), np.ones(40))
        >>> comparison = compare({"fc.weight": weights}, {"fc.weight": changed})
        >>> comparison.rows[0].verdict, comparison.rows[0].change_rank
        ('rank 1, 1 intruder', 1)
    """
    if not others:
        raise InputError("compare needs at least two models: a base, and one or more to compare with it.")
    _check(directions, intruder_threshold)
    models = [model for model in (base, *others) if not isinstance(model, Report) and not is_report(model)]
    if len(models) <= len(others):
        return _of_reports(base, others, settings, over_time=over_time, output=output, force=force)
    resolved = resolve_settings(profile, **settings)
    where = device_engine.resolve_devices(device, models[0], resolved.precision)
    seats = device_engine.seats_at(where, workers)
    budget = budget_at(seats, max_memory)
    started, clock = datetime.now(UTC), time.perf_counter()
    opened = open_models(models[0], models[1:], resolved, revision=output is not None)
    asked = Asked(opened.plan.settings, directions, float(intruder_threshold), where[0])
    draft = _draft(opened, asked, over_time=over_time)
    need = partial(bytes_of_comparison, others=opened.others, settings=asked.settings, num_directions=directions)

    def check() -> None:
        if budget is not None:
            check_that_all_fit(opened.plan.jobs, need, budget)

    run: ComparisonRun | None = None
    if output is None:
        check()
    else:
        run = ComparisonRun(output, comparison_header(draft, version=__version__), force=force, check=check)
        if run.complete is not None:
            return run.complete
    try:
        done = _compared(opened, asked, run, _Room(seats, need, budget), progress)
        comparison = dataclasses.replace(
            draft,
            rows=tuple(done[job.matrix_name].rows[place] for place in range(len(others)) for job in opened.plan.jobs),
            changes={key: array for job in opened.plan.jobs for key, array in done[job.matrix_name].arrays.items()},
            environment=environment_of(started, time.perf_counter() - clock, len(seats), ",".join(where)),
        )
        if run:
            run.finish(comparison)
    finally:
        if run:
            run.close()
    return comparison


def _of_reports(
    base: Model | Report,
    others: Sequence[Model | Report],
    settings: SettingsChanges,
    *,
    over_time: bool,
    output: str | os.PathLike[str] | None,
    force: bool,
) -> Comparison:
    given = [name for name, value in settings.items() if value is not None]
    if given:
        raise InputError(f"a saved analysis keeps its settings: leave out {', '.join(given)}, or compare the models.")
    comparison = dataclasses.replace(compare_reports(base, others, over_time=over_time), environment={"spectra": __version__})
    if output is None:
        return comparison
    run = ComparisonRun(output, comparison_header(comparison, version=__version__), force=force)
    try:
        if run.complete is None:
            run.finish(comparison)
    finally:
        run.close()
    return run.complete or comparison


def _check(directions: int, intruder_threshold: float) -> None:
    if not isinstance(directions, int) or isinstance(directions, bool) or directions < 1:
        raise InputError(f"directions: expected a whole number of at least 1, got {directions!r}.")
    if not isinstance(intruder_threshold, float | int) or not 0.0 < intruder_threshold <= 1.0:
        raise InputError(f"intruder_threshold: expected a cosine, above 0 and at most 1, got {intruder_threshold!r}.")


def _draft(opened: OpenedModels, asked: Asked, *, over_time: bool) -> Comparison:
    return Comparison(
        base=opened.base,
        models=tuple(other.info for other in opened.others),
        rows=(),
        settings=asked.settings,
        over_time=over_time,
        base_step=step_of(opened.base.location),
        num_directions=asked.num_directions,
        intruder_threshold=asked.intruder_threshold,
        skipped=opened.plan.skipped,
        notes=opened.base.notes,
    )


@dataclass(frozen=True)
class _Room:
    """Where matrices are compared, and how much memory those in flight may take."""

    seats: Sequence[str]
    need: Need
    budget: int | None


def _compared(
    opened: OpenedModels,
    asked: Asked,
    run: ComparisonRun | None,
    room: _Room,
    progress: Callable[[Progress], None] | None,
) -> dict[str, FinishedMatrix]:
    """Compare all matrices, those of an interrupted run left out; return them by name."""
    jobs, total = opened.plan.jobs, max(opened.plan.flops, 1.0)
    done: dict[str, FinishedMatrix] = dict(run.finished) if run else {}
    waiting = [job for job in jobs if job.matrix_name not in done]
    share = 1.0 - _cost(waiting) / total
    if progress:
        progress(Progress("", len(done), len(jobs), share))

    def work(batch: Sequence[WeightMatrices], device: str) -> list[FinishedMatrix]:
        return compare_matrices(batch, others=opened.others, asked=dataclasses.replace(asked, device=device))

    fitting = split_to_fit(batches(waiting), room.need, room.budget)
    matrices = device_engine.run(work, fitting, cost=_cost, seats=room.seats, need=room.need, budget=room.budget)
    with closing(matrices) as finished:
        for batch, results in finished:
            for job, found in zip(batch, results, strict=True):
                done[job.matrix_name] = found
                if run:
                    run.add(job.matrix_name, found)
                share += job.flops / total
                if progress:
                    progress(Progress(job.layer_name, len(done), len(jobs), min(share, 1.0)))
    return done


def _cost(batch: Sequence[WeightMatrices]) -> float:
    return sum(job.flops for job in batch)
