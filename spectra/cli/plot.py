"""``spectra plot DIR FIGURE``: a figure of a saved report."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from spectra.errors import InputError, did_you_mean

FIGURES = {
    "esd": "log-log density of one layer's eigenvalues with the fitted tail",
    "alpha-by-depth": "alpha of every layer along the model, by kind of layer",
}
FORMATS = ("png", "pdf", "svg")


def plot(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Result folder of 'spectra analyze --output DIR'.")],
    figure: Annotated[str, typer.Argument(metavar="FIGURE", help="One of: " + ", ".join(FIGURES) + ".")],
    layer: Annotated[
        str | None, typer.Option(metavar="NAME", help="For esd: which layer.  [default: the worst reliable fit]")
    ] = None,
    formats: Annotated[str, typer.Option("--format", metavar="F,F", help="png, pdf and svg.")] = ",".join(FORMATS),
    output: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to write.  [default: DIR/figures]")] = None,
    wide: Annotated[bool, typer.Option("--wide", help="Text width (6.75 in) instead of one column (3.25 in).")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an internal error.")] = False,
) -> int:
    """Draw a figure of a report, ready for a paper.

    spectra plot report alpha-by-depth

    spectra plot report esd --layer encoder.layer.0.attention.self.query --format pdf
    """
    if figure not in FIGURES:
        raise InputError(f"unknown figure '{figure}'.{did_you_mean(figure, FIGURES)} Known: {', '.join(FIGURES)}.")
    wanted = [name.strip() for name in formats.split(",")]
    wrong = [name for name in wanted if name not in FORMATS]
    if wrong:
        raise InputError(f"unknown format '{wrong[0]}'. Known: {', '.join(FORMATS)}.")

    from spectra.report import figures
    from spectra.results.store import load

    report = load(folder)
    if figure == "esd":
        name = layer or figures.default_layer(report)
        drawn, stem = figures.esd(report, name, wide=wide), f"esd-{name}"
    else:
        drawn, stem = figures.alpha_by_depth(report, wide=wide), figure
    target = output or folder / "figures"
    for path in figures.write(drawn, target, stem, wanted):
        typer.echo(path)
    return 0
