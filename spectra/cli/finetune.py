"""``spectra finetune RECIPE``: fine-tune a model as a recipe says, with diagnostics at work and recorded."""

from __future__ import annotations

import json
import os
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectra.cli.interrupted import ended
from spectra.cli.setting_flags import GroupedCommand
from spectra.errors import InputError, SpectraError

if TYPE_CHECKING:
    from spectra.results.run_record import RunRecord
    from spectra.training.recipe import Draft, Recipe

_DONE, _USAGE = 0, 2  # as spectra.cli.main says
_LOOKING, _OUTPUT = "Look before it runs", "Output"

_EXAMPLES = """\b
Examples:
  spectra finetune small-tempbalance
  spectra finetune small-all --set seed=1 -o runs/all-1
  spectra finetune mine.yaml --set method=dcs --dry-run
  accelerate launch -m spectra finetune mine.yaml

The same command goes on with a run that stopped, and shows the results of one that is finished.

\b
The shortest recipe:
  model: demo
  data: {train: train.csv, text_column: text, label_column: label}
  output: runs/first
"""


class FinetuneCommand(GroupedCommand):
    """A run that is interrupted says how it goes on."""

    option_groups = {  # noqa: RUF012 - a constant
        "list_recipes": _LOOKING,
        "print_config": _LOOKING,
        "dry_run": _LOOKING,
        "quiet": _OUTPUT,
        "no_color": _OUTPUT,
        "debug": _OUTPUT,
    }

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command.

        Args:
            ctx: Its flags.

        Returns:
            What it returns.

        Raises:
            Exit: Ctrl-C.
        """
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt as interrupt:
            raise ended(interrupt, _afterwards(ctx.params), speaks=_speaks()) from None


@click.command(cls=FinetuneCommand, epilog=_EXAMPLES, no_args_is_help=True)
@click.argument("recipe", metavar="RECIPE", required=False)
@click.option(
    "--set", "changes", multiple=True, metavar="KEY=VALUE", help="Change an option: training.learning_rate=1e-4. Repeatable."
)
@click.option("--output", "-o", type=click.Path(path_type=Path), metavar="DIR", help="Run folder, in place of the recipe's.")
@click.option("--force", is_flag=True, help="Start over, and replace a run that is in the folder.")
@click.option("--list", "list_recipes", is_flag=True, help="List the recipes that come with Spectra.")
@click.option("--print-config", is_flag=True, help="Print the whole recipe, with the source of each default.")
@click.option("--dry-run", is_flag=True, help="Show steps, rates by layer, memory and files; train and write nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no hints.")
@click.option("--no-color", is_flag=True, help="No colour; NO_COLOR does the same.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def finetune(
    recipe: str | None,
    *,
    changes: tuple[str, ...],
    output: Path | None,
    force: bool,
    list_recipes: bool,
    print_config: bool,
    dry_run: bool,
    quiet: bool,
    no_color: bool,
    debug: bool,
) -> int:
    """Fine-tune a model as a recipe says.

    RECIPE is a YAML file, or the name of a recipe that comes with Spectra (--list): a model, data, a method (plain, dcs, sdft
    or meta_peft), an adapter, diagnostics (tempbalance, alphadecay, guided_dropout) and options of training. All faults of a
    recipe are named at once, before anything is downloaded or trained.
    """
    if list_recipes:
        return _list(no_color=no_color)
    if recipe is None:
        raise InputError("say which recipe: a YAML file, or one of --list.")
    if print_config:
        from spectra.training.recipe import recipe_text

        print(recipe_text(_checked(recipe, changes, output, lambda draft: draft.faults)), end="")
        return _DONE
    if dry_run:
        return _preview(_checked(recipe, changes, output, _all_faults), force=force, no_color=no_color)
    faults = _all_faults if force else _faults_of_unfinished
    return _run(_checked(recipe, changes, output, faults), force=force, quiet=quiet)


def _list(*, no_color: bool) -> int:
    from textwrap import fill

    from spectra.cli.console import console
    from spectra.recipes import described

    recipes, out = described(), console(no_color=no_color)
    width = max(map(len, recipes)) + 2
    for name, purpose in recipes.items():  # no table of rich's: it fills lines up with blanks
        lines = fill(
            purpose, out.width, initial_indent=f"{name:{width}}", subsequent_indent=" " * width, break_on_hyphens=False
        )
        out.print(lines, highlight=False, markup=False)
    return _DONE


def _checked(name: str, changes: Sequence[str], output: Path | None, faults_of: Callable[[Draft], Sequence[str]]) -> Recipe:
    """Return the recipe, or say all that is wrong with it; one process of several speaks."""
    from spectra.recipes import recipe_path
    from spectra.training.recipe import draft_recipe

    elsewhere = () if output is None else (f"output={json.dumps(str(output))}",)  # JSON: the value is read as YAML
    try:
        draft = draft_recipe(recipe_path(name), (*changes, *elsewhere))
        faults = faults_of(draft)
        if faults or draft.recipe is None:
            count = "a fault" if len(faults) == 1 else f"{len(faults)} faults"
            raise InputError("\n  ".join((f"'{name}' has {count}:", *faults)))
    except SpectraError:
        if _speaks():
            raise
        raise click.exceptions.Exit(_USAGE) from None
    return draft.recipe


def _all_faults(draft: Draft) -> Sequence[str]:
    from spectra.training.recipe.checking.checks import faults

    return faults(draft)


def _faults_of_unfinished(draft: Draft) -> Sequence[str]:
    """Let results be shown whose data are gone."""
    from spectra.training.recipe.run.run_folder import is_finished, run_folder

    is_over = draft.recipe is not None and is_finished(run_folder(draft.recipe))
    return draft.faults if is_over and not draft.faults else _all_faults(draft)


def _preview(recipe: Recipe, *, force: bool, no_color: bool) -> int:
    from spectra.cli.console import console
    from spectra.report.preview_text import preview_text
    from spectra.training.recipe.preview import preview
    from spectra.training.recipe.run.run_folder import is_finished, run_folder

    seen = preview(recipe)
    if _speaks():
        out = console(no_color=no_color)
        out.print(preview_text(seen, width=out.width))
        if is_finished(run_folder(recipe)) and not force:
            print(f"Note: '{recipe.output}' holds a finished run, whose results would be shown. --force starts over.")
    return _DONE


def _run(recipe: Recipe, *, force: bool, quiet: bool) -> int:
    from spectra.cli.run_progress import run_progress
    from spectra.report.run_figures import draw_run
    from spectra.training.recipe.run.run_folder import is_finished, run_folder
    from spectra.training.recipe.running import run_recipe

    was_finished = not force and is_finished(run_folder(recipe))
    with run_progress(hidden=quiet or not _speaks()) as progress:
        record = run_recipe(recipe, force=force, progress=progress, draw=draw_run)
    if _speaks():
        print("\n".join(_results(record, was_finished=was_finished)))
        if not quiet:
            print(_next_step(record), file=sys.stderr)
    return _DONE


def _results(record: RunRecord, *, was_finished: bool) -> Iterator[str]:
    """Yield a few lines that say what came out."""
    from spectra.results.run_metrics import EVAL, TEST, metric_names
    from spectra.results.words import counted

    done = "was finished before" if was_finished else "is finished"
    time = f"{timedelta(seconds=round(record.seconds.get('training', 0.0)))} of training"
    share = f", {record.diagnostics_share:.1%} of it for diagnostics" if record.diagnostics_share else ""
    yield f"'{record.name}' {done}: {counted(record.num_steps, 'step')}, {time}{share}"
    for prefix, metrics, number in (
        (EVAL, record.eval_metrics, record.num_eval),
        (TEST, record.test_metrics, record.num_test),
    ):
        if metrics:
            values = ", ".join(f"{name} {metrics[prefix + name]:.4g}" for name in metric_names(metrics, prefix))
            yield f"{prefix.removesuffix('_')} ({counted(number or 0, 'example')}): {values}"


def _next_step(record: RunRecord) -> str:
    folder = Path(record.output)
    page = f"spectra report {shlex.quote(str(folder))} --open"
    return f"Model in '{folder / 'model'}'. Read '{folder / 'summary.md'}'. See: {page}"


def _afterwards(flags: Mapping[str, Any]) -> str:
    """Say how a run goes on."""
    if flags["dry_run"] or flags["print_config"] or flags["list_recipes"]:
        return ""
    without = " without --force" if flags["force"] else ""
    return f". The same command{without} goes on from the last checkpoint."


def _speaks() -> bool:
    """Whether this process is the first of those that ``accelerate launch`` and ``torchrun`` start, or alone."""
    return os.environ.get("RANK", "0") == "0"
