"""``spectra analyze MODEL MODEL ... --output DIR``: many models, a result folder for each."""

from __future__ import annotations

import shlex
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from spectra.cli.cache_words import from_cache
from spectra.cli.console import console, print_table
from spectra.cli.progress import kept_work, stdout_for_answers
from spectra.errors import InputError
from spectra.printable import printable
from spectra.results.words import counted

if TYPE_CHECKING:
    from spectra.results.fleet import FleetReport


@dataclass(frozen=True)
class FleetAnswer:
    """How the answer is given.

    Attributes:
        as_json: As JSON: the content of ``fleet.json`` with summaries.
        as_csv: As one table of all layers.
        with_page: Write a page into each model's folder, too.
        quiet: Say no more than that.
        no_color: Print without colour.
    """

    as_json: bool
    as_csv: bool
    with_page: bool
    quiet: bool
    no_color: bool


def analyze_several(models: tuple[str, ...], output: Path | None, answer: FleetAnswer, **options: Any) -> int:
    """Analyse models and print a line for each.

    Args:
        models: As ``spectra analyze`` takes them.
        output: Folder of the results.
        answer: How the answer is given.
        **options: As :func:`spectra.analyze_fleet` takes them.

    Returns:
        The exit code: 1 if a model or a layer could not be analysed.

    Raises:
        InputError: No folder.
    """
    if output is None:
        raise InputError("several models: each gets a result folder of its own. Give a folder for them with --output DIR.")
    from spectra.diagnose.fleet import analyze_fleet

    hidden = answer.quiet or not sys.stderr.isatty()
    with (
        stdout_for_answers(options["engine"]),
        kept_work("layers", output, force=bool(options.get("force")), hidden=hidden) as progress,
    ):
        fleet = analyze_fleet(models, output=output, progress=progress, **options)
    _print(fleet, answer)
    if answer.with_page:
        from spectra.report.html import write_page

        for model in fleet.models:
            if model.summary is not None:
                write_page(output / model.name)
    for model in fleet.models:
        if model.error:
            print(printable(f"spectra: '{model.location}' was not analysed: {model.error}"), file=sys.stderr)
    if options.get("cache") is not None and not answer.quiet:
        from spectra.results.store import load

        analyzed = [model.name for model in fleet.models if model.summary is not None]
        print(from_cache([load(output / name).environment for name in analyzed], options["cache"]), file=sys.stderr, end="")
    if not answer.quiet and not (answer.as_json or answer.as_csv):
        first = next(model.name for model in fleet.models if model.summary is not None)
        print(
            f"Results in '{output}', a folder for each model; {output / 'fleet.json'} says which. Next: spectra report "
            f"{shlex.quote(str(output / first))} --open",
            file=sys.stderr,
        )
    return 1 if fleet.num_failed else 0


def _print(fleet: FleetReport, answer: FleetAnswer) -> None:
    if answer.as_json:
        import json

        print(json.dumps(fleet.to_dict(), indent=1, allow_nan=False))
    elif answer.as_csv:
        print_table(fleet.to_csv())
    else:
        from spectra.report.fleet_table import fleet_table

        out = console(no_color=answer.no_color)
        done = sum(model.summary is not None for model in fleet.models)
        all_of_them = "" if done == len(fleet.models) else f"{done} of "
        out.print(f"Analysed {all_of_them}{counted(len(fleet.models), 'model')}\n", markup=False)
        out.print(fleet_table(fleet.models, width=out.width))
