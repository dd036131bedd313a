"""``truncated``: power laws with a cutoff, beside powerlaw 1.5 (WeightWatcher's TPL and E_TPL; powerlaw 2 breaks them).

Two versions of powerlaw cannot live in one environment: the peer runs in an interpreter of its own,
``benchmarks/truncated_powerlaw.py``. Three tasks on the same samples, quantiles thinned so that no random numbers differ:

=========================  ==========================================================================
the law at a known xmin    the optimiser alone
from a spectrum            with the search for the plain power law's xmin before it
xmin searched for the law  one law per candidate; small samples, since the peer takes half a minute at 384
=========================  ==========================================================================

The peer runs each once, Spectra in rounds; both are checked to have found the same maximum, or ours a higher one.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import venv
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks.answers import AnswersDifferError
from benchmarks.measure import ROOT, ChildError, run_module, say
from benchmarks.table import Comparison

if TYPE_CHECKING:
    from spectra.esd.eigenvalues import FloatArray

PEER = "powerlaw 1.5"
# Tasks: whether the sample is small, and the bar.
TASKS: dict[str, tuple[tuple[int, ...], float | None]] = {
    "at a known xmin": ((384, 1536), None),
    "from a spectrum": ((384, 1536), 100.0),
    "xmin searched for it": ((96, 192), 100.0),
}
_CALLS_PER_SAMPLE = 10
# Both maxima are sums of as many terms as there are values; Nelder and Mead stop early, never late.
_LOG_LIKELIHOOD_SLACK = 1e-6


def run(repeats: int, powerlaw15: str | None) -> list[Comparison]:
    """Measure all tasks.

    Args:
        repeats: Rounds of Spectra.
        powerlaw15: An interpreter with powerlaw 1.5; ``None``: one is made in the cache folder at the first run.

    Returns:
        The rows.

    Raises:
        AnswersDifferError: The peer found a higher likelihood.
    """
    say("truncated: three tasks, powerlaw 1.5 included (half a minute)")
    ours = run_module("benchmarks.truncated", str(repeats)).output
    theirs = _run_peer(powerlaw15 or _own_interpreter())
    rows = []
    for name, case in ours.items():
        peer = theirs[name]
        if case["log_likelihood"] is not None and case["log_likelihood"] < peer["log_likelihood"] - _LOG_LIKELIHOOD_SLACK:
            found = f"{case['log_likelihood']!r}, the peer's {peer['log_likelihood']!r}"
            raise AnswersDifferError(f"truncated, {name}: log-likelihood {found}.")
        milliseconds = tuple(1e3 * seconds for seconds in case["seconds"])
        bar = TASKS[name.split(", n = ")[0]][1]
        rows.append(Comparison(f"truncated: {name}", PEER, "ms", milliseconds, (1e3 * peer["seconds"],), bar))
    return rows


def sample(size: int) -> FloatArray:
    """A bulk, and a tenth of the values from a power law of exponent 2 with a cutoff at 30 times its start.

    Args:
        size: Number of values.

    Returns:
        Ascending.
    """
    import numpy as np

    grid = np.geomspace(1.0, 1000.0, 20_001)
    density = grid**-1.0 * np.exp(-grid / 30.0)  # per logarithm
    probability = np.cumsum(density)
    num_tail = size // 10
    tail = np.interp((np.arange(num_tail) + 0.5) / num_tail, probability / probability[-1], grid)
    return np.concatenate([np.linspace(0.05, 0.99, size - num_tail), tail])


def _own_interpreter() -> str:
    cache = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "spectra-benchmarks" / "powerlaw15"
    python = cache / ("Scripts" if os.name == "nt" else "bin") / "python"
    if not python.exists():
        say(f"installing powerlaw 1.5 into {cache}")
        venv.create(cache, with_pip=True)
        command = [str(python), "-m", "pip", "install", "--quiet", "powerlaw==1.5", "numpy"]
        if subprocess.run(command, check=False).returncode:
            raise ChildError(f"{' '.join(command)} failed. Name an interpreter that has powerlaw 1.5 with --powerlaw15.")
    return str(python)


def _run_peer(python: str) -> dict[str, Any]:
    samples = {name: list(map(float, values)) for name, values in _cases()}
    script = ROOT / "benchmarks" / "truncated_powerlaw.py"
    done = subprocess.run([python, str(script)], input=json.dumps(samples), capture_output=True, text=True, check=False)
    if done.returncode:
        raise ChildError(f"{python} {script}: exit code {done.returncode}\n{done.stderr[-2000:]}")
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def _cases() -> list[tuple[str, FloatArray]]:
    return [(f"{task}, n = {size}", sample(size)) for task, (sizes, _) in TASKS.items() for size in sizes]


def _measure(name: str, values: FloatArray, repeats: int) -> dict[str, Any]:
    from spectra.esd.power_law import fit_power_law
    from spectra.esd.truncated_power_law import fit_truncated_power_law

    is_search = name.startswith("xmin")
    start = fit_power_law(values).xmin if name.startswith("at") else "ks"
    fit = fit_truncated_power_law(values, start, search_xmin=is_search)
    seconds = []
    for _ in range(repeats):
        begin = time.perf_counter()
        for _ in range(_CALLS_PER_SAMPLE):
            fit_truncated_power_law(values, start, search_xmin=is_search)
        seconds.append((time.perf_counter() - begin) / _CALLS_PER_SAMPLE)
    # Of a searched xmin the distance is the smallest, not the likelihood the largest.
    return {"seconds": seconds, "log_likelihood": None if is_search else fit.log_likelihood}


def _main() -> None:
    repeats = int(sys.argv[1])
    print(json.dumps({name: _measure(name, values, repeats) for name, values in _cases()}))


if __name__ == "__main__":
    _main()
