"""``spectra collect DIR... -o table.parquet``: one table of many analyses."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from spectra.printable import printable

_EXAMPLES = """\b
Examples:
  spectra collect zoo -o zoo.parquet
  spectra collect zoo/resnet* other-report -o layers.csv
  spectra collect zoo -o models.parquet --summary"""


@click.command(epilog=_EXAMPLES)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", required=True, type=click.Path(path_type=Path), metavar="FILE", help="*.parquet, *.feather or *.csv."
)
@click.option("--summary", is_flag=True, help="A row for each model: counts, and means of its metrics.")
@click.option("--force", is_flag=True, help="Replace FILE.")
@click.option("--quiet", "-q", is_flag=True, help="No hints.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def collect(folders: tuple[Path, ...], *, output: Path, summary: bool, force: bool, quiet: bool, debug: bool) -> int:
    """Put the layers of many analyses into one table: a row for each layer, after columns that say which model it is from.

    DIR is a result folder of 'spectra analyze MODEL --output DIR', or a folder of such folders. One that is unfinished or
    damaged is named and left out, and the exit code is 1.
    """
    from spectra.results.collection import collect as run
    from spectra.results.table_file import check_table_file, write_table
    from spectra.results.words import counted

    check_table_file(output, force=force)
    left_out: list[Path] = []

    def leave_out(folder: Path, error: Exception) -> None:
        left_out.append(folder)
        print(printable(f"spectra: left out: {error}"), file=sys.stderr)

    frame = run(folders, summary=summary, left_out=leave_out)
    write_table(frame, output, force=force)
    num_models = frame["folder"].nunique()
    rows = counted(num_models, "model") if summary else f"{counted(len(frame), 'layer')} of {counted(num_models, 'model')}"
    click.echo(f"{rows} in '{output}'")
    if not quiet and len(frame[["profile", "settings"]].drop_duplicates()) > 1:
        print(
            "The models were analysed with different settings: compare those with equal 'profile' and 'settings'.",
            file=sys.stderr,
        )
    return 1 if left_out else 0
