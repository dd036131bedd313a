"""``spectra merge DIR...``: the shards of an analysis, made one result."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path

import click

_EXAMPLES = """\b
Examples:
  spectra merge report
  spectra merge report --output whole
  spectra merge from-machine-0 from-machine-1 --output whole --copies"""


@click.command(epilog=_EXAMPLES)
@click.argument("folders", metavar="DIR...", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output", "-o", type=click.Path(path_type=Path), metavar="OUT", help="Result folder.  [default: DIR, if there is one]"
)
@click.option("--force", is_flag=True, help="Write into OUT whatever it holds.")
@click.option(
    "--copies",
    is_flag=True,
    help="The shards are of copies of the model's files, which have other times of modification.",
)
@click.option("--quiet", "-q", is_flag=True, help="No hints.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def merge(folders: tuple[Path, ...], *, output: Path | None, force: bool, copies: bool, quiet: bool, debug: bool) -> int:
    """Merge the shards of 'spectra analyze MODEL --output DIR --shard I/N' into the result of one run.

    The result is the same as without shards, but for times and machines. The model is not read, and the shards are kept; delete
    'DIR/shards' when you have no more use for them.
    """
    from spectra.diagnose.merge import merge as run

    report = run(folders, output=output, force=force, copies=copies)
    click.echo(str(report))
    if not quiet:
        where = output if output is not None else folders[0]
        print(f"Results in '{where}'. Next: spectra report {shlex.quote(str(where))} --open", file=sys.stderr)
    return 1 if report.summary.num_failed else 0
