"""The peer of ``truncated``: run by an interpreter with powerlaw 1.5, samples as JSON on stdin, answers on stdout."""

from __future__ import annotations

import contextlib
import io
import json
import sys
import time
import warnings
from typing import Any


def _fit(name: str, values: Any) -> tuple[Any, float]:
    import powerlaw

    if name.startswith("at"):
        fit = powerlaw.Fit(values)  # not timed: it finds xmin
        begin = time.perf_counter()
        return fit.truncated_power_law, time.perf_counter() - begin
    begin = time.perf_counter()
    law = "truncated_power_law" if name.startswith("xmin") else "power_law"
    return powerlaw.Fit(values, xmin_distribution=law).truncated_power_law, time.perf_counter() - begin


def _main() -> None:
    import numpy as np

    warnings.simplefilter("ignore")
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        _fit("at", np.geomspace(1.0, 10.0, 20))  # imports happen at the first fit
    found = {}
    for name, values in json.load(sys.stdin).items():
        with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
            law, seconds = _fit(name, np.array(values))
        found[name] = {"seconds": seconds, "log_likelihood": float(law.loglikelihood)}
    print(json.dumps(found))


if __name__ == "__main__":
    _main()
