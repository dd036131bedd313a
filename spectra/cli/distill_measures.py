"""``spectra distill evaluate`` and ``shift``: what a model answers, and what rewriting and tuning have moved."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectra.cli.distill_checks import check_computing, check_place, check_scores
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
    check_backend,
    generation,
    print_notes,
    template_note,
    with_flags,
)
from spectra.cli.progress import progress_bar
from spectra.errors import InputError

if TYPE_CHECKING:
    from spectra.results.data_shift import DataShift
    from spectra.results.model_shift import ModelShift
    from spectra.training.pretrained import Pretrained
    from spectra.training.sdft.samples import TrainingData

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
    from spectra.training.sdft.extractors.registry import extractor

    spec = generation(flags, default="greedy")
    by = extractor(flags["task"], compat=flags["compat"])
    columns = {name: flags[name] for name in ("prompt_column", "response_column", "turns", "limit")}
    check_scores(data, output, columns)
    if output is not None:
        check_place(output)
    check_backend(flags)  # last, as it may have to ask torch
    from spectra.training.sdft.evaluation import evaluate_responses

    with progress_bar("answers", hidden=quiet or not sys.stderr.isatty()) as advance:
        writer = backend(flags, is_tuned=True)
        given = columns | {name: flags[name] for name in ("seed", "force")}
        found = evaluate_responses(writer, data, output, task=by, spec=spec, progress=advance, **given)
    if found is None:
        if not quiet:
            print("This process is done; the last one writes the scores.", file=sys.stderr)
        return 0
    _print(found, as_json=as_json)
    print_notes(template_note(writer))
    if not (quiet or as_json):
        print(_kept(output), file=sys.stderr)
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
    from spectra.training.sdft.samples import read_training_data

    records = load_records(output)
    asked = None if probe is None else read_training_data(probe)  # what cannot be read is refused before the long part
    if tuned is not None:
        from spectra.sources.pairs import pair_models

        pair_models(model, tuned)  # likewise
    check_place(output)
    check_computing(device, dtype)
    from spectra.training.pretrained import find_checkpoint, load_model
    from spectra.training.sdft.data_shifts import data_shift, samples_of

    samples = samples_of(output, records, prompt_column=prompt_column, response_column=response_column)
    files = [output.with_name(f"{output.stem}.shift.json")]
    with progress_bar("responses", hidden=quiet or not sys.stderr.isatty()) as advance:
        loaded = load_model(find_checkpoint(model, "causal-lm"), dtype=dtype, device=device)
        found = data_shift(
            loaded.model, loaded.tokenizer, records, samples, batch_size=batch_size, max_length=max_length, seed=seed,
            progress=advance,
        )  # fmt: skip
    found.save(files[0])
    moved = None
    if tuned is not None:
        batches = None if asked is None else _batches(loaded, asked, batch_size=batch_size, max_length=max_length)
        from spectra.training.sdft.model_shifts import model_shift

        moved = model_shift(model, tuned, probe=batches, device=device)
        files.append(output.with_name(f"{output.stem}.model-shift.json"))
        moved.save(files[1], force=True)
    _print_shifts(found, moved, as_json=as_json)
    if not (quiet or as_json):
        names = " and ".join(f"'{file}'" for file in files)
        print(f"Kept in {names}. Next: spectra plot {files[-1]} {'data' if moved is None else 'model'}-shift", file=sys.stderr)
    return 0


def _batches(loaded: Pretrained, asked: TrainingData, *, batch_size: int, max_length: int | None) -> list[Any]:
    """Return what both models predict, as long as in fine-tuning if the model takes that."""
    from spectra.training.sdft.backends.transformers import TransformersBackend
    from spectra.training.sdft.response_examples import response_batches

    context = TransformersBackend(loaded.model, loaded.tokenizer).context
    most = min(max_length or _PROBE_LENGTH, context or _PROBE_LENGTH)
    return list(response_batches(loaded.tokenizer, asked, batch_size=batch_size, max_length=most, name="probe"))


def _kept(output: Path | None) -> str:
    if output is None:
        return "Keep the scores, and every answer: -o scores.json"
    from spectra.training.sdft.run_files import RunFiles

    return f"Scores in '{output}', answers in '{RunFiles(output).records}'."


def _print(result: Any, *, as_json: bool) -> None:
    if as_json:
        import json

        print(json.dumps(result.to_dict(), indent=1, allow_nan=False))
        return
    print(result)
    print_notes(result.notes)


def _print_shifts(found: DataShift, moved: ModelShift | None, *, as_json: bool) -> None:
    if as_json:
        import json

        content = found.to_dict() if moved is None else {"data": found.to_dict(), "model": moved.to_dict()}
        print(json.dumps(content, indent=1, allow_nan=False))
        return
    _print_shift(found)
    if moved is not None:
        print()
        _print_moved(moved)


def _print_shift(found: DataShift) -> None:
    from spectra.cli.console import console
    from spectra.report.data_shift_table import data_shift_table

    headline, conclusion = str(found).split("\n")
    out = console(no_color=False)
    out.print(headline + "\n", markup=False)
    out.print(data_shift_table(found))
    out.print("\n" + conclusion, markup=False)
    print_notes(found.notes)


def _print_moved(moved: ModelShift) -> None:
    from spectra.cli.console import console
    from spectra.report.model_shift_table import model_shift_table

    headline, *conclusion = str(moved).split("\n")
    out = console(no_color=False)
    out.print(headline + "\n", markup=False)
    out.print(model_shift_table(moved, width=out.width))
    out.print("\n" + "\n".join(conclusion), markup=False)
    print_notes(moved.notes)
