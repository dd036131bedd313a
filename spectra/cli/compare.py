"""``spectra compare A B [C ...]``: what changed between models, matrix by matrix; ``--over-time`` along a training run."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import click

from spectra.cli.console import print_table
from spectra.cli.flag_words import flags_of, in_flags
from spectra.cli.progress import kept_work
from spectra.cli.run_flags import check_forms, number_of_workers, with_run_flags, with_speech_flags
from spectra.cli.setting_flags import GroupedCommand, with_setting_flags
from spectra.errors import InputError, SpectraError

if TYPE_CHECKING:
    from rich.console import Console

    from spectra.results.comparison import Comparison
    from spectra.results.settings import SettingsChanges

_ROWS, _ROWS_OF_EACH = 20, 5  # of one model, as in the table of an analysis; of each of several

_EXAMPLES = """\b
Examples:
  spectra prune demo --sparsity 0.1 -o pruned
  spectra compare demo pruned -o compared
  spectra plot compared compare
  spectra compare ./original ./fine-tuned ./adapter
  spectra compare --over-time runs/first -o over-time
  spectra plot over-time trajectory --metric relative_change"""


class CompareCommand(GroupedCommand):
    """The command, whose mistakes are told in the words of its flags."""

    def invoke(self, ctx: click.Context) -> Any:
        """Run it.

        Args:
            ctx: Its flags.

        Returns:
            The exit code.

        Raises:
            SpectraError: Its own, in other words.
        """
        try:
            return super().invoke(ctx)
        except SpectraError as error:
            error.args = (in_flags(str(error), flags_of(ctx)), *error.args[1:])
            raise


@click.command(cls=CompareCommand, epilog=_EXAMPLES)
@click.argument("models", metavar="BASE MODEL...", nargs=-1, required=True)
@click.option("--over-time", is_flag=True, help="The models are checkpoints of one run, or a folder that holds some.")
@click.option("--base", metavar="MODEL", help="What the others are compared with.  [default: the first]")
@click.option(
    "--directions",
    type=int,
    default=10,
    metavar="K",
    show_default=True,
    help="Leading singular vectors that are compared, and looked through for intruders.",
)
@click.option(
    "--intruder-threshold",
    type=float,
    default=0.5,
    metavar="X",
    show_default=True,
    help="A singular vector is an intruder if no cosine to one of the base's reaches X.",
)
@click.option("--dry-run", is_flag=True, help="List what would be compared; read no weights.")
@with_run_flags
@click.option("--json", "as_json", is_flag=True, help="Print the whole comparison as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print a row for each matrix and model as CSV, all columns.")
@click.option(
    "--rows",
    type=click.IntRange(min=0),
    metavar="N",
    help=f"Matrices of each model in the table.  [default: {_ROWS}; of several models {_ROWS_OF_EACH}]",
)
@with_speech_flags
@with_setting_flags
def compare(
    models: tuple[str, ...],
    *,
    over_time: bool,
    base: str | None,
    directions: int,
    intruder_threshold: float,
    dry_run: bool,
    profile: str,
    device: str,
    workers: str,
    max_memory: str | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    as_csv: bool,
    rows: int | None,
    quiet: bool,
    no_color: bool,
    debug: bool,
    **settings: Any,
) -> int:
    """Tell what changed between models, matrix by matrix.

    BASE and each MODEL are a checkpoint folder or file, an adapter folder, a hub id, 'demo', or the result folder of 'spectra
    analyze', whose metrics are compared without weights. With --over-time they are checkpoints of a training run in order of
    their steps, or its folder.
    """
    check_forms(as_json=as_json, as_csv=as_csv, dry_run=dry_run)
    num_workers = number_of_workers(workers)
    chosen = _models(models, base, over_time=over_time)
    if dry_run:
        from spectra.cli.compare_dry_run import compare_dry_run
        from spectra.cli.dry_run import Where

        here = Where(device, num_workers, max_memory)
        return compare_dry_run(chosen, profile, settings, where=here, directions=directions, as_json=as_json, no_color=no_color)

    from spectra.diagnose.compare import compare as run

    with kept_work("matrices", output, force=force, hidden=quiet or not sys.stderr.isatty()) as progress:
        comparison = run(
            chosen[0],
            *chosen[1:],
            over_time=over_time,
            directions=directions,
            intruder_threshold=intruder_threshold,
            profile=profile,
            device=device,
            workers=num_workers,
            max_memory=max_memory,
            output=output,
            force=force,
            progress=progress,
            **cast("SettingsChanges", settings),
        )
    _print(comparison, as_json=as_json, as_csv=as_csv, rows=rows, no_color=no_color)
    if not quiet and not (as_json or as_csv):
        print(_next_step(comparison, output), file=sys.stderr)
    return 1 if comparison.num_failed else 0


def _models(given: tuple[str, ...], base: str | None, *, over_time: bool) -> list[str]:
    """Return the base and the models, checkpoints in order."""
    models = list(given)
    if over_time:
        from spectra.sources.training_checkpoints import checkpoints_in_order

        models = checkpoints_in_order(models)
    models = [base, *models] if base is not None else models
    if len(models) < 2:
        what = "--over-time needs two checkpoints" if over_time else "a comparison needs two models"
        raise InputError(f"{what}, and there is one: '{models[0]}'. Give another, or the base with --base MODEL.")
    return models


def _print(comparison: Comparison, *, as_json: bool, as_csv: bool, rows: int | None, no_color: bool) -> None:
    if as_json:
        import json

        # ASCII: valid whatever the encoding of stdout
        print(json.dumps(comparison.to_dict(), indent=1, allow_nan=False))
    elif as_csv:
        print_table(comparison.to_csv())
    else:
        from spectra.cli.console import console

        _print_words(comparison, console(no_color=no_color), rows)


def _print_words(comparison: Comparison, out: Console, rows: int | None) -> None:
    from spectra.report.comparison_table import comparison_table, models_table
    from spectra.report.table import skipped_lines
    from spectra.results.comparison_conclusion import conclusion
    from spectra.results.records import LayerStatus
    from spectra.results.words import counted

    words = str(comparison).splitlines()  # a line for each model
    if len(words) > 1:
        what = "checkpoint" if comparison.over_time else "model"
        number = f"{len(comparison.matrix_names)} matrices" if len(comparison.matrix_names) > 1 else "1 matrix"
        out.print(f"{counted(len(words), what)} against '{comparison.base.name}', {number}\n", markup=False)
        out.print(models_table(comparison, width=out.width))
    # Of a run the last checkpoint: what the others say is on its way there.
    shown = [*zip(comparison.models, words, strict=True)][-1 if comparison.over_time else 0 :]
    max_rows = rows if rows is not None else _ROWS if len(shown) == 1 else _ROWS_OF_EACH
    for model, line in shown:
        out.print(f"\n{line}" if len(words) > 1 else line, markup=False)
        moved = comparison.of(model.name)
        if any(row.status != LayerStatus.UNCHANGED for row in moved):
            out.print()
            out.print(comparison_table(moved, width=out.width, max_rows=max_rows))
    if comparison.skipped:
        out.print("\nSkipped:", markup=False)
        for line in skipped_lines(comparison.skipped):
            out.print(f"  {line}", markup=False)
    for note in (*comparison.notes, *(note for model in comparison.models for note in model.notes)):
        out.print(f"\n{note}", markup=False)
    out.print(f"\n{conclusion(comparison)}", markup=False)


def _next_step(comparison: Comparison, output: Path | None) -> str:
    if output is None:
        return "All columns: --csv or --json. Keep the result and make figures of it: --output DIR"
    if comparison.is_identical:
        return f"Results in '{output}'."
    figure = "trajectory --metric relative_change" if comparison.over_time else "compare"
    return f"Results in '{output}'. Next: spectra plot {output} {figure}; spectra report {output} --open"
