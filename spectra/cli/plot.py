"""``spectra plot DIR FIGURE``: a figure of a saved report."""

from __future__ import annotations

from pathlib import Path

import click

from spectra.errors import InputError, did_you_mean

FIGURES = ("esd", "alpha-by-depth")
FORMATS = ("png", "pdf", "svg")


_EXAMPLES = """\b
Examples:
  spectra plot report alpha-by-depth
  spectra plot report esd --layer encoder.layer.0.attention.self.query --format pdf"""


@click.command(epilog=_EXAMPLES)
@click.argument("folder", metavar="DIR", type=click.Path(path_type=Path))
@click.argument("figure", metavar="FIGURE")
@click.option("--layer", metavar="NAME", help="For esd: which layer.  [default: the worst reliable fit]")
@click.option("--format", "formats", default=",".join(FORMATS), metavar="F,F", show_default=True, help="png, pdf and svg.")
@click.option("--output", type=click.Path(path_type=Path), metavar="DIR", help="Where to write.  [default: DIR/figures]")
@click.option("--wide", is_flag=True, help="Text width (6.75 in) instead of one column (3.25 in).")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def plot(folder: Path, figure: str, *, layer: str | None, formats: str, output: Path | None, wide: bool, debug: bool) -> int:
    """Draw a figure of a report, ready for a paper.

    DIR is the result folder of 'spectra analyze MODEL --output DIR'. FIGURE is one of:

    \b
    esd             density of one layer's eigenvalues with the fitted tail
    alpha-by-depth  alpha of every layer along the model, by kind of layer
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
        click.echo(path)
    return 0
