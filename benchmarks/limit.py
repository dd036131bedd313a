"""``limit``: the analysis of the GPT-2 shape beside the time that its floating-point operations take at the least.

The limit is the work of exact eigenvalues in float64, ``m n²`` for the Gram matrix plus ``4/3 n³`` for the tridiagonal
form, ``m ≥ n`` the sides of each matrix, at the rate of large products on as many cores as the analysis uses, measured
before each analysis. Reading, converting, the fit and workers waiting for each other make the ratio larger than 1, and so
does the half of the tridiagonal form that consists of matrix-vector products.

Both are timed in one child process, ``python -m benchmarks.limit FOLDER REPEATS``, with one BLAS thread per worker.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import models
from benchmarks.measure import CORES, median, run_module, say
from benchmarks.table import Comparison

if TYPE_CHECKING:
    from spectra.esd.eigenvalues import FloatArray
    from spectra.results.report import Report

BAR, STRETCH = 1.8, 1.4
_PRODUCT_SIZE = 2048
_PRODUCTS = 3  # per round; the best counts
_BLOCK_BYTES = 32 * 2**20  # as the analysis reads


def run(repeats: int, temporary: Path) -> tuple[list[Comparison], list[str]]:
    """Measure the analysis and the limit.

    Args:
        repeats: Rounds.
        temporary: For the model that is built.

    Returns:
        One row, and where the time goes, in words.
    """
    folder = models.gpt2_folder(temporary)
    say("limit: analysis and products in turns")
    result = run_module("benchmarks.limit", str(folder), str(repeats)).output
    rates = [rate / 1e9 for rate in result["rates"]]
    row = Comparison(
        "GPT-2 shape, default profile: analysis over limit",
        f"limit at {median(rates):.0f} Gflop/s",
        "s",
        tuple(result["seconds"]),
        tuple(result["flops"] / 1e9 / rate for rate in rates),
        BAR,
        ratio_of="spectra/peer",
    )
    return [row], [
        f"limit: stretch {STRETCH}; products ran at {min(rates):.0f} to {max(rates):.0f} Gflop/s on {CORES} cores",
        f"limit: by hand, in CPU time of one thread: {_shares(result['pieces'])}; with one worker: {result['alone']:.2f} s",
    ]


def _shares(pieces: dict[str, float]) -> str:
    total = sum(pieces.values())
    return ", ".join(f"{name} {100 * seconds / total:.1f} %" for name, seconds in pieces.items()) + f" of {total:.2f} s"


def _flops(report: Report) -> float:
    work = 0.0
    for layer in report.layers:
        small, large = sorted((layer.num_rows, layer.num_cols))
        work += layer.num_matrices * (large * small**2 + 4 / 3 * small**3)
    return work


def _product_rate(pool: ThreadPoolExecutor, factors: list[FloatArray]) -> float:
    """Multiply on all cores at once, one product each: floating-point operations per second, best of some."""
    import numpy as np

    products = [np.empty_like(factor) for factor in factors]
    seconds = []
    for _ in range(_PRODUCTS):
        start = time.perf_counter()
        list(pool.map(lambda factor, product: np.matmul(factor, factor, out=product), factors, products))
        seconds.append(time.perf_counter() - start)
    return CORES * 2 * _PRODUCT_SIZE**3 / min(seconds)


def _pieces(folder: str, report: Report) -> dict[str, float]:
    """Do the main work of an analysis by hand, one piece after the other, in seconds of CPU time."""
    import numpy as np

    import spectra
    from spectra.sources import open_source

    seconds = dict.fromkeys(("reading", "to float64", "Gram", "eigenvalues", "fit"), 0.0)

    def timed(piece: str, function: Callable[..., Any], *arguments: Any) -> Any:
        start = time.process_time()
        result = function(*arguments)
        seconds[piece] += time.process_time() - start
        return result

    tensors = {tensor.name: tensor for tensor in open_source(folder).tensors}
    for layer in report.layers:
        tensor = tensors[f"{layer.layer_name}.weight"]
        rows, cols = tensor.shape
        small = min(rows, cols)
        step = _BLOCK_BYTES // (8 * cols) if rows >= cols else rows  # wide matrices are read whole
        gram = np.zeros((small, small))
        for first in range(0, rows, step):
            stored = timed("reading", tensor.read, first, min(first + step, rows))
            block = timed("to float64", np.asarray, stored, np.float64)
            factor = block if rows >= cols else block.T
            gram += timed("Gram", np.matmul, factor.T, factor)
        values = timed("eigenvalues", np.linalg.eigvalsh, gram)
        timed("fit", spectra.fit_power_law, values)

    return seconds


def _main() -> None:
    import numpy as np

    import spectra

    folder, repeats = sys.argv[1], int(sys.argv[2])
    factors = [np.random.default_rng(seed).standard_normal((_PRODUCT_SIZE, _PRODUCT_SIZE)) for seed in range(CORES)]
    seconds, rates = [], []
    with ThreadPoolExecutor(CORES) as pool:
        report = spectra.analyze(folder, workers=CORES)  # brings the file into the page cache
        for _ in range(repeats):
            rates.append(_product_rate(pool, factors))
            start = time.perf_counter()
            spectra.analyze(folder, workers=CORES)
            seconds.append(time.perf_counter() - start)
    pieces = _pieces(folder, report)
    before = time.process_time()
    spectra.analyze(folder, workers=1)
    alone = time.process_time() - before
    print(json.dumps({"flops": _flops(report), "rates": rates, "seconds": seconds, "pieces": pieces, "alone": alone}))


if __name__ == "__main__":
    _main()
