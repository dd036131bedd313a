"""``spectra distill DATA --model M --task T -o OUT.jsonl``: rewrite a data set's responses in the model's own words.

``spectra distill`` is a group whose own work is a command, too: what is no name of a subcommand is the data.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectra.cli.distill_checks import check_place, check_rows
from spectra.cli.distill_flags import (
    COMPAT,
    DATA_FLAGS,
    GENERATION_FLAGS,
    MODEL_FLAGS,
    OUTPUT_FLAGS,
    TASK,
    DistillCommand,
    backend,
    check_backend,
    generation,
    print_notes,
    template_note,
    with_flags,
)
from spectra.cli.distill_measures import evaluate, shift
from spectra.cli.progress import progress_bar
from spectra.errors import InputError

if TYPE_CHECKING:
    from spectra.results.selection_report import SelectionReport

_EXAMPLES = """\b
Examples:
  spectra distill gsm8k.json --model ./chat-model --task math -o own-words.jsonl
  spectra distill dolly.json --model ./chat-model --task text --generation greedy -o own-words.jsonl
  spectra distill train.jsonl --model served-name --backend openai --base-url http://localhost:8000/v1 --task code -o out.jsonl
  spectra distill report own-words.jsonl

The same command continues a run that stopped; --resume refuses to begin one. Under torchrun each process takes its part.

\b
Also:
  spectra distill report OUT.jsonl                  what was accepted and rejected, and why
  spectra distill shift OUT.jsonl --model M         are the new responses likelier to the model?
  spectra distill evaluate TEST --model M --task T  answers of a model, tuned or not, beside a test set's
"""

_COUNT, _SHARE = click.IntRange(min=1), click.FloatRange(0, 1)
_SELECTION_FLAGS = (
    click.option("--template", metavar="T", help="What the model is asked: a name or TOML file.  [default: the task's]"),
    click.option(
        "--n-candidates", type=_COUNT, default=1, metavar="N", show_default=True, help="Tries; the first that passes."
    ),
    click.option("--allow-truncated", is_flag=True, help="Accept what stopped at the length limit."),
    click.option("--min-rouge-l", type=_SHARE, default=0.0, metavar="X", show_default=True, help="Least similarity (ROUGE-L)."),
    COMPAT,
    click.option("--test-column", metavar="NAME", help="For code: column of tests, WHICH ARE RUN on this machine."),
    click.option(
        "--mix-ratio", type=_SHARE, default=1.0, metavar="X", show_default=True, help="Share of the accepted that is used."
    ),
)
_GROUPS = {"Data": DATA_FLAGS, "Model": MODEL_FLAGS, "Generation": GENERATION_FLAGS, "Selection": _SELECTION_FLAGS}


class DistillGroup(click.Group):
    """Takes what is no subcommand for the data."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the hidden command of the data in front."""
        if not args or args[0] not in self.commands:
            args = ["rewrite", *args]
        return super().parse_args(ctx, args)


@click.group(cls=DistillGroup, add_help_option=False)
def distill() -> None:
    """Rewrite responses in the model's own words."""


class _GroupContext(click.Context):
    """Errors of the hidden command are the group's."""

    @property
    def command_path(self) -> str:
        """As it is typed."""
        return self.parent.command_path if self.parent else super().command_path


