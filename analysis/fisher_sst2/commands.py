"""What a user types: the figures and surfaces of this study, by the command line."""

from __future__ import annotations

import itertools
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import spectra
from analysis.fisher_sst2.orderings import short, summary

DATA = ["--text-column", "sentence", "--label-column", "label"]
SETTINGS = {"published": ["--no-norm-matched", "--no-vectors"], "matched": [], "matched and near": ["--radius", "0.2"]}
NUM_TEXTS, POINTS = 24, 9
RINGS = (0.0, 0.2, 7 / 15, 11 / 15, 1.0, float("inf"))  # of the radius: 0.3, 0.7, 1.1 and 1.5 of the published one


def run(*arguments: str | Path) -> str:
    """Run one command and return what it prints."""
    words = [sys.executable, "-m", "spectra", *map(str, arguments)]
    return subprocess.run(words, check=True, capture_output=True, text=True).stdout  # noqa: S603 - our own command


def measure(classifier: Path, data: Path, folder: Path) -> None:
    """Measure the Fisher of one half of the sentences, and the spectra of the demo model."""
    run("fisher", classifier, "--data", data, *DATA, "-o", folder / "fisher.safetensors", "--quiet")
    run("analyze", "demo", "--output", folder / "report")


def surface(classifier: Path, data: Path, folder: Path, setting: str, seed: int) -> spectra.LossSurface:
    """Measure the loss around the weights; the seed chooses texts and directions."""
    file = surface_file(folder, setting, seed)
    grid = ["--samples", NUM_TEXTS, "--points", POINTS, "--seed", seed]
    given = ["--fisher", folder / "fisher.safetensors", "-o", file, "--quiet"]
    run("surface", classifier, "--data", data, *DATA, *map(str, grid), *given, *SETTINGS[setting])
    return spectra.load_surface(file)


def surface_file(folder: Path, setting: str, seed: int) -> Path:
    """Name the file of a surface."""
    return folder / f"surface-{setting.replace(' ', '-')}-{seed}.npz"


def draw(folder: Path, images: Path) -> None:
    """Draw every figure, and keep the images under names of this study."""
    png = ["--format", "png", "--wide", "--output", folder / "drawn"]
    for aggregate in ("param_mean", "mean_of_means"):
        of = ["--aggregate", aggregate, *png]
        _kept(run("plot", folder / "fisher.safetensors", "fisher-by-layer", *of), images / f"fisher-by-layer-{aggregate}.png")
    against = ["--fisher", folder / "fisher.safetensors", *png]
    _kept(run("plot", folder / "report", "fisher-vs-alpha", *against), images / "fisher-vs-alpha.png")
    for setting in SETTINGS:
        drawn = run("plot", surface_file(folder, setting, 0), "loss-surface", *png)
        _kept(drawn, images / f"loss-surface-{setting.replace(' ', '-')}.png")


def described(surfaces: dict[str, list[spectra.LossSurface]]) -> dict[str, Any]:
    """Say for every setting and region how far it moves and how the loss rises, over the seeds."""
    return {
        setting: {
            "center": summary(one.center_loss for one in group),
            **{region.name: _region(group, region.name) for region in group[0].regions},
        }
        for setting, group in surfaces.items()
    }


def _region(group: list[spectra.LossSurface], name: str) -> dict[str, Any]:
    info = group[0].info
    facts = next(region for region in group[0].regions if region.name == name)
    edges = [info.radius * share for share in RINGS]
    rings = zip(*(one.ring_means(name, edges) for one in group), strict=True)
    titles = [f"{inner:.2g} to {outer:.2g}" for inner, outer in itertools.pairwise(edges)]
    return {
        "tensors": facts.num_tensors,
        "share of parameters": short(facts.num_params / info.num_params),
        "relative norm": short(facts.relative_norm),
        "mean loss by radius": dict(zip(titles, map(summary, rings), strict=True)),
    }


def _kept(printed: str, image: Path) -> None:
    image.parent.mkdir(exist_ok=True)
    shutil.copy(printed.strip(), image)
