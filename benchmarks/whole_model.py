"""``whole``: two models from file to answers, beside WeightWatcher.

The answers of the first round are compared before there is a second.

WeightWatcher runs with one and with two BLAS threads, and whichever has the better median counts. One that is clearly
slower after two rounds is left out of the others: on a busy machine two threads may take ten times as long as one.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks import models
from benchmarks.answers import require_equal
from benchmarks.measure import CORES, Sample, median, run_module, say
from benchmarks.table import Comparison

# Spectra's column → WeightWatcher's.
COLUMNS = {
    "alpha": "alpha",
    "xmin": "xmin",
    "ks_distance": "D",
    "alpha_std_error": "sigma",
    "num_tail": "num_pl_spikes",
    "stable_rank": "stable_rank",
    "lambda_max": "lambda_max",
}
_ROUNDS_OF_BOTH = 2
_CLEARLY_SLOWER = 1.25


def run(repeats: int, temporary: Path) -> list[Comparison]:
    """Measure both models.

    Args:
        repeats: Rounds.
        temporary: For the model that is built.

    Returns:
        The rows.
    """
    demo = _compare("demo model", models.demo_folder(), repeats, command_bar=10, analysis_bar=4)
    gpt2 = _compare("GPT-2 shape", models.gpt2_folder(temporary), repeats, command_bar=8, analysis_bar=5)
    return demo + gpt2


def _compare(name: str, folder: Path, repeats: int, *, command_bar: float, analysis_bar: float) -> list[Comparison]:
    models.read_once(folder)
    commands: list[Sample] = []
    analyses: list[Sample] = []
    peers: dict[int, list[Sample]] = {threads: [] for threads in range(1, CORES + 1)}
    for number in range(repeats):
        say(f"{name}: round {number + 1} of {repeats}")
        commands.append(_command(folder))
        analyses.append(_analysis(folder))
        for threads in _still_in(peers, number):
            peers[threads].append(_weightwatcher(folder, threads))
            if number == 0:  # before anything is concluded or repeated
                check_answers(name, commands[0], peers[threads][0])
    threads = min(peers, key=lambda t: median([sample.seconds for sample in peers[t]]))
    best_analysis = min(peers, key=lambda t: median(analysis_seconds(peers[t])))
    return [
        Comparison(
            f"{name}: command, start to exit",
            peer_name(threads),
            "s",
            tuple(sample.seconds for sample in commands),
            tuple(sample.seconds for sample in peers[threads]),
            command_bar,
        ),
        Comparison(
            f"{name}: analysis call",
            peer_name(best_analysis),
            "s",
            tuple(analysis_seconds(analyses)),
            tuple(analysis_seconds(peers[best_analysis])),
            analysis_bar,
        ),
        Comparison(
            f"{name}: peak memory",
            peer_name(threads),
            "MiB",
            tuple(sample.peak_mib for sample in commands),
            tuple(sample.peak_mib for sample in peers[threads]),
            5,
        ),
    ]


def _still_in(peers: Mapping[int, list[Sample]], number: int) -> list[int]:
    if number < _ROUNDS_OF_BOTH:
        return list(peers)
    best = {threads: min(sample.seconds for sample in samples) for threads, samples in peers.items()}
    return [threads for threads in peers if best[threads] <= _CLEARLY_SLOWER * min(best.values())]


def _command(folder: Path) -> Sample:
    return run_module("spectra", "analyze", str(folder), "--json", "--profile", "weightwatcher")


def _analysis(folder: Path) -> Sample:
    return run_module("benchmarks.spectra_analysis", str(folder), "weightwatcher")


def _weightwatcher(folder: Path, threads: int) -> Sample:
    return run_module("benchmarks.weightwatcher_analysis", str(folder), threads=threads)


def analysis_seconds(samples: list[Sample]) -> list[float]:
    """Return the times of the analysis calls alone."""
    return [float(sample.output["analysis_seconds"]) for sample in samples]


def peer_name(threads: int) -> str:
    """Return WeightWatcher's name in the table."""
    return f"WeightWatcher, {threads} BLAS thread{'s' if threads > 1 else ''}"


def check_answers(name: str, ours: Sample, theirs: Sample) -> None:
    """Require the columns of ``COLUMNS`` to be equal, layer by layer.

    Args:
        name: Of the case, for the message.
        ours: A run of Spectra's.
        theirs: A run of WeightWatcher's.
    """
    require_equal(
        {str(row["layer_name"]): row for row in ours.output["layers"]},
        {str(row["longname"]): _renamed(row) for row in theirs.output["layers"]},
        list(COLUMNS),
        where=name,
    )


def _renamed(row: Mapping[str, Any]) -> dict[str, Any]:
    return {ours: row[theirs] for ours, theirs in COLUMNS.items()}
