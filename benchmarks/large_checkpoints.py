"""``large``: layers of Llama-2-7B's size: peak memory, and the time that ``--dry-run`` tells beside the time it takes.

Of random numbers, so that every step of the analysis is taken: one layer, some minutes on two cores. ``large-whole`` is the
whole model, sparse files whose numbers are zeros: those are multiplied, but not decomposed (a zero matrix has zero
eigenvalues), which leaves the peak, at the product, what it is; tens of minutes.

Each is one child process, ``python -m benchmarks.large_checkpoints FOLDER``, with one BLAS thread per worker.
"""

from __future__ import annotations

import json
import resource
import sys
import time
from pathlib import Path
from typing import Any

from benchmarks.measure import CORES, run_module, say
from benchmarks.table import Comparison

PEAK_BAR_MIB = 3 * 1024.0
PROJECTION_BAR = 1.3
_MODEL = "7b"


def run(temporary: Path, *, layers: int | None = 1) -> tuple[list[Comparison], list[str]]:
    """Measure one analysis.

    Args:
        temporary: For the checkpoint: 0.4 GB per layer, nothing for the whole model.
        layers: How many layers of random numbers; ``None``: all of them, of zeros.

    Returns:
        The rows, and what was projected, in words.
    """
    folder = temporary / f"llama-{layers}"
    say(f"large: making {'a sparse checkpoint' if layers is None else f'{layers} layer(s) of random numbers'}")
    run_module("benchmarks.sparse_checkpoints", str(folder), _MODEL, *([] if layers is None else [str(layers)]))
    say("large: analysis")
    sample = run_module("benchmarks.large_checkpoints", str(folder))
    found: dict[str, Any] = sample.output
    name = "Llama-2-7B, sparse" if layers is None else f"Llama-2-7B, {layers} layer(s)"
    peak = sample.peak_mib - found["baseline_mib"]
    rows = [Comparison(f"{name}: peak over imports", "3 GiB", "MiB", (peak,), (PEAK_BAR_MIB,), 1.0, ratio_of="spectra/peer")]
    # What other programs took of the cores is not the projection's fault.
    free = found["seconds"] * found["core_share"]
    if layers is not None:
        far, near = max(free, found["projected"]), min(free, found["projected"])
        rows.append(
            Comparison(f"{name}: projection, off by", "measured", "s", (far,), (near,), PROJECTION_BAR, ratio_of="spectra/peer")
        )
    return rows, [
        f"large: {name}: projected {found['projected']:.0f} s on free cores and {found['projected_now']:.0f} s as they were; "
        f"took {found['seconds']:.0f} s with {100 * found['core_share']:.0f} % of {CORES} cores: {free:.0f} s on free ones; "
        f"bound {found['bound_mib']:.0f} MiB in flight, peak {peak:.0f} MiB over imports"
    ]


def _main() -> None:
    import numpy as np

    import spectra
    from spectra.diagnose.machine_rates import measure_rates
    from spectra.diagnose.plan import plan_analysis
    from spectra.diagnose.profiles import resolve_settings
    from spectra.diagnose.projection import project
    from spectra.sources import open_source

    folder = sys.argv[1]
    spectra.analyze({"small.weight": np.random.default_rng(0).standard_normal((120, 100))}, workers=CORES)
    unit = 1 if sys.platform == "darwin" else 1024
    baseline = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / 2**20
    plan, budget = plan_analysis(open_source(folder), resolve_settings("default")), 2**33
    rates = measure_rates(plan.jobs, workers=CORES, precision="float64", budget=budget)
    projection = project(plan, rates, workers=CORES, budget=budget)
    start, cpu = time.perf_counter(), time.process_time()
    spectra.analyze(folder, workers=CORES, max_memory=budget)
    seconds, cpu_seconds = time.perf_counter() - start, time.process_time() - cpu
    # Of the time that the layout keeps workers busy, not of the last layer's end, where one waits for the other.
    busy = sum_of_layers(plan, rates) / (CORES * projection.seconds)
    print(
        json.dumps(
            {
                "baseline_mib": baseline,
                "bound_mib": projection.peak_bytes / 2**20,
                "projected": projection.seconds,
                "projected_now": projection.seconds_now,
                "seconds": seconds,
                "core_share": min(1.0, cpu_seconds / (CORES * seconds * busy)),
            }
        )
    )


def sum_of_layers(plan: Any, rates: Any) -> float:
    """Return the seconds of all layers one after the other."""
    from spectra.diagnose.projection import seconds_of

    return sum(seconds_of([job], plan.settings, rates) for job in plan.jobs)


if __name__ == "__main__":
    _main()
