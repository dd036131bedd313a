"""``cache``: an analysis whose rows are all in the cache, beside the first one, on the demo model and one of GPT-2's shape.

Beside it what the first one pays for digesting its weights. One call of each kind per round, in turns in a child process,
``python -m benchmarks.cache FOLDER``; the reports must be equal.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from benchmarks import models
from benchmarks.answers import AnswersDifferError
from benchmarks.measure import run_module, say
from benchmarks.table import Comparison

if TYPE_CHECKING:
    from spectra.results.report import Report


def run(repeats: int, temporary: Path) -> list[Comparison]:
    """Measure both models.

    Args:
        repeats: Rounds.
        temporary: For the model that is built.

    Returns:
        The rows.
    """
    demo = _compare("demo model", models.demo_folder(), repeats)
    return demo + _compare("GPT-2 shape", models.gpt2_folder(temporary), repeats)


def _compare(name: str, folder: Path, repeats: int) -> list[Comparison]:
    models.read_once(folder)
    rounds: list[dict[str, Any]] = []
    for number in range(repeats):
        say(f"cache, {name}: round {number + 1} of {repeats}")
        rounds.append(run_module("benchmarks.cache", str(folder)).output)
        if rounds[-1]["different"]:
            raise AnswersDifferError(f"cache, {name}: the report is another one: {', '.join(rounds[-1]['different'])}.")
    without, first, second = (tuple(found[kind] for found in rounds) for kind in ("without", "first", "second"))
    return [
        Comparison(f"{name}: second analysis with a cache", "the first one", "s", second, first, 10),
        Comparison(f"{name}: first analysis with a cache", "without", "s", first, without, ratio_of="spectra/peer"),
    ]


def main() -> None:
    """Analyse three times, print seconds."""
    import numpy as np

    import spectra

    folder = sys.argv[1]
    seconds: dict[str, float] = {}
    reports: dict[str, Report] = {}
    spectra.analyze({"a.weight": np.ones((20, 10))})  # imports
    with tempfile.TemporaryDirectory(prefix="spectra-benchmarks-") as cache:
        for kind in ("without", "first", "second"):
            start = time.perf_counter()
            reports[kind] = spectra.analyze(folder, cache=None if kind == "without" else cache)
            seconds[kind] = time.perf_counter() - start
    different = [kind for kind in ("first", "second") if not _are_equal(reports[kind], reports["without"])]
    print(json.dumps({**seconds, "different": different}))


def _are_equal(report: Report, other: Report) -> bool:
    spectra_are = all(values.tobytes() == other.spectra[name].tobytes() for name, values in report.spectra.items())
    return spectra_are and {**report.to_dict(), "environment": 0} == {**other.to_dict(), "environment": 0}


if __name__ == "__main__":
    main()