class RewriteCommand(DistillCommand):
    """The group's own work."""

    context_class = _GroupContext

    def format_usage(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Leave out the hidden command's name."""
        formatter.write_usage("spectra distill", "DATA --model MODEL --task T -o OUT [OPTIONS]")


@distill.command("rewrite", cls=RewriteCommand, epilog=_EXAMPLES, hidden=True)
@click.argument("data", metavar="DATA", type=click.Path(path_type=Path))
@click.option("--model", required=True, metavar="MODEL", help="Folder or hub id of the model to be tuned; for a server a name.")
@click.option("--task", required=True, metavar="T", help=TASK)
@click.option(
    "-o", "--output", "--out", type=click.Path(path_type=Path), metavar="FILE", help="Data set: .jsonl, .json or .csv."
)
@with_flags(_GROUPS)
@click.option("--force", is_flag=True, help="Start over, and replace files of another run.")
@click.option("--resume", is_flag=True, help="Only continue a run: an error where there is none.")
@click.option("--dry-run", is_flag=True, help="Show the first request and what would be asked; write nothing.")
@click.option("--no-color", is_flag=True, help="No colours.")
@with_flags({"Options": OUTPUT_FLAGS})
def rewrite(data: Path, *, output: Path | None, dry_run: bool, quiet: bool, debug: bool, **flags: Any) -> int:
    """Rewrite responses in the model's own words, where these say the same (SDFT, arXiv 2402.13669).

    DATA holds prompts and completions, messages, or instructions, inputs and outputs. The model sees each prompt with its
    response, and answers in its own words; its answer is taken if it agrees with the response in what --task says. Every row
    stays, in its place, with all columns. Then train on the output as usual.
    """
    from spectra.training.sdft.config import distill_config

    same = ("task", "template", "n_candidates", "seed", "allow_truncated", "compat", "min_rouge_l", "test_column")
    config = distill_config(generation=generation(flags, default="reference"), **{name: flags[name] for name in same})
    if output is None and not dry_run:
        raise InputError("say where the data set goes: -o FILE.jsonl. (--dry-run shows what would be asked.)")
    columns = {name: flags[name] for name in ("prompt_column", "response_column", "turns", "limit")}
    check_rows(data, output, columns)
    if output is not None and not dry_run:
        check_place(output, resume=flags["resume"], force=flags["force"])
    check_backend(flags)  # last, as it may have to ask torch
    from spectra.training.sdft.distiller import ResponseDistiller

    with progress_bar("responses", hidden=quiet or not sys.stderr.isatty()) as advance:
        writer = backend(flags)
        distiller = ResponseDistiller(writer, config=config)
        if output is None or dry_run:
            print(_preview(distiller, data, columns))
            return 0
        done = distiller.distill(data, output, **columns, mix_ratio=flags["mix_ratio"], force=flags["force"], progress=advance)
    if done is None:
        if not quiet:
            print("This process is done; the last one writes the data set.", file=sys.stderr)
        return 0
    _print(done.report(), as_json=flags["as_json"], no_color=flags["no_color"])
    print_notes(template_note(writer))
    if not (quiet or flags["as_json"]):
        print(f"Data set in '{output}'. Next: spectra plot {output} selection, and train on it.", file=sys.stderr)
    return 0


distill.add_command(evaluate)
distill.add_command(shift)


@distill.command(cls=DistillCommand)
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--group-by", metavar="COLUMN", help="Count for each value of a column, too.")
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
@click.option("--no-color", is_flag=True, help="No colours.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def report(output: Path, *, group_by: str | None, as_json: bool, no_color: bool, debug: bool) -> int:
    """Say what was accepted and rejected, and why.

    OUT is the data set that 'spectra distill' wrote; its records lie beside it.
    """
    from spectra.results.distill_records import load_records
    from spectra.results.selection_report import SelectionReport
    from spectra.training.data_files import read_records
    from spectra.training.sdft.groups import groups_of
    from spectra.training.sdft.mixing import mixing_notes
    from spectra.training.sdft.run_files import RunFiles, noted_output

    records = load_records(output)
    groups = None if group_by is None else groups_of(read_records(output), records, group_by)
    found = SelectionReport.of(records, groups=groups)
    notes = mixing_notes(noted_output(RunFiles(output)))
    _print(dataclasses.replace(found, notes=(*found.notes, *notes)), as_json=as_json, no_color=no_color)
    return 0


def _preview(distiller: Any, data: Path, columns: dict[str, Any]) -> str:
    """Write the first request as the model gets it, and count what would be asked."""
    from spectra.training.sdft.generation import plain_text
    from spectra.training.sdft.rewriting import Rewriting
    from spectra.training.sdft.samples import read_training_data

    found = read_training_data(data, **columns)
    work = Rewriting(found.samples, distiller.backend, distiller.config)
    first = work.requests(found.samples[:1])[0]
    shown = getattr(distiller.backend, "render", plain_text)(first)
    unasked = list(work.unasked.values())
    counts = [f"{unasked.count(reason):,} {reason}" for reason in dict.fromkeys(unasked)]
    asked = len(found.samples) - len(unasked)
    skipped = f"; not asked: {', '.join(counts)}" if counts else ""
    size = f"{asked:,} of {len(found.samples):,} responses would be rewritten, in {len(work.batches):,} batches"
    return f"{shown}\n\n{size}{skipped}"


def _print(report: SelectionReport, *, as_json: bool, no_color: bool) -> None:
    if as_json:
        import json

        print(json.dumps(report.to_dict(), indent=1, allow_nan=False))
        return
    from spectra.cli.console import console
    from spectra.report.selection_table import selection_groups_table, selection_table

    out = console(no_color=no_color)
    headline, conclusion = str(report).split("\n")
    out.print(headline + "\n", markup=False)
    out.print(selection_table(report, width=out.width))
    if report.groups:
        out.print()
        out.print(selection_groups_table(report, width=out.width))
    out.print("\n" + conclusion, markup=False)
    print_notes(report.notes)
