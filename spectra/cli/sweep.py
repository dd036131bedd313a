"""``spectra sweep RECIPE.yaml --grid OPTION=VALUE,VALUE --seeds 0..4 -o DIR``: a recipe in several settings, and seeds."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectra.cli.interrupted import ended
from spectra.cli.progress import Advance, progress_bar
from spectra.cli.setting_flags import GroupedCommand
from spectra.errors import InputError

if TYPE_CHECKING:
    from spectra.results.sweep_record import SweepCell, SweepRecord, SweepRun
    from spectra.results.sweep_summary import SweepSummary
    from spectra.training.sweep.runs import SweepPlan

_DONE, _FAILED = 0, 1  # as spectra.cli.main says
_SUMMARY, _SUMMARY_JSON, _FIGURES = "summary.md", "summary.json", "figures"
_WORKER = "spectra.cli.sweep_run"

_EXAMPLES = """\b
Examples:
  spectra sweep small-plain --grid training.learning_rate=1e-4,3e-4 --seeds 0..4 -o rates
  spectra sweep recipe.yaml --grid method=plain,dcs --seeds 0,1,2 --baseline method=plain -o methods
  spectra sweep recipe.yaml --settings methods.yaml --baseline plain --seeds 0..4 --jobs 2 -o methods
  spectra sweep -o methods --table --metric test_accuracy

\b
A file of settings gives each a name and what it changes:
  plain:  {method: plain}
  guided: {method: {name: dcs, lam: 0.3}, training: {learning_rate: 1e-4}}

The same command goes on with a sweep that stopped, and tries failed runs again. Another grid or more seeds add runs to DIR.
With --jobs the processors are divided, unless OMP_NUM_THREADS is set; the number of threads changes the last digits.

