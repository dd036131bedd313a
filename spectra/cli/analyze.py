"""``spectra analyze MODEL``: the tails of all weight matrices of a checkpoint."""

from __future__ import annotations

import shlex
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectra.cli.cache_words import from_cache
from spectra.cli.console import print_table
from spectra.cli.progress import kept_work, stdout_for_answers
from spectra.cli.run_flags import check_forms, number_of_workers, with_run_flags, with_speech_flags
from spectra.cli.setting_flags import GroupedCommand, with_setting_flags
from spectra.errors import InputError

if TYPE_CHECKING:
    from spectra.results.report import Report


_EXAMPLES = """\b
Examples:
  spectra analyze ./my-model
  spectra analyze ./my-model --output report --report
  spectra analyze ./my-model --output attention --include '*.self_attn.*'
  spectra analyze ./fine-tuned --base ./original
  spectra analyze ./fine-tuned --cache rows
  spectra analyze runs/*/checkpoint-* --output all-runs
  spectra analyze ./adapter --base ./original --lora merged
  spectra analyze ./big-model --output report --shard 0/8
  spectra analyze demo --json > report.json"""


@click.command(cls=GroupedCommand, epilog=_EXAMPLES)
@click.argument("models", metavar="MODEL...", nargs=-1, required=True)
@click.option("--base", metavar="MODEL", help="Analyse the difference to this model; for an adapter: its base model.")
@click.option("--dry-run", is_flag=True, help="List what would be analysed, its cost, memory and time; analyse nothing.")
@with_run_flags
@click.option(
    "--shard",
    metavar="I/N",
    help="Analyse the I-th of N parts, from 0, for 'spectra merge'; auto: as torchrun, mpirun, srun or Slurm's array says.",
)
@click.option(
    "--engine", default="local", metavar="local|ray", show_default=True, help="Threads here, or the processes of a Ray cluster."
)
@click.option(
    "--address", metavar="ADDR", help="Of the cluster: auto, HOST:PORT or ray://HOST:PORT.  [default: one of this machine]"
)
@click.option(
    "--cache",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep rows by the content of weights; layers equal to earlier ones, of any model, are not computed again.",
)
@click.option("--report", "with_page", is_flag=True, help="Write report.html into DIR, too: the page of 'spectra report'.")
@click.option("--json", "as_json", is_flag=True, help="Print the whole report as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV, all columns.")
@click.option(
    "--rows", type=click.IntRange(min=0), default=20, metavar="N", show_default=True, help="Layers shown in the table."
)
@with_speech_flags
@with_setting_flags
def analyze(
    models: tuple[str, ...],
    *,
    base: str | None,
    profile: str,
    dry_run: bool,
    device: str,
    workers: str,
    max_memory: str | None,
    engine: str,
    address: str | None,
    output: Path | None,
    force: bool,
    shard: str | None,
    cache: Path | None,
    with_page: bool,
    as_json: bool,
    as_csv: bool,
    rows: int,
    quiet: bool,
    no_color: bool,
    debug: bool,
    **settings: Any,
) -> int:
    """Fit the heavy tail of every weight matrix of a checkpoint, or of several.

    MODEL is a checkpoint folder or file, an adapter folder, a hub id, or 'demo'. Of several, each gets a result folder of its
    own in DIR; --csv then prints the layers of all in one table, and --json a summary of each.
    """
    check_forms(as_json=as_json, as_csv=as_csv, dry_run=dry_run)
    if with_page:
        _check_page(output, shard, dry_run=dry_run)
    num_workers = number_of_workers(workers)
    options: dict[str, Any] = {"base": base, "profile": profile, "device": device, "workers": num_workers, "force": force}
    options |= {"max_memory": max_memory, "engine": engine, "address": address, "cache": cache, **settings}
    if len(models) > 1 and not dry_run:
        if shard is not None:
            raise InputError(f"--shard divides one model, and there are {len(models)}. Give each machine some of the models.")
        from spectra.cli.fleet import FleetAnswer, analyze_several

        return analyze_several(models, output, FleetAnswer(as_json, as_csv, with_page, quiet, no_color), **options)
    model = _only(models)
    if shard is not None:
        from spectra.diagnose.shard_of_process import resolve_shard

        shard = str(resolve_shard(shard, has_output=dry_run or output is not None))
    if dry_run:
        from spectra.cli.dry_run import Where
        from spectra.cli.dry_run import dry_run as show

        here = Where(device, num_workers, max_memory)
        return show(model, profile, settings, base=base, shard=shard, where=here, as_json=as_json, no_color=no_color)

    from spectra.diagnose.analyze import analyze as run

    hidden = quiet or not sys.stderr.isatty()
    with stdout_for_answers(engine), kept_work("layers", output, force=force, hidden=hidden) as progress:
        report = run(model, output=output, shard=shard, progress=progress, **options)
    if cache is not None and not quiet:
        print(from_cache([report.environment], cache), file=sys.stderr, end="")
    _print(report, as_json=as_json, as_csv=as_csv, rows=rows, no_color=no_color)
    if with_page and output is not None:
        from spectra.report.html import write_page

        print(f"Page in '{write_page(output)}'.", file=sys.stderr)
    if not quiet:
        print(_next_step(output, shard, as_data=as_json or as_csv, with_page=with_page), file=sys.stderr, end="")
    return 1 if report.summary.num_failed else 0


