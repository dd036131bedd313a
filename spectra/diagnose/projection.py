"""How long an analysis will take: its work at the machine's rates, laid out over the workers as the engine would.

Nothing else depends on it: no number of a report, and not the order of layers.
"""

from __future__ import annotations

import heapq
from collections.abc import Sequence
from dataclasses import dataclass

from spectra.diagnose.engines.admission import first_that_fits
from spectra.diagnose.layer import batches
from spectra.diagnose.machine_rates import MachineRates
from spectra.diagnose.plan import AnalysisPlan
from spectra.diagnose.within_memory import split_to_fit
from spectra.esd.randomized import usual_number
from spectra.matrices import WeightMatrices
from spectra.results.settings import AnalysisSettings

# Diagnostics whose time depends on the spectra themselves.
_NOT_COUNTED = ("truncated", "alternatives", "pvalue_samples", "bootstrap_samples", "vectors")


@dataclass(frozen=True)
class Projection:
    """What an analysis will take.

    Attributes:
        seconds: From the first weight to the last, each worker on a core to itself.
        seconds_now: The same, with the share of the cores that other programs leave at present.
        peak_bytes: The most that is in flight, an upper bound.
        at_once: The most layers that run at the same time.
        not_counted: Settings whose time is not in it.
    """

    seconds: float
    seconds_now: float
    peak_bytes: int
    at_once: int
    not_counted: tuple[str, ...]


def project(plan: AnalysisPlan, rates: MachineRates, *, workers: int, budget: int) -> Projection:
    """Lay the layers of a plan out over workers.

    Args:
        plan: Of layers that fit, each by itself.
        rates: Of one worker.
        workers: Number of workers.
        budget: Bytes that layers in flight may take together.

    Returns:
        The projection.
    """
    settings = plan.settings
    grouped = split_to_fit(batches(plan.jobs), plan.need, budget)
    grouped.sort(key=lambda batch: sum(job.flops for job in batch), reverse=True)  # as the engine does
    waiting = [(batch, plan.need(batch)) for batch in grouped]
    running: list[tuple[float, int]] = []  # when a batch ends, and what it gives back
    now, free, most_bytes, most_jobs = 0.0, budget, 0, 0
    while waiting or running:
        place = first_that_fits(waiting, free) if len(running) < workers else None
        if place is None:
            now, need = heapq.heappop(running)
            free += need
            continue
        batch, need = waiting.pop(place)
        free -= need
        heapq.heappush(running, (now + seconds_of(batch, settings, rates), need))
        most_bytes, most_jobs = max(most_bytes, budget - free), max(most_jobs, len(running))
    not_counted = tuple(name for name in _NOT_COUNTED if getattr(settings, name))
    return Projection(now, now / rates.core_share, most_bytes, most_jobs, not_counted)


def can_be_projected(settings: AnalysisSettings) -> bool:
    """Tell whether the time is that of Gram matrices and their eigenvalues: not of singular values, nor of windows."""
    return settings.method != "svd" and settings.subsample == "none"


def seconds_of(batch: Sequence[WeightMatrices], settings: AnalysisSettings, rates: MachineRates) -> float:
    """Return how long one worker takes for some weights.

    Args:
        batch: The weights.
        settings: Resolved settings.
        rates: Of one worker.

    Returns:
        Seconds.
    """
    return sum(_seconds(job, settings, rates) for job in batch)


def _seconds(job: WeightMatrices, settings: AnalysisSettings, rates: MachineRates) -> float:
    small, large = sorted((job.num_rows, job.num_cols))
    if not small:
        return 0.0
    spectrum = large * float(small) ** 2 / rates.product_flops + rates.solver(small)
    spectra = 1 + ((settings.num_replicas or usual_number(job.num_eigenvalues)) if settings.randomize else 0)
    return job.num_params * rates.read_seconds + job.num_matrices * spectra * spectrum
