"""``spectra surface MODEL --data FILE --fisher FISHER -o FILE.npz``: the loss around a model's weights."""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import Any

import click

from spectra.cli.interrupted import keeping
from spectra.cli.model_and_data import ModelAndData, ModelAndDataCommand, memory_in_words, prepare, with_model_and_data
from spectra.cli.progress import progress_bar
from spectra.errors import ResultsError

_EXAMPLES = """\b
Examples:
  spectra fisher ./bert --data texts.txt --samples 500 -o fisher.safetensors
  spectra surface ./bert --data texts.txt --samples 64 --fisher fisher.safetensors -o surface.npz
  spectra plot surface.npz loss-surface"""


class _SurfaceCommand(ModelAndDataCommand):
    option_groups = {  # noqa: RUF012 - a constant
        **ModelAndDataCommand.option_groups,
        **dict.fromkeys(("fisher", "regions", "points", "radius", "level", "norm_matched", "vectors"), "Surface"),
    }


@click.command(cls=_SurfaceCommand, epilog=_EXAMPLES)
@click.argument("model")
@with_model_and_data
@click.option(
    "--fisher",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE",
    help="What 'spectra fisher MODEL -o FILE' wrote.",
)
@click.option(
    "--regions",
    default="whole,top,bottom",
    metavar="R,R",
    show_default=True,
    help="What moves: all, or the half that scores high or low.",
)
@click.option(
    "--level",
    type=click.Choice(["tensor", "parameter"]),
    default="tensor",
    metavar="L",
    show_default=True,
    help="What is divided into halves: tensor or parameter.",
)
@click.option("--points", type=int, default=17, metavar="N", show_default=True, help="Along one side of the grid: odd.")
@click.option("--radius", type=float, default=1.5, metavar="X", show_default=True, help="Of the grid, in norms of the weights.")
@click.option("--norm-matched/--no-norm-matched", default=True, show_default=True, help="Move all regions equally far.")
@click.option("--vectors/--no-vectors", default=True, show_default=True, help="Move biases and norms too.")
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    required=True,
    metavar="FILE.npz",
    help="Result; the same command continues a run.",
)
@click.option("--force", is_flag=True, help="Replace a finished surface of that name.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no hints.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def surface(
    model: str,
    *,
    fisher: Path,
    regions: str,
    level: str,
    points: int,
    radius: float,
    norm_matched: bool,
    vectors: bool,
    output: Path,
    force: bool,
    quiet: bool,
    debug: bool,
    **flags: Any,
) -> int:
    """Measure the loss over two random directions around the weights.

    MODEL is a folder that transformers or peft wrote, a hub id, or 'demo'. The directions are shared by the whole model, the
    half of it with the highest Fisher information, and the half with the lowest. Every point is one pass over the texts: take
    few (--samples).
    """
    _make_room(output, force=force)
    from spectra.fisher.surface import loss_surface
    from spectra.results.fisher_store import load_fisher

    scores = load_fisher(fisher)
    given = ModelAndData(**flags)
    with (
        keeping("The points so far", output),
        progress_bar("points", hidden=quiet or not sys.stderr.isatty()) as advance,
        memory_in_words(),
    ):
        prepared = prepare(model, dataclasses.replace(given, task=given.task or scores.info.task))
        result = loss_surface(
            prepared.model,
            prepared.batches,
            scores,
            regions=[name.strip() for name in regions.split(",")],
            num_points=points,
            radius=radius,
            level=level,
            norm_matched=norm_matched,
            include_vectors=vectors,
            seed=given.seed,
            task=prepared.task,
            state=output,
            progress=lambda progress: advance(progress.num_done, progress.num_points),
        )
    for note in prepared.notes:
        print(f"{note}\n")
    print(result)
    if not quiet:
        print(f"Result in '{output}' and its .json. Next: spectra plot {output} loss-surface", file=sys.stderr)
    return 0


def _make_room(output: Path, *, force: bool) -> None:
    """Leave an unfinished surface to be continued, and a finished one alone unless it is to be replaced."""
    from spectra.results.surface import load_surface, surface_path

    file = surface_path(output)
    if not file.exists() or not load_surface(file).is_complete:
        return
    if not force:
        raise ResultsError(f"'{file}' exists. Choose another name, or replace it with --force.")
    file.unlink()