def _only(models: tuple[str, ...]) -> str:
    if len(models) > 1:
        raise InputError(f"--dry-run lists one model, and there are {len(models)}. Give one.")
    return models[0]


def _check_page(output: Path | None, shard: str | None, *, dry_run: bool) -> None:
    """Refuse a page that could not be written before the analysis, not after it."""
    if shard is not None:
        raise InputError(
            "--report writes a page about the whole model, and a shard is a part. Merge first, then: spectra report DIR"
        )
    if output is None or dry_run:
        raise InputError("--report writes a page into the result folder: give one with --output DIR, without --dry-run.")
    from spectra.report.html.page import check_packages

    check_packages()


def _print(report: Report, *, as_json: bool, as_csv: bool, rows: int, no_color: bool) -> None:
    if as_json:
        import json

        # ASCII: valid whatever the encoding of stdout
        print(json.dumps(report.to_dict(), indent=1, allow_nan=False))
    elif as_csv:
        print_table(report.to_csv())
    else:
        from spectra.cli.console import console
        from spectra.report.table import expert_table, layer_table, skipped_lines
        from spectra.results.words import conclusion, headline

        out = console(no_color=no_color)
        out.print(headline(report.model, report.summary) + "\n", markup=False)
        if report.layers:
            out.print(layer_table(report.layers, width=out.width, max_rows=rows))
        if report.experts:
            out.print("\nExperts:\n" if report.layers else "Experts:\n")
            out.print(expert_table(report.experts, width=out.width, max_rows=rows))
        if report.skipped:
            out.print("\nSkipped:", markup=False)
            for line in skipped_lines(report.skipped):
                out.print(f"  {line}", markup=False)
        for note in report.model.notes:
            out.print(f"\n{note}", markup=False)
        out.print("\n" + conclusion(report.summary), markup=False)


def _next_step(output: Path | None, shard: str | None, *, as_data: bool, with_page: bool) -> str:
    folder = shlex.quote(str(output))
    if shard is not None:
        return f"Shard {shard} is in '{output}'. When all are there: spectra merge {folder}\n"
    if as_data:
        return ""
    if output is None:
        return "All columns: --csv or --json. Keep the result and make figures of it: --output DIR\n"
    following = f"spectra plot {folder} alpha-by-depth" if with_page else f"spectra report {folder} --open"
    return f"Results in '{output}'. Next: {following}\n"
