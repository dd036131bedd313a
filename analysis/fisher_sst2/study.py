"""Measure the Fisher information of a real model on real sentences: how stable the order of its layers is, and what sets it.

    python -m analysis.fisher_sst2.study --data-dir DATA --models MODELS

``DATA`` holds ``glue/SST-2/`` and ``dolly/`` (or is named by ``SPECTRA_DATA_DIR``), ``MODELS`` holds ``stories260K/``; the demo
model comes with the package. Writes ``results.json``, the images and the tables of ``README.md`` in this folder, and what was
measured on the way into ``--work`` (default: nowhere). Everything is seeded; two processes.
"""

from __future__ import annotations

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")  # before torch: two processes on two cores

import argparse
import itertools
import json
import re
import sys
import tempfile
import time
from collections.abc import Mapping
from concurrent.futures import Executor, ProcessPoolExecutor
from dataclasses import dataclass
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import spectra
from analysis.fisher_sst2 import commands, orderings, sentences, stories
from analysis.fisher_sst2.classifier import train
from analysis.fisher_sst2.figure import draw
from analysis.fisher_sst2.measurements import SIZES, measured, merged
from analysis.fisher_sst2.orderings import summary
from analysis.fisher_sst2.tables import update

HERE = Path(__file__).parent
SEEDS = (0, 1, 2)
KINDS = {"empirical": SEEDS, "sampled": SEEDS, "exact": (0,)}  # the exact Fisher costs half as much again: one head

Key = tuple[str, int, int]  # kind, seed, half
Fishers = Mapping[Key, Mapping[int, spectra.Fisher]]


def stability(fishers: Fishers, kind: str) -> dict[str, Any]:
    """Compare the two halves of each seed."""
    return orderings.agreements([_halves(fishers, kind, seed) for seed in KINDS[kind]])


def between_kinds(both: Mapping[tuple[str, int], spectra.Fisher]) -> dict[str, Any]:
    """Compare the kinds on the same sentences."""
    return {
        f"{one} and {other}": orderings.agreements(
            [(both[one, seed], both[other, seed]) for seed in SEEDS if (other, seed) in both]
        )
        for one, other in itertools.combinations(KINDS, 2)
    }


def convergence(fishers: Fishers) -> dict[str, Any]:
    """Compare few sentences of one half with all of the other half, the exact Fisher there, and give the standard errors."""
    return {kind: {str(size): _at_size(fishers, kind, size) for size in SIZES} for kind in KINDS}


def _at_size(fishers: Fishers, kind: str, size: int) -> dict[str, Any]:
    pairs = [(fishers[kind, 0, half][size], fishers["exact", 0, 1 - half][SIZES[-1]]) for half in (0, 1)]
    few = [fishers[kind, seed, half][size] for seed in KINDS[kind] for half in (0, 1)]
    return {
        "with the exact of the other half": {
            how: {level: found["mean"] for level, found in levels.items()}
            for how, levels in orderings.agreements(pairs).items()
        },
        "median relative standard error": summary(map(orderings.median_relative_error, few))["mean"],
    }


def against_alpha(both: Mapping[tuple[str, int], spectra.Fisher]) -> dict[str, Any]:
    """Correlate layer scores with the exponents of the spectra of the published weights."""
    from spectra.report.figures import pair_layers

    pairs = pair_layers(both["empirical", 0], spectra.analyze("demo"))
    alphas = {
        "all": {pair.layer_name: pair.alpha for pair in pairs},
        "good fits": {pair.layer_name: pair.alpha for pair in pairs if not pair.is_doubtful},
        "in the blocks": {pair.layer_name: pair.alpha for pair in pairs if ".layer." in pair.layer_name},
    }
    found: dict[str, Any] = {}
    for kind, seeds in KINDS.items():
        of_kind = {how: [orderings.scores(both[kind, seed], "layer", how) for seed in seeds] for how in orderings.AGGREGATES}
        found[kind] = {
            which: {
                "layers": sum(name in of_kind["trace"][0] for name in chosen),
                **{how: summary(orderings.agreement(of, chosen) for of in of_seeds) for how, of_seeds in of_kind.items()},
            }
            for which, chosen in alphas.items()
        }
        by_role = orderings.by_role(alphas["in the blocks"])
        found[kind]["in the blocks, role by role"] = {
            "layers": len(alphas["in the blocks"]),
            **{
                how: summary(sum(orderings.agreement(of, chosen) for chosen in by_role) / len(by_role) for of in of_seeds)
                for how, of_seeds in of_kind.items()
            },
        }
    return found


def totals(both: Mapping[tuple[str, int], spectra.Fisher]) -> dict[str, Any]:
    """Give the whole trace and where it lies."""
    return {kind: _totals([both[kind, seed] for seed in KINDS[kind]]) for kind in KINDS}


def _totals(fishers: list[spectra.Fisher]) -> dict[str, Any]:
    parts = {"embeddings": "bert.embeddings.", "blocks": "bert.encoder.", "pooler": "bert.pooler.", "classifier": "classifier."}
    traces = [
        {name: sum(t.trace for t in fisher.tensors if t.name.startswith(p)) for name, p in parts.items()} for fisher in fishers
    ]
    return {
        "trace": summary(sum(of.values()) for of in traces),
        **{f"share in {name}": summary(of[name] / sum(of.values()) for of in traces) for name in parts},
    }


