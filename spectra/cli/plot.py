"""``spectra plot SOURCE FIGURE``: draw one of the figures of ``plot_figures.py``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click

from spectra.cli.plot_figures import FIGURES, PlotFigure, takers
from spectra.cli.plot_sources import SOURCES
from spectra.errors import InputError, did_you_mean

FORMATS = ("png", "pdf", "svg")

_EXAMPLES = """\b
Examples:
  spectra plot report alpha-by-depth
  spectra plot report esd --layer encoder.layer.0.attention.self.query --format pdf
  spectra plot report esd-grid --layers '*.query' --wide
  spectra plot models.csv metric-scatter --metric alpha_weighted
  spectra plot compared compare --model fine-tuned
  spectra plot over-time trajectory --metric relative_change
  spectra plot fisher.safetensors fisher-by-layer --aggregate mean_of_means
  spectra plot report fisher-vs-alpha --fisher fisher.safetensors
  spectra plot surface.npz loss-surface --wide
  spectra plot plan.yaml plan
  spectra plot run/sample_weights.safetensors sample-weights
  spectra plot own-words.jsonl selection
  spectra plot own-words.shift.json data-shift
  spectra plot tempbalance.jsonl tempbalance-trajectory
  spectra plot runs/first losses -o losses.png"""


def _help() -> str:
    name, word = max(map(len, FIGURES)), max(len(kind.word) for kind in SOURCES)
    lines = [f"{f.name:{name}}  {f.source.word:{word}}  {f.shows}" for f in FIGURES.values()]
    sources = [f"{kind.word:{word}}  {kind.origin}" for kind in SOURCES]
    return "\n\n".join(
        [
            "Draw a figure of a result, ready for a paper.",
            "FIGURE is one of these, and SOURCE is what it is drawn from:",
            "\n".join(["\b", *lines]),
            "\n".join(["\b", *sources]),
        ]
    )


def _for(option: str, does: str) -> str:
    """Begin the help of an option with the figures that take it."""
    return f"For {' and '.join(takers(option))}: {does}"


@click.command(help=_help(), epilog=_EXAMPLES)
@click.argument("source", metavar="SOURCE", type=click.Path(path_type=Path))
@click.argument("figure", metavar="FIGURE")
@click.option("--layer", metavar="NAME", help=_for("layer", "which layer.  [default: the worst reliable fit]"))
@click.option(
    "--layers",
    multiple=True,
    metavar="GLOB",
    help=_for("layers", "which layers; repeatable.  [default: some of each kind]"),
)
@click.option(
    "--metric",
    metavar="M",
    help=_for("metric", "a column of the layers, or for trajectory one of the change, too.  [default: alpha]"),
)
@click.option(
    "--model", metavar="NAME", help=_for("model", "which model, matrix by matrix.  [default: all, by medians of blocks]")
)
@click.option("--fisher", type=click.Path(path_type=Path), metavar="FILE", help=_for("fisher", "the model's Fisher."))
@click.option(
    "--aggregate",
    metavar="A",
    help=_for(
        "aggregate",
        "how a layer's parameters become one score: param_mean, mean_of_means, trace, matrices_mean or relative.  [default: "
        "that of the file]",
    ),
)
@click.option("--format", "formats", default=",".join(FORMATS), metavar="F,F", show_default=True, help="png, pdf and svg.")
@click.option(
    "-o",
    "--output",
    type=click.Path(path_type=Path),
    metavar="PATH",
    help="Where to write: a folder, or a file of one of the formats.  [default: 'figures' in the folder, or beside the file]",
)
@click.option("--wide", is_flag=True, help="Text width (6.75 in) instead of one column (3.25 in).")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def plot(source: Path, figure: str, *, formats: str, output: Path | None, wide: bool, debug: bool, **options: Any) -> int:
    """Draw a figure of a result; the help is made from the table of figures."""
    if figure not in FIGURES:
        raise InputError(f"unknown figure '{figure}'.{did_you_mean(figure, tuple(FIGURES))} Known: {', '.join(FIGURES)}.")
    wanted = [name.strip() for name in formats.split(",")]
    wrong = [name for name in wanted if name not in FORMATS]
    if wrong:
        raise InputError(f"unknown format '{wrong[0]}'. Known: {', '.join(FORMATS)}.")
    chosen = FIGURES[figure]
    source = chosen.source.find(source)
    chosen.source.check(figure, source)
    given = {name: value for name, value in options.items() if value not in (None, ())}
    _check_options(chosen, given)

    from spectra.report.figures import write

    drawn, stem = chosen.draw(source, wide=wide, **given)
    folder = output or (source if source.is_dir() else source.parent) / "figures"
    if output is not None and output.suffix[1:] in FORMATS:
        folder, stem, wanted = output.parent, output.stem, [output.suffix[1:]]
    for path in write(drawn, folder, stem, wanted):
        click.echo(path)
    return 0


def _check_options(figure: PlotFigure, given: dict[str, Any]) -> None:
    for name in given:
        if name not in figure.options:
            raise InputError(f"'{figure.name}' has no --{name}: that is for {' and '.join(takers(name))}.")