Exit codes: 0 done; 1 done, but a run has failed; 2 usage or input error, of recipes all faults at once;
130 interrupted; 143 terminated.
"""


class SweepCommand(GroupedCommand):
    """Options by what they are about."""

    option_groups = {  # noqa: RUF012 - as the base has it
        **dict.fromkeys(("grid", "settings", "seeds", "changes"), "Settings"),
        **dict.fromkeys(("output", "jobs"), "Runs"),
        **dict.fromkeys(("baseline", "metric"), "Comparison"),
    }


@click.command(cls=SweepCommand, epilog=_EXAMPLES)
@click.argument("recipe", metavar="RECIPE", required=False)
@click.option(
    "--grid",
    multiple=True,
    metavar="OPTION=V,V",
    help="Values of an option; repeated, all combinations. [..] and {..} are one value.",
)
@click.option(
    "--settings", type=click.Path(path_type=Path), metavar="FILE", help="Settings by name (YAML), with all of the grid."
)
@click.option("--seeds", metavar="N..M|N,N", help="A run of each setting for each.  [default: the recipe's]")
@click.option("--set", "changes", multiple=True, metavar="OPTION=V", help="Change the recipe, before all others.")
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="DIR", required=True, help="Folder of the sweep.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, metavar="N", show_default=True, help="Runs at a time.")
@click.option("--baseline", multiple=True, metavar="OPTION=V", help="What settings are compared with; or a setting's name.")
@click.option("--metric", metavar="M", help="eval_accuracy, test_accuracy, ...  [default: of 'eval', the task's first]")
@click.option("--dry-run", is_flag=True, help="Check all recipes and show what would run; write nothing.")
@click.option("--table", is_flag=True, help="Show the table of DIR as it stands; run nothing.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no hints.")
@click.option("--no-color", is_flag=True, help="No colours.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def sweep(
    recipe: str | None,
    *,
    grid: tuple[str, ...],
    settings: Path | None,
    seeds: str | None,
    changes: tuple[str, ...],
    output: Path,
    jobs: int,
    baseline: tuple[str, ...],
    metric: str | None,
    dry_run: bool,
    table: bool,
    quiet: bool,
    no_color: bool,
    debug: bool,
) -> int:
    """Run a recipe in several settings and seeds, and compare.

    Each setting is run with each seed, in a process and a folder of its own. RECIPE is a file or the name of a shipped recipe.
    The table gives means with standard errors, and differences to a baseline seed by seed, Holm-corrected.
    """
    if metric is not None and not metric.startswith(("eval_", "test_")):
        raise InputError(f"--metric {metric}: expected eval_ or test_ and a metric, such as eval_accuracy.")
    wanted = _baseline(baseline)
    if table:
        from spectra.results.sweep_record import load_sweep

        return _show(load_sweep(output), wanted, metric, no_color=no_color)
    if recipe is None:
        raise click.UsageError("Missing argument 'RECIPE'. (--table shows what there is without one.)")
    given = _given(recipe, grid, settings, seeds, changes, output)
    plan = _planned(given, wanted)
    if dry_run:
        _print_plan(plan, no_color=no_color)
        return _DONE
    record = _run(plan, jobs, metric, quiet=quiet)
    _draw_missing(record, plan.folder)
    _write(record, output, wanted, metric)
    code = _show(record, wanted, metric, no_color=no_color)
    if not quiet:
        print(f"Summary in '{output / _SUMMARY}', a row for each run in '{output / 'table.csv'}'.", file=sys.stderr)
    return code


def _given(
    recipe: str, grid: Iterable[str], settings: Path | None, seeds: str | None, changes: tuple[str, ...], output: Path
) -> dict[str, Any]:
    """Return the arguments of ``plan_sweep``."""
    from spectra.recipes import recipe_path
    from spectra.training.sweep.grid import parse_axis, parse_seeds

    axes: dict[str, Any] = {}
    for words in grid:
        option, values = parse_axis(words)
        if option in axes:
            raise InputError(f"--grid {option}: it is there twice. Give all its values at once.")
        axes[option] = values
    return {
        "recipe": recipe_path(recipe),
        "output": output,
        "grid": axes,
        "settings": settings,
        "seeds": None if seeds is None else parse_seeds(seeds),
        "changes": changes,
    }


def _baseline(words: Iterable[str]) -> dict[str, Any]:
    """Read values of options, or the name of a setting."""
    from spectra.results.sweep_record import SETTING
    from spectra.training.recipe.yaml_lines import load_yaml
    from spectra.training.sweep.grid import option_name

    found: dict[str, Any] = {}
    for word in words:
        option, equals, text = word.partition("=")
        found[option_name(option) if equals else SETTING] = load_yaml(text, f"--baseline {word!r}").content if equals else word
    return found


def _planned(given: Mapping[str, Any], baseline: Mapping[str, Any]) -> SweepPlan:
    """Check everything, the baseline included: after the runs is too late for it."""
    from spectra.results.sweep_record import SweepRecord, read_run
    from spectra.results.sweep_statistics import summarize
    from spectra.training.sweep.runs import plan_sweep

    plan = plan_sweep(**given)
    runs = tuple(read_run(plan.folder, cell) for cell in plan.cells)
    summarize(SweepRecord(recipe=plan.recipe, runs=runs), baseline=baseline)
    return plan


def _run(plan: SweepPlan, jobs: int, metric: str | None, *, quiet: bool) -> SweepRecord:
    from spectra.training.sweep.runs import run_sweep

    with progress_bar("runs", hidden=quiet or not sys.stderr.isatty()) as advance:
        told = _Told(advance, metric, quiet=quiet)
        try:
            return run_sweep(plan, jobs=jobs, progress=told, worker=_WORKER)
        except KeyboardInterrupt as interrupt:
            raise ended(interrupt, "; what is finished stays, and the same command goes on") from None


class _Told:
    """Says a line for each run."""

    def __init__(self, advance: Advance, metric: str | None, *, quiet: bool) -> None:
        self._advance, self._metric, self._quiet = advance, metric, quiet

    def began(self, cell: SweepCell, done: int, total: int) -> None:
        """Show how far the sweep is."""
        self._advance(done, total)

    def ended(self, run: SweepRun, done: int, total: int) -> None:
        """Say what came out."""
        self._advance(done, total)
        if not self._quiet:
            cell = run.cell
            print(f"[{done}/{total}] {cell.setting} seed {cell.seed}: {self._outcome(run)}", file=sys.stderr)

    def stopping(self) -> None:
        """Say what Ctrl-C did."""
        print("stopping: each run saves a checkpoint at the end of its step. Ctrl-C again stops at once.", file=sys.stderr)

    def _outcome(self, run: SweepRun) -> str:
        from spectra.results.sweep_statistics import leading_metric

        if run.cell.error is not None:
            return f"failed: {run.cell.error}"
        metric = self._metric if self._metric in run.metrics else leading_metric(run.metrics)
        measured = "" if metric is None else f"{metric} {run.metrics[metric]:.4f}, "
        return f"{measured}{run.num_steps} steps, {run.seconds or 0.0:.0f} s"


def _draw_missing(record: SweepRecord, folder: Path) -> None:
    """Draw the figures of finished runs that were ended while they were drawn."""
    from spectra.cli.sweep_run import draw
    from spectra.results.sweep_record import FINISHED, RUNS

    for run in record.runs:
        if run.state == FINISHED and not (folder / RUNS / run.cell.name / _SUMMARY).exists():
            draw(folder / RUNS / run.cell.name)


def _write(record: SweepRecord, output: Path, baseline: Mapping[str, Any], metric: str | None) -> None:
    """Write the summary, for readers and for programs."""
    from spectra.report.sweep_summary import sweep_text
    from spectra.results.sweep_statistics import summarize
    from spectra.results.versioned_json import write_json
    from spectra.results.writing import write_whole

    folder = output.expanduser()
    summary = summarize(record, metric=metric, baseline=baseline)
    write_json(folder / _SUMMARY_JSON, summary.to_dict())
    write_whole(folder / _SUMMARY, sweep_text(summary, figures=_draw(summary, record, folder)).encode())


def _draw(summary: SweepSummary, record: SweepRecord, folder: Path) -> list[str]:
    """Draw the figure of the settings, where there is something to see."""
    if summary.metric is None or len(summary.settings) < 2:
        return []
    from spectra.report.figures.style import write
    from spectra.report.figures.sweep import sweep as figure

    files = write(figure(record, summary, wide=True), folder / _FIGURES, "sweep", ("png", "pdf"))
    return [f"{_FIGURES}/{files[0].name}"]


def _show(record: SweepRecord, baseline: Mapping[str, Any], metric: str | None, *, no_color: bool) -> int:
    """Print tables and conclusions."""
    from spectra.cli.console import console
    from spectra.report.sweep_summary import conclusions, headline
    from spectra.report.sweep_table import choices_table, comparisons_table, rich_table, settings_table
    from spectra.results.sweep_record import setting_words
    from spectra.results.sweep_statistics import summarize

    summary = summarize(record, metric=metric, baseline=baseline)
    out = console(no_color=no_color)
    out.print(headline(summary), markup=False, soft_wrap=True)
    tables = {"": settings_table(summary)}
    if summary.comparisons:
        name = setting_words(summary.baseline)
        tables[f"Differences to {name} in {summary.metric}, seed by seed"] = comparisons_table(summary.comparisons)
    if summary.choices:
        first = summary.choices[0]
        tables[f"Chosen by {first.chosen_by}, reported in {first.reported_by}"] = choices_table(summary)
        if summary.choice_comparisons:
            tables[f"Differences of these in {first.reported_by}"] = comparisons_table(summary.choice_comparisons)
    for title, made in tables.items():
        out.print(f"\n{title}" if title else "", markup=False)
        out.print(rich_table(made, width=out.width))
    out.print()
    for line in (*conclusions(summary), *(f"Note: {note}" for note in summary.notes)):
        out.print(line, markup=False)
    for name, error in summary.failures.items():
        out.print(f"Failed: {name}: {error}", markup=False)
    return _FAILED if summary.failures else _DONE


def _print_plan(plan: SweepPlan, *, no_color: bool) -> None:
    """Print what would run, a line for each setting."""
    from spectra.cli.console import console
    from spectra.report.sweep_table import rich_table, states_table
    from spectra.results.sweep_record import FINISHED, SweepRecord, read_run

    record = SweepRecord(recipe=plan.recipe, runs=tuple(read_run(plan.folder, cell) for cell in plan.asked))
    left = sum(run.state != FINISHED for run in record.runs)
    out = console(no_color=no_color)
    out.print(
        f"Would run {left} of {len(record.runs)} runs of '{plan.recipe}' in '{plan.folder}'\n", markup=False, soft_wrap=True
    )
    out.print(rich_table(states_table(record), width=out.width))
