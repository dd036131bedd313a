"""``spectra fisher MODEL --data FILE``: how sensitive a model's loss on texts is to each of its parameters."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectra.cli.console import print_table
from spectra.cli.interrupted import keeping
from spectra.cli.model_and_data import (
    ModelAndData,
    ModelAndDataCommand,
    Prepared,
    memory_in_words,
    prepare,
    with_model_and_data,
)
from spectra.cli.progress import Advance, progress_bar
from spectra.errors import InputError, SpectraError
from spectra.results.fisher_records import Aggregate, FisherKind, Keep, Reduction
from spectra.results.words import counted

if TYPE_CHECKING:
    from spectra.results.fisher import Fisher
    from spectra.results.fisher_spectrum import FisherSpectrum

LEVELS = ("layer", "site", "tensor", "neuron")

_LEVELS = "layer, site (of dropout), tensor or neuron"

_EXAMPLES = """\b
Examples:
  spectra fisher ./bert --data texts.txt -o fisher.safetensors
  spectra fisher ./classifier --data train.tsv --text-column sentence --label-column label --level site
  spectra fisher ./llama --data corpus.jsonl --text-column text --kind sampled --reduction sequence_sum
  spectra fisher demo --task masked-lm --data texts.txt --samples 500 --json > fisher.json"""


_KIND = (
    "empirical: labels of the data, as in the paper; sampled: drawn from the model; exact: all, by their probability. The last "
    "two give the true Fisher."
)
_REDUCTION = (
    "What is squared: a text's gradient of the mean over its tokens (token_mean) or of their sum (sequence_sum), or that of "
    "each token (token)."
)
_KEEP = "A number for each weight (values), neuron (neurons) or parameter tensor (traces)."
_AGGREGATE = "From tensors to the score of a layer: param_mean, mean_of_means (the paper's), trace, matrices_mean or relative."

_SPECTRUM = "Also the eigenvalues of each layer's Fisher matrix, from the first N texts, into FILE.spectrum.safetensors."
_INSERT = (
    "Count places without dropout among the sites: modules whose path matches, or the words attention-output and mlp-output; "
    "repeatable."
)


def _one_of(words: type[StrEnum]) -> click.Choice[str]:
    return click.Choice([word.value for word in words])


class _FisherCommand(ModelAndDataCommand):
    option_groups = {  # noqa: RUF012 - a constant
        **ModelAndDataCommand.option_groups,
        **dict.fromkeys(
            ("kind", "draws", "reduction", "keep", "aggregate", "include", "exclude", "insert", "spectrum"),
            "Fisher information",
        ),
    }


@click.command(cls=_FisherCommand, epilog=_EXAMPLES)
@click.argument("model")
@with_model_and_data
@click.option("--kind", type=_one_of(FisherKind), default="empirical", metavar="K", show_default=True, help=_KIND)
@click.option(
    "--draws", type=click.IntRange(min=1), default=1, metavar="N", show_default=True, help="For sampled: labels per target."
)
@click.option("--reduction", type=_one_of(Reduction), default="token_mean", metavar="R", show_default=True, help=_REDUCTION)
@click.option("--keep", type=_one_of(Keep), default="values", metavar="K", show_default=True, help=_KEEP)
@click.option("--aggregate", type=_one_of(Aggregate), default="param_mean", metavar="A", show_default=True, help=_AGGREGATE)
@click.option("--include", multiple=True, metavar="GLOB", help="Measure only parameters whose name matches; repeatable.")
@click.option("--exclude", multiple=True, metavar="GLOB", help="Leave out parameters whose name matches; repeatable.")
@click.option("--insert", multiple=True, metavar="GLOB", help=_INSERT)
@click.option("--spectrum", type=click.IntRange(min=1), metavar="N", help=_SPECTRUM)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path),
    metavar="FILE.safetensors",
    help="Result; the same command continues a run.",
)
@click.option("--force", is_flag=True, help="Replace a result of that name.")
@click.option("--json", "as_json", is_flag=True, help="Print everything but the arrays as JSON.")
@click.option("--csv", "as_csv", is_flag=True, help="Print the table as CSV, all columns and rows.")
@click.option(
    "--level", type=click.Choice(LEVELS), default="layer", metavar="L", show_default=True, help=f"A row is a {_LEVELS}."
)
@click.option("--rows", type=click.IntRange(min=0), default=20, metavar="N", show_default=True, help="Rows shown.")
@click.option("--quiet", "-q", is_flag=True, help="No progress, no hints.")
@click.option("--no-color", is_flag=True, help="No colour; NO_COLOR does the same.")
@click.option("--debug", is_flag=True, help="Show the traceback of an internal error.")
def fisher(
    model: str,
    *,
    kind: str,
    draws: int,
    reduction: str,
    keep: str,
    aggregate: str,
    include: tuple[str, ...],
    exclude: tuple[str, ...],
    insert: tuple[str, ...],
    spectrum: int | None,
    output: Path | None,
    force: bool,
    as_json: bool,
    as_csv: bool,
    level: str,
    rows: int,
    quiet: bool,
    no_color: bool,
    debug: bool,
    **flags: Any,
) -> int:
    """Measure how sensitive the loss is to each parameter.

    MODEL is a folder that transformers or peft wrote, a hub id, or 'demo'. The score of a layer is the mean square of the
    gradients of its weights, text by text: high where a change of the weights changes what the model says.
    """
    if as_json and as_csv:
        raise InputError("--json and --csv exclude each other. Choose one; -o FILE keeps everything besides.")
    if level == "neuron" and keep == Keep.TRACES:
        raise InputError("--level neuron needs the sums by neuron. Use --keep neurons or --keep values.")
    state = _place(output, force=force)
    spectrum_place = _place_of_spectrum(spectrum, output, force=force)

    which = {"kind": kind, "reduction": reduction, "num_draws": draws, "include": include, "exclude": exclude}
    is_new = state is None or not state.exists()
    try:
        with keeping("The texts so far", state):
            result, eigenvalues = _measured(
                model,
                ModelAndData(**flags),
                which,
                num_texts=spectrum,
                hidden=quiet or not sys.stderr.isatty(),
                keep=keep,
                aggregate=aggregate,
                insert=insert,
                state=state,
            )
    except SpectraError:
        if state is not None and is_new:  # the same command would end here again
            state.unlink(missing_ok=True)
        raise
    if output is not None and state is not None:
        result.save(output, force=force)
        if eigenvalues is not None and spectrum_place is not None:
            eigenvalues.save(spectrum_place, force=force)
        state.unlink(missing_ok=True)
    _print(result, level, as_json=as_json, as_csv=as_csv, rows=rows, no_color=no_color)
    if eigenvalues is not None and not (as_json or as_csv):
        _, numbers = str(eigenvalues).split("\n")
        print(f"spectrum of {counted(eigenvalues.info.num_samples, 'text')}: {numbers}; in '{spectrum_place}'")
    if not quiet and not (as_json or as_csv):
        print(_next_step(output), file=sys.stderr)
    return 0


def _measured(
    model: str, flags: ModelAndData, which: Mapping[str, Any], *, num_texts: int | None, hidden: bool, **settings: Any
) -> tuple[Fisher, FisherSpectrum | None]:
    from spectra.fisher.estimate import fisher as estimate

    with progress_bar("texts", hidden=hidden) as advance, memory_in_words():
        prepared = prepare(model, flags)
        # First, as what is refused is refused soon.
        eigenvalues = None if num_texts is None else _spectrum(prepared, flags, which, num_texts, advance)
        result = estimate(
            prepared.model,
            prepared.batches,
            task=prepared.task,
            seed=flags.seed,
            progress=lambda progress: advance(progress.num_samples, prepared.batches.num_samples),
            **which,
            **settings,
        )
    notes = (*prepared.notes, *result.info.notes)
    return dataclasses.replace(result, info=dataclasses.replace(result.info, model=prepared.name, notes=notes)), eigenvalues


def _spectrum(
    prepared: Prepared, flags: ModelAndData, which: Mapping[str, Any], num_texts: int, advance: Advance
) -> FisherSpectrum:
    from spectra.fisher.spectrum import fisher_spectrum

    batches = prepared.batches.of_first(num_texts)
    spectrum = fisher_spectrum(
        prepared.model,
        batches,
        task=prepared.task,
        seed=flags.seed,
        progress=lambda progress: advance(progress.num_steps, progress.total_steps, "steps to the spectrum"),
        **which,
    )
    notes = (*prepared.notes, f"the first {batches.num_samples:,} of them", *spectrum.info.notes)
    return dataclasses.replace(spectrum, info=dataclasses.replace(spectrum.info, model=prepared.name, notes=notes))


def _place(output: Path | None, *, force: bool) -> Path | None:
    """Refuse a name that is taken before the work is done, and name the file of the unfinished work."""
    if output is None:
        return None
    from spectra.results.fisher_writing import fisher_files

    arrays_file, _ = fisher_files(output, force=force)
    return arrays_file.with_suffix(".partial.safetensors")


def _place_of_spectrum(num_texts: int | None, output: Path | None, *, force: bool) -> Path | None:
    """Name the file of the eigenvalues, and refuse a name that is taken."""
    if num_texts is None:
        return None
    if output is None:
        raise InputError("--spectrum writes a file beside the result. Name the result, too: -o FILE.safetensors")
    from spectra.results.fisher_spectrum import spectrum_file

    return spectrum_file(output.with_suffix(".spectrum.safetensors"), force=force)


def _print(result: Fisher, level: str, *, as_json: bool, as_csv: bool, rows: int, no_color: bool) -> None:
    if as_json:
        import json

        # ASCII: valid whatever the encoding of stdout
        print(json.dumps(result.to_dict(), indent=1, allow_nan=False))
    elif as_csv:
        print_table(result.to_csv(level))
    else:
        from spectra.cli.console import console
        from spectra.report.fisher_table import fisher_table

        out = console(no_color=no_color)
        headline, conclusion = str(result).split("\n")
        out.print(headline + "\n", markup=False)
        out.print(fisher_table(result, level, width=out.width, max_rows=rows))
        for note in result.info.notes:
            out.print(f"\n{note}", markup=False)
        out.print("\n" + conclusion, markup=False)


def _next_step(output: Path | None) -> str:
    if output is None:
        return "All rows: --csv. Keep the result for figures, plans and loss surfaces: -o fisher.safetensors"
    return f"Result in '{output}' and its .json. Next: spectra plot {output} fisher-by-layer"
