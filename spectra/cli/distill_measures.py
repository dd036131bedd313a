"""``spectra distill evaluate`` and ``shift``: what a model answers, and what rewriting and tuning have moved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectra.cli.distill_flags import (
    COLUMN_FLAGS,
    COMPAT,
    DATA_FLAGS,
    GENERATION_FLAGS,
    MODEL_FLAGS,
    OUTPUT_FLAGS,
    TASK,
    DistillCommand,
    backend,
    generation,
    with_flags,
)
from spectra.cli.progress import progress_bar
from spectra.errors import InputError

if TYPE_CHECKING:
    from spectra.results.data_shift import DataShift
    from spectra.results.model_shift import ModelShift

_EVALUATE = """\b
Examples:
  spectra distill evaluate test.jsonl --model ./tuned --task math -o tuned.json
  spectra distill evaluate test.jsonl --model ./tuned --task call --generation reference -o tuned.json
"""
_SHIFT = """\b
Examples:
  spectra distill shift own-words.jsonl --model ./chat-model
  spectra distill shift own-words.jsonl --model ./chat-model --tuned ./tuned --probe other-skill.jsonl
"""
_PROBE_LENGTH = 1024  # tokens, as in fine-tuning
_GROUPS = {"Data": DATA_FLAGS, "Model": MODEL_FLAGS, "Generation": GENERATION_FLAGS}


@click.command(cls=DistillCommand, epilog=_EVALUATE)
@click.argument("data", metavar="DATA", type=click.Path(path_type=Path))
@click.option("--model", required=True, metavar="MODEL", help="Folder (also of an adapter) or hub id; for a server a name.")
@click.option("--task", required=True, metavar="T", help=TASK)
@COMPAT
@click.option("-o", "--output", type=click.Path(path_type=Path), metavar="FILE", help="Scores: .json; answers lie beside it.")
@with_flags(_GROUPS)
@click.option("--force", is_flag=True, help="Start over, and replace files of another run.")
@with_flags({"Options": OUTPUT_FLAGS})
def evaluate(data: Path, *, output: Path | None, quiet: bool, as_json: bool, debug: bool, **flags: Any) -> int:
    """Compare a model's answers with those of a test set.

    DATA is of any form that can be rewritten. The model sees its prompts as it would be trained on them. Answers are greedy
    unless --generation says otherwise.
    """
    from spectra.training.sdft.backends.tuned import load_tuned_backend
    from spectra.training.sdft.evaluation import evaluate_responses

    spec = generation(flags, default="greedy")
    names = ("task", "compat", "seed", "prompt_column", "response_column", "turns", "limit", "force")
    with progress_bar("answers", hidden=quiet or not sys.stderr.isatty()) as advance:
        writer = backend(flags, load=load_tuned_backend)
        given = {name: flags[name] for name in names}
        found = evaluate_responses(writer, data, output, spec=spec, progress=advance, **given)
    if found is None:
        print("This process is done; the last one writes the scores.", file=sys.stderr)
        return 0
    _print(found, as_json=as_json)
    return 0


@click.command(cls=DistillCommand, epilog=_SHIFT)
@click.argument("output", metavar="OUT", type=click.Path(path_type=Path))
@click.option("--model", required=True, metavar="MODEL", help="The seed model: a folder or hub id.")
@click.option("--tuned", metavar="MODEL", help="The model after fine-tuning: a folder, also of an adapter, or a hub id.")
@click.option("--probe", type=click.Path(path_type=Path), metavar="FILE", help="Data to compare both models' predictions on.")
@with_flags({"Data": COLUMN_FLAGS})
@click.option("--batch-size", type=click.IntRange(min=1), default=16, metavar="N", show_default=True, help="Responses at once.")
@click.option("--max-length", type=click.IntRange(min=2), metavar="N", help="Tokens at most.  [default: what the model takes]")
@click.option("--device", default="auto", metavar="D", show_default=True, help="cpu, cuda, cuda:1, ...; auto: a GPU if any.")
@click.option("--dtype", default="auto", metavar="T", show_default=True, help="float32, bfloat16, ...; auto: as stored.")
@click.option("--seed", type=click.IntRange(min=0), default=0, metavar="N", show_default=True, help="Of the intervals.")
@with_flags({"Options": OUTPUT_FLAGS})
def shift(
    output: Path,
    *,
    model: str,
    tuned: str | None,
    probe: Path | None,
    prompt_column: str | None,
    response_column: str | None,
    batch_size: int,
    max_length: int | None,
    device: str,
    dtype: str,
    seed: int,
    as_json: bool,
    quiet: bool,
    debug: bool,
) -> int:
    """Measure whether rewritten responses are likelier to the seed model than the originals.

    OUT is the data set that 'spectra distill' wrote. With --tuned also how far the weights have moved, layer by layer, beside
    their spectra before and after; with --probe how differently both models predict. Results lie beside OUT: NAME.shift.json,
    NAME.model-shift.json.
    """
    if probe is not None and tuned is None:
        raise InputError("--probe compares two models. Name the other one: --tuned MODEL.")
    from spectra.results.distill_records import load_records
    from spectra.training.pretrained import find_checkpoint, load_model
    from spectra.training.sdft.data_shifts import data_shift, samples_of
    from spectra.training.sdft.samples import read_training_data

    records = load_records(output)
    asked = None if probe is None else read_training_data(probe)  # what cannot be read is refused before the long part
    samples = samples_of(output, records, prompt_column=prompt_column, response_column=response_column)
    with progress_bar("responses", hidden=quiet or not sys.stderr.isatty()) as advance:
        loaded = load_model(find_checkpoint(model, "causal-lm"), dtype=dtype, device=device)
        found = data_shift(
            loaded.model, loaded.tokenizer, records, samples, batch_size=batch_size, max_length=max_length, seed=seed,
            progress=advance,
        )  # fmt: skip
    found.save(output.with_name(f"{output.stem}.shift.json"))
    if tuned is None:
        _print(found, as_json=True) if as_json else _print_shift(found)
        return 0
    from spectra.training.sdft.backends.transformers import TransformersBackend
    from spectra.training.sdft.model_shifts import model_shift
    from spectra.training.sdft.response_examples import response_batches

    batches = None
    if asked is not None:
        most = min(max_length or _PROBE_LENGTH, TransformersBackend(loaded.model, loaded.tokenizer).context or _PROBE_LENGTH)
        batches = response_batches(loaded.tokenizer, asked, batch_size=batch_size, max_length=most, name="probe")
    moved = model_shift(model, tuned, probe=batches, device=device)
    moved.save(output.with_name(f"{output.stem}.model-shift.json"), force=True)
    if as_json:
        import json

        print(json.dumps({"data": found.to_dict(), "model": moved.to_dict()}, indent=1, allow_nan=False))
        return 0
    _print_shift(found)
    print()
    _print_moved(moved)
    return 0


def _print(result: Any, *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(result.to_dict(), indent=1, allow_nan=False))
        return
    print(result)
    for note in result.notes:
        print(note, file=sys.stderr)


def _print_shift(found: DataShift) -> None:
    from spectra.cli.console import console
    from spectra.report.data_shift_table import data_shift_table

    headline, conclusion = str(found).split("\n")
    out = console(no_color=False)
    out.print(headline + "\n", markup=False)
    out.print(data_shift_table(found))
    out.print("\n" + conclusion, markup=False)
    for note in found.notes:
        print(note, file=sys.stderr)


def _print_moved(moved: ModelShift) -> None:
    from spectra.cli.console import console
    from spectra.report.model_shift_table import model_shift_table

    headline, *conclusion = str(moved).split("\n")
    out = console(no_color=False)
    out.print(headline + "\n", markup=False)
    out.print(model_shift_table(moved, width=out.width))
    out.print("\n" + "\n".join(conclusion), markup=False)
    for note in moved.notes:
        print(note, file=sys.stderr)