@dataclass(frozen=True)
class Measured:
    """Everything that takes long.

    Attributes:
        sentences: How many there are of which kind.
        heads: How good each classifier is.
        fishers: By kind, seed and half; by number of sentences.
        seconds: Of a process, for each.
        surfaces: By setting, one for each seed.
        stories: What the second model gave.
    """

    sentences: dict[str, int]
    heads: list[dict[str, Any]]
    fishers: Fishers
    seconds: Mapping[Key, float]
    surfaces: dict[str, list[spectra.LossSurface]]
    stories: dict[str, Any]


def measure(data: Path, models: Path, work: Path, pool: Executor) -> Measured:
    """Train the heads, measure the Fishers and surfaces, and draw what the command line draws."""
    rows = sentences.read(data / "glue" / "SST-2" / "train.tsv")
    dev = sentences.read(data / "glue" / "SST-2" / "dev.tsv")
    whole = sentences.whole_sentences(rows)
    splits = {seed: sentences.split(whole, seed) for seed in SEEDS}
    folders = {seed: work / f"classifier-{seed}" for seed in SEEDS}
    heads = list(pool.map(train, [splits[s].head for s in SEEDS], itertools.repeat(dev), SEEDS, folders.values()))

    file = work / "sentences.tsv"
    sentences.write(file, splits[0].halves[0])
    pool.submit(commands.measure, folders[0], file, work).result()
    surfaces = {
        setting: [pool.submit(commands.surface, folders[0], file, work, setting, seed) for seed in SEEDS]
        for setting in commands.SETTINGS
    }
    fishers = {
        (kind, seed, half): pool.submit(measured, folders[seed], splits[seed].halves[half], kind, 1000 * seed + 100 * half)
        for kind, seeds in KINDS.items()
        for seed in seeds
        for half in (0, 1)
    }
    of_stories = pool.submit(stories.study, models / "stories260K", data / "dolly" / "train.json", 0).result()
    pool.submit(commands.draw, work, HERE).result()
    return Measured(
        {"rows": len(rows), "whole": len(whole), "in each half": sentences.PER_HALF, "for the head": len(splits[0].head)},
        heads,
        {key: future.result()[0] for key, future in fishers.items()},
        {key: future.result()[1] for key, future in fishers.items()},
        {setting: [future.result() for future in futures] for setting, futures in surfaces.items()},
        of_stories,
    )


def results_of(found: Measured) -> dict[str, Any]:
    """Compare everything with everything."""
    both = {(kind, seed): merged(_halves(found.fishers, kind, seed)) for kind, seeds in KINDS.items() for seed in seeds}
    return {
        "sentences": found.sentences,
        "heads": found.heads,
        "cpu seconds per half": {
            kind: summary(s for key, s in found.seconds.items() if key[0] == kind)["mean"] for kind in KINDS
        },
        "traces": totals(both),
        "two halves": {kind: stability(found.fishers, kind) for kind in KINDS},
        "two kinds": between_kinds(both),
        "two heads": {
            kind: orderings.agreements([(both[kind, a], both[kind, b]) for a, b in itertools.combinations(seeds, 2)])
            for kind, seeds in KINDS.items()
            if len(seeds) > 1
        },
        "site types": {kind: orderings.site_types([both[kind, seed] for seed in seeds]) for kind, seeds in KINDS.items()},
        "site types without norms": {
            kind: orderings.site_types([orderings.without_norms(both[kind, seed]) for seed in seeds])
            for kind, seeds in KINDS.items()
        },
        "shares of mean_of_means": {kind: orderings.shares(both[kind, 0]) for kind in KINDS},
        "convergence": convergence(found.fishers),
        "alpha": against_alpha(both),
        "surfaces": commands.described(found.surfaces),
        "stories260K": found.stories,
    }


def main(argv: list[str] | None = None) -> int:
    """Run the study."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-dir", type=Path, default=os.environ.get("SPECTRA_DATA_DIR"))
    parser.add_argument("--models", type=Path, required=True)
    parser.add_argument("--work", type=Path, help="keep classifiers, sentences, Fishers and surfaces here")
    given = parser.parse_args(argv)
    if given.data_dir is None:
        parser.error("say where the data are: --data-dir, or the environment variable SPECTRA_DATA_DIR")
    started = time.perf_counter()
    with tempfile.TemporaryDirectory() as nowhere, ProcessPoolExecutor(2, get_context("spawn")) as pool:
        work = given.work or Path(nowhere)
        work.mkdir(parents=True, exist_ok=True)
        found = measure(Path(given.data_dir), given.models, work, pool)
    results = results_of(found)
    (HERE / "results.json").write_text(_compact(results) + "\n", encoding="utf-8")
    draw(results, HERE / "orderings.png")
    update(HERE / "README.md", results)
    sys.stderr.write(f"done after {time.perf_counter() - started:.0f} s\n")
    return 0


def _halves(fishers: Fishers, kind: str, seed: int) -> tuple[spectra.Fisher, spectra.Fisher]:
    return fishers[kind, seed, 0][SIZES[-1]], fishers[kind, seed, 1][SIZES[-1]]


def _compact(content: Any) -> str:
    """Write JSON with the innermost objects and lists on one line each."""
    text = json.dumps(content, indent=1, ensure_ascii=False)
    for innermost in (r"\[[^][{}]*\]", r"\{[^{}]*\}"):
        text = re.sub(innermost, lambda match: re.sub(r"\s+", " ", match.group()), text)
    return text


if __name__ == "__main__":
    sys.exit(main())
