"""How fast this machine is at what an analysis does: measured in half a second, on all workers at once.

One number would not do: the solver runs at a third of the rate of products. Half of its work are matrix-vector products,
which wait for the memory once a matrix is larger than the cache, and the longer the more workers share it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import mean

import numpy as np

from spectra.diagnose.engines import local
from spectra.esd.eigenvalues import MATRIX_ERRORS, FloatArray
from spectra.esd.power_law import fit_power_law
from spectra.matrices import WeightMatrices

_SMALL, _LARGE = 384, 1024  # rows; the larger takes 0.1 s on a core of 35 Gflop/s
_REPEATS_OF_SMALL = 3
_MATRIX_VECTOR_SHARE = 0.4  # of the solver's time at 1024 rows (measured: 43 ms of 104)
_BEYOND_CACHES = 2816  # rows of a matrix of 63 MB
_REPEATS_OF_VECTOR = 3
_SAMPLE_NUMBERS = 2**22  # 8 MiB of bfloat16 per worker


@dataclass(frozen=True)
class MachineRates:
    """Rates of one worker while all work, on a core to itself.

    Attributes:
        product_flops: Floating-point operations per second of Gram products, ``N n²`` being those of one.
        solver_seconds: By the number of rows, ascending: how long the eigenvalues of a symmetric matrix and a fit take.
        slowdown: How much longer matrix-vector products take, per number, beyond the caches than at the last of these sizes.
        read_seconds: To read a number of a weight from its file and to widen it.
        core_share: Share of a core that each worker had; the rest went to other programs.
    """

    product_flops: float
    solver_seconds: tuple[tuple[int, float], ...]
    slowdown: float = 1.0
    read_seconds: float = 0.0
    core_share: float = 1.0

    def solver(self, n: int) -> float:
        """Return how long the eigenvalues of a matrix take: by the power law between the sizes measured, cubic beyond.

        Args:
            n: Number of rows.

        Returns:
            Seconds.
        """
        (low, fast), (high, slow) = self.solver_seconds
        if n <= low:
            return fast * (n / low) ** 2  # small ones are mostly overhead
        if n < high:
            return float(np.exp(np.interp(np.log(n), np.log([low, high]), np.log([fast, slow]))))
        ratio = n / high
        # The reduction to tridiagonal form works on ever smaller matrices; the last of them fit into the cache.
        waiting = _MATRIX_VECTOR_SHARE * (self.slowdown - 1.0) * (1.0 - ratio**-3)
        return slow * ratio**3 * (1.0 + waiting)


def measure_rates(jobs: Sequence[WeightMatrices], *, workers: int, precision: str, budget: int) -> MachineRates:
    """Measure the rates that matter to some weights.

    Args:
        jobs: The weights. A sample of them is read, at places drawn anew each time: where an earlier look has read, the file
            is in memory.
        workers: As many threads measure at once, but no more than there are weights.
        precision: Arithmetic of the products.
        budget: Bytes that they may take together; the first of them takes up to 100 MB whatever it is.

    Returns:
        The rates.
    """
    threads = min(workers, len(jobs))
    largest = max((min(job.num_rows, job.num_cols) for job in jobs), default=1)
    sizes = (_SMALL, _LARGE) if largest > _LARGE // 2 else (_SMALL // 2, _SMALL)
    need = 8 * max(3 * sizes[-1] ** 2, _BEYOND_CACHES**2 if largest > _LARGE else 0)
    measure = partial(_arithmetic, sizes=sizes, precision=precision, beyond=largest > _LARGE)
    started = time.perf_counter()
    run = local.run(measure, range(threads), cost=float, workers=threads, need=lambda _: need, budget=max(budget, need))
    found = [result for _, result in run]
    wall = (time.perf_counter() - started) * min(threads, max(1, budget // need))
    points = tuple((size, mean(seconds[place] for _, seconds, _, _ in found)) for place, size in enumerate(sizes))
    core_share = min(1.0, sum(cpu for _, _, _, cpu in found) / wall)
    return MachineRates(
        product_flops=mean(rate for rate, _, _, _ in found),
        solver_seconds=points,
        slowdown=mean(slowdown for _, _, slowdown, _ in found),
        read_seconds=_reading(jobs, threads, core_share),
        core_share=core_share,
    )


def _arithmetic(seed: int, *, sizes: tuple[int, int], precision: str, beyond: bool) -> tuple[float, list[float], float, float]:
    """Return the rate of a product, the seconds of the solver at each size, the slowdown, and the time of all that."""
    began = time.thread_time()
    small, large = sizes
    weight = np.random.default_rng(seed).standard_normal((large, large), dtype=np.float32)
    in_precision = weight.astype(precision, copy=False)
    product = min(_seconds(lambda: in_precision.T @ in_precision) for _ in range(2))  # the first one warms up
    gram = (weight.T @ weight).astype(np.float64)
    solver = [_seconds(lambda: _solve(gram[:small, :small]), _REPEATS_OF_SMALL), _seconds(lambda: _solve(gram))]
    slowdown = max(1.0, _per_number(np.ones((_BEYOND_CACHES, _BEYOND_CACHES))) / _per_number(gram)) if beyond else 1.0
    return large**3 / product, solver, slowdown, time.thread_time() - began


def _solve(gram: FloatArray) -> None:
    fit_power_law(np.linalg.eigvalsh(gram))


def _per_number(matrix: FloatArray) -> float:
    vector = np.ones(len(matrix))
    return _seconds(lambda: matrix @ vector, _REPEATS_OF_VECTOR) / matrix.size


def _reading(jobs: Sequence[WeightMatrices], threads: int, core_share: float) -> float:
    """Return the seconds per number of the largest weights; of unpacked ones some rows would take as long as all."""
    plain = [job for job in jobs if not job.tensor.quantized and not (job.tensor.unreadable or job.tensor.no_base)]
    largest = sorted(plain, key=lambda job: job.tensor.size, reverse=True)[:threads]
    read = partial(_read, core_share=core_share)
    found = [seconds for _, seconds in local.run(read, largest, cost=lambda _: 0.0, workers=threads) if seconds]
    return mean(found) if found else 0.0


def _read(job: WeightMatrices, core_share: float) -> float:
    tensor = job.tensor
    per_row = max(1, tensor.size // max(1, tensor.shape[0]))
    rows = min(tensor.shape[0], max(1, _SAMPLE_NUMBERS // per_row))
    start = int(np.random.default_rng().integers(tensor.shape[0] - rows + 1))
    began, began_on_core = time.perf_counter(), time.thread_time()
    try:
        tensor.read(start, start + rows).astype(np.float64, copy=False)
    except MATRIX_ERRORS:  # the analysis will say so of this weight
        return 0.0
    # Waiting for the disk counts; waiting for a core, as far as is known, does not.
    seconds = max(time.thread_time() - began_on_core, core_share * (time.perf_counter() - began))
    return seconds / max(1, rows * per_row)


def _seconds(function: Callable[[], object], repeats: int = 1) -> float:
    """Return the time of a call on this thread's core; waiting for the memory counts, waiting for the core does not."""
    start = time.thread_time()
    for _ in range(repeats):
        function()
    return (time.thread_time() - start) / repeats
