"""``spectra collect DIR...``: one table of many analyses, in a file or on the terminal."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from pathlib import Path

import click

from spectra.printable import printable

_EXAMPLES = """\b
Examples:
  spectra collect zoo
  spectra collect zoo -o zoo.parquet
  spectra collect zoo/resnet* other-report -o layers.csv
  spectra collect zoo -o models.parquet --summary"""


@click.command(epilog=_EXAMPLES)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE",
    help="*.parquet, *.feather or *.csv.  [default: a line for each model, here]",
)
@click.option("--summary", is_flag=True, help="A row for each model: counts, and means of its metrics.")
@click.option("--force", is_flag=True, help="Replace FILE.")
@click.option("--quiet", "-q", is_flag=True, help="No hints.")
@click.option("--no-color", is_flag=True, help="No colour; NO_COLOR does the same.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def collect(
    folders: tuple[Path, ...], *, output: Path | None, summary: bool, force: bool, quiet: bool, no_color: bool, debug: bool
) -> int:
    """Put the layers of many analyses into one table: a row for each layer, after columns that say which model it is from.

    DIR is a result folder of 'spectra analyze MODEL --output DIR', or a folder of such folders. One that is unfinished or
    damaged is named and left out, and the exit code is 1.
    """
    left_out: list[Path] = []

    def leave_out(folder: Path, error: Exception) -> None:
        left_out.append(folder)
        print(printable(f"spectra: left out: {error}"), file=sys.stderr)

    if output is None:
        settings = _print(folders, leave_out, no_color=no_color)
    else:
        settings = _write(folders, output, leave_out, summary=summary, force=force)
    if not quiet and len(settings) > 1:
        print(
            "The models were analysed with different settings: compare those with equal 'profile' and 'settings'.",
            file=sys.stderr,
        )
    if not quiet and output is None:
        print("All columns of all layers: -o layers.parquet or -o layers.csv", file=sys.stderr)
    return 1 if left_out else 0


def _print(folders: Iterable[Path], left_out: Callable[[Path, Exception], None], *, no_color: bool) -> set[tuple[str, str]]:
    from spectra.cli.console import console
    from spectra.report.fleet_table import fleet_table
    from spectra.results.collection import collect_summaries
    from spectra.results.fleet import FleetModel

    found = collect_summaries(folders, left_out=left_out)
    out = console(no_color=no_color)
    out.print(fleet_table([FleetModel(run.run, run.location, summary=of_run) for run, of_run in found], width=out.width))
    return {(run.profile, run.settings) for run, _ in found}


def _write(
    folders: Iterable[Path], output: Path, left_out: Callable[[Path, Exception], None], *, summary: bool, force: bool
) -> set[tuple[str, str]]:
    from spectra.results.collection import collect as run
    from spectra.results.table_file import check_table_file, write_table
    from spectra.results.words import counted

    check_table_file(output, force=force)
    frame = run(folders, summary=summary, left_out=left_out)
    write_table(frame, output, force=force)
    num_models = frame["folder"].nunique()
    rows = counted(num_models, "model") if summary else f"{counted(len(frame), 'layer')} of {counted(num_models, 'model')}"
    click.echo(f"{rows} in '{output}'")
    return set(zip(frame["profile"], frame["settings"], strict=True))
