"""``fit``: the power-law fit alone, beside WeightWatcher's and powerlaw's.

Two samples of each size: a spectrum (the quantiles of a Marchenko–Pastur bulk, as rigid as eigenvalues are, and a Pareto
tail that grows out of it) and a pure Pareto sample, the hardest case for the search. powerlaw runs once per sample: it
takes seconds where Spectra takes milliseconds.

Everything is timed in one child process, ``python -m benchmarks.fit REPEATS``.
"""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from benchmarks.answers import require_equal
from benchmarks.measure import run_module, say
from benchmarks.table import Comparison

if TYPE_CHECKING:
    from spectra.esd.eigenvalues import FloatArray

SPECTRA, WEIGHTWATCHER, POWERLAW = "Spectra", "WeightWatcher", "powerlaw"
_SPECTRUM, _PARETO = "bulk and tail", "pure Pareto"
_SIZES = (1024, 4096, 8192)
_BARS = {
    (_SPECTRUM, 8192, WEIGHTWATCHER): 20.0,
    (_SPECTRUM, 8192, POWERLAW): 500.0,
    (_PARETO, 8192, WEIGHTWATCHER): 10.0,
}
_COLUMNS = ("alpha", "xmin", "ks_distance")
_CALLS_PER_SAMPLE = 5  # of the fast one, whose single call may be under a millisecond

Answer = dict[str, float]


def run(repeats: int) -> list[Comparison]:
    """Measure all samples.

    Args:
        repeats: Rounds of Spectra and WeightWatcher.

    Returns:
        The rows.
    """
    say("fit: all sizes, powerlaw included (half a minute)")
    cases = run_module("benchmarks.fit", str(repeats)).output
    for case in cases:
        ours = case["answers"].pop(SPECTRA)
        for peer, theirs in case["answers"].items():
            where = f"fit, {case['kind']}, n = {case['size']}, {peer}"
            require_equal({"fit": ours}, {"fit": theirs}, _COLUMNS, where=where)
    return [
        Comparison(
            f"fit: {case['kind']}, n = {case['size']}",
            peer,
            "ms",
            tuple(1e3 * seconds for seconds in case["seconds"][SPECTRA]),
            tuple(1e3 * seconds for seconds in case["seconds"][peer]),
            _BARS.get((case["kind"], case["size"], peer)),
        )
        for case in cases
        for peer in case["answers"]
    ]


def _fit_spectra(values: FloatArray) -> Answer:
    import spectra

    fit = spectra.fit_power_law(values)
    return {"alpha": fit.alpha, "xmin": fit.xmin, "ks_distance": fit.ks_distance}


def _fit_weightwatcher(values: FloatArray) -> Answer:
    from weightwatcher.WW_powerlaw import WWFit

    fit = WWFit(values)
    return {"alpha": float(fit.alpha), "xmin": float(fit.xmin), "ks_distance": float(fit.D)}


def _fit_powerlaw(values: FloatArray) -> Answer:
    import powerlaw

    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        fit = powerlaw.Fit(values, parameter_ranges={"alpha": [1.0, None]})  # its default range ends at 3
        return {"alpha": float(fit.power_law.alpha), "xmin": float(fit.xmin), "ks_distance": float(fit.power_law.D)}


def _spectrum(size: int) -> FloatArray:
    """Nine tenths of the values: a Marchenko–Pastur bulk of aspect ratio 4; one tenth: a tail of exponent 3."""
    import numpy as np

    low, high = (1 - 0.5) ** 2, (1 + 0.5) ** 2
    grid = np.linspace(low, high, 20_001)
    density = np.sqrt((high - grid) * (grid - low)) / grid
    probability = np.cumsum(density)
    num_bulk = size - size // 10
    bulk = np.interp((np.arange(num_bulk) + 0.5) / num_bulk, probability / probability[-1], grid)
    tail = 0.7 * high * np.random.default_rng(size).random(size // 10) ** (-1 / 2)
    return np.sort(np.concatenate([bulk, tail]))


def _pareto(size: int) -> FloatArray:
    """Exponent 2.5."""
    import numpy as np

    return np.sort(np.random.default_rng(size).random(size) ** (-1 / 1.5))


def _timed(function: Callable[[FloatArray], Answer], values: FloatArray, calls: int = 1) -> tuple[Answer, float]:
    start = time.perf_counter()
    for _ in range(calls):
        answer = function(values)
    return answer, (time.perf_counter() - start) / calls


def _measure(kind: str, size: int, repeats: int) -> dict[str, Any]:
    values = _spectrum(size) if kind == _SPECTRUM else _pareto(size)
    answers = {SPECTRA: _fit_spectra(values), WEIGHTWATCHER: _fit_weightwatcher(values)}
    answers[POWERLAW], once = _timed(_fit_powerlaw, values)
    seconds: dict[str, list[float]] = {SPECTRA: [], WEIGHTWATCHER: [], POWERLAW: [once]}
    for _ in range(repeats):
        seconds[SPECTRA].append(_timed(_fit_spectra, values, _CALLS_PER_SAMPLE)[1])
        seconds[WEIGHTWATCHER].append(_timed(_fit_weightwatcher, values)[1])
    return {"kind": kind, "size": size, "answers": answers, "seconds": seconds}


def _main() -> None:
    repeats = int(sys.argv[1])
    with contextlib.redirect_stdout(io.StringIO()):
        import powerlaw  # noqa: F401
        import weightwatcher  # noqa: F401

        cases = [_measure(kind, size, repeats) for kind in (_SPECTRUM, _PARETO) for size in _SIZES]
    print(json.dumps(cases))


if __name__ == "__main__":
    _main()
