"""``spectra analyze MODEL``: the tails of all weight matrices of a checkpoint."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from spectra.errors import InputError

if TYPE_CHECKING:
    from spectra.results.report import Report


def analyze(
    model: Annotated[str, typer.Argument(help="Checkpoint folder or file, hub id, or 'demo'.", metavar="MODEL")],
    include: Annotated[
        list[str] | None, typer.Option(metavar="GLOB", help="Only layers whose name matches; repeatable.")
    ] = None,
    exclude: Annotated[list[str] | None, typer.Option(metavar="GLOB", help="Leave out layers that match; repeatable.")] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="List what would be analysed, its cost and memory; read no weights.")
    ] = False,
    profile: Annotated[str, typer.Option(metavar="NAME", help="default or weightwatcher.")] = "default",
    xmin: Annotated[
        str | None, typer.Option(metavar="S", help="Where tails start: ks, median, hill, fixed or a number.  [default: ks]")
    ] = None,
    xmin_pos: Annotated[float | None, typer.Option(metavar="X", help="For median: rank n / X.  [default: 2]")] = None,
    num_tail: Annotated[
        float | None, typer.Option(metavar="K", help="For hill and fixed: tail size, or a fraction below 1.")
    ] = None,
    precision: Annotated[str | None, typer.Option(metavar="P", help="float64 or float32.  [default: float64]")] = None,
    method: Annotated[str | None, typer.Option(metavar="M", help="auto, gram or svd.  [default: auto]")] = None,
    conv_norm: Annotated[
        float | None, typer.Option(metavar="X", help="Factor on eigenvalues of convolutions.  [default: 1.0]")
    ] = None,
    min_evals: Annotated[int | None, typer.Option(metavar="N", help="Fewest eigenvalues for a fit.  [default: 8]")] = None,
    workers: Annotated[str, typer.Option(metavar="N", help="Worker threads.")] = "auto",
    output: Annotated[
        Path | None, typer.Option(metavar="DIR", help="Result folder; the same command continues an interrupted run.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Write into DIR whatever it holds.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the whole report as JSON.")] = False,
    as_csv: Annotated[bool, typer.Option("--csv", help="Print the table as CSV, all columns.")] = False,
    rows: Annotated[int, typer.Option(metavar="N", min=0, help="Layers shown in the table.")] = 20,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No progress, no hints.")] = False,
    no_color: Annotated[bool, typer.Option("--no-color", help="No colour; NO_COLOR does the same.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show the traceback of an internal error.")] = False,
) -> int:
    """Fit the heavy tail of every weight matrix of a checkpoint.

    spectra analyze ./my-model

    spectra analyze ./my-model --output report --include '*.self_attn.*'

    spectra analyze demo --json > report.json
    """
    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other. Choose one, or use --output DIR, which writes both.")
    if dry_run and as_csv:
        raise InputError("--dry-run has no --csv. Choose --json, or leave both out for a table.")
    arguments: dict[str, Any] = {
        "profile": profile,
        "xmin": xmin,
        "include": include or (),
        "exclude": exclude or (),
        "precision": precision,
        "method": method,
        "conv_norm": conv_norm,
        "min_evals": min_evals,
        "xmin_pos": xmin_pos,
        "num_tail": num_tail,
    }
    num_workers = _number_of_workers(workers)
    if dry_run:
        from spectra.cli.dry_run import dry_run as show

        return show(model, arguments, workers=num_workers, as_json=as_json, no_color=no_color)

    from spectra.diagnose.analyze import analyze as run

    try:
        with _progress_bar(hidden=quiet or not sys.stderr.isatty()) as progress:
            report = run(model, **arguments, workers=num_workers, output=output, force=force, progress=progress)
    except KeyboardInterrupt:
        if output is not None:
            print(f"Finished layers are kept in '{output}'; the same command continues there.", file=sys.stderr)
        raise
    _print(report, as_json=as_json, as_csv=as_csv, rows=rows, no_color=no_color)
    if not quiet:
        print(_next_step(output, as_data=as_json or as_csv), file=sys.stderr, end="")
    return 1 if report.summary.num_failed else 0


def _number_of_workers(workers: str) -> Any:
    if workers == "auto":
        return workers
    if not workers.isdecimal():
        raise InputError(f"--workers: expected 'auto' or a number of at least 1, got '{workers}'.")
    return int(workers)


def _print(report: Report, *, as_json: bool, as_csv: bool, rows: int, no_color: bool) -> None:
    if as_json:
        import json

        from spectra.results.store import report_to_dict

        # ASCII: valid whatever the encoding of stdout
        print(json.dumps(report_to_dict(report), indent=1, allow_nan=False))
    elif as_csv:
        from spectra.results.store import layers_csv

        print(layers_csv(report), end="")
    else:
        from spectra.cli.console import console
        from spectra.report.table import layer_table
        from spectra.results.words import conclusion, headline

        out = console(no_color=no_color)
        out.print(headline(report) + "\n", markup=False)
        out.print(layer_table(report.layers, width=out.width, max_rows=rows))
        out.print("\n" + conclusion(report), markup=False)


def _next_step(output: Path | None, *, as_data: bool) -> str:
    if as_data:
        return ""
    if output is None:
        return "All columns: --csv or --json. Keep the result and make figures of it: --output DIR\n"
    return f"Results in '{output}'. Next: spectra plot {output} alpha-by-depth\n"


@contextmanager
def _progress_bar(*, hidden: bool) -> Iterator[Callable[[Any], None] | None]:
    """Show progress on stderr, with the time left estimated from the work done rather than from the number of layers."""
    if hidden:
        yield None
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.fields[layers]}"),
        BarColumn(),
        TextColumn("{task.percentage:>3.0f} % of the work"),
        TimeElapsedColumn(),
        TextColumn("elapsed,"),
        TimeRemainingColumn(),
        TextColumn("left"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("", total=1.0, layers="reading headers")

        def advance(progress: Any) -> None:
            layers = f"{progress.num_done}/{progress.num_layers} layers"
            bar.update(task, completed=progress.share_done, layers=layers)

        yield advance
