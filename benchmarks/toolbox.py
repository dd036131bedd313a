"""``toolbox``: the demo model with Marchenko-Pastur fit and randomised spectra, beside WeightWatcher's.

What both define alike (the fit) must be equal first. The bulk's scale is Spectra's quantile estimator, one random order
per matrix on both sides: WeightWatcher's own estimator is what takes its time, and is blind on square matrices.
"""

from __future__ import annotations

import json

from benchmarks import models
from benchmarks.measure import Sample, run_module, say
from benchmarks.table import Comparison
from benchmarks.whole_model import analysis_seconds, check_answers, peer_name

_OURS = {"mp_fit": True, "randomize": True, "mp_method": "quantile", "tw_level": 0.99}
_THEIRS = {"mp_fit": True, "randomize": True}
_MOST_ROUNDS = 3  # the peer takes a minute or two each time


def run(repeats: int) -> list[Comparison]:
    """Measure the demo model.

    Args:
        repeats: Rounds of Spectra's; the peer runs at most three times, with one BLAS thread (its time goes into kernel
            density estimates, which have none).

    Returns:
        The rows.
    """
    folder = models.demo_folder()
    models.read_once(folder)
    ours: list[Sample] = []
    theirs: list[Sample] = []
    for number in range(repeats):
        say(f"toolbox: round {number + 1} of {repeats}")
        ours.append(run_module("benchmarks.spectra_analysis", str(folder), "weightwatcher", json.dumps(_OURS)))
        if number < _MOST_ROUNDS:
            theirs.append(run_module("benchmarks.weightwatcher_analysis", str(folder), json.dumps(_THEIRS)))
        if number == 0:
            check_answers("toolbox", ours[0], theirs[0])
    return [
        Comparison(
            "demo model: analysis call, mp_fit and randomize",
            peer_name(1),
            "s",
            tuple(analysis_seconds(ours)),
            tuple(analysis_seconds(theirs)),
            50,
        )
    ]
