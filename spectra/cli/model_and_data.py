"""What the commands that run a model over texts share: their flags, and the way from these to a model and its batches."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from spectra.cli.setting_flags import GroupedCommand
from spectra.errors import InputError

if TYPE_CHECKING:
    from torch import nn

    from spectra.training.text_batches import TextBatches


@dataclass(frozen=True)
class ModelAndData:
    """The flags, by the names click gives them; the help texts say what they mean."""

    task: str | None
    device: str
    dtype: str
    trust_remote_code: bool
    data: Path
    text_column: str | None
    pair_column: str | None
    label_column: str | None
    target_column: str | None
    samples: int | None
    batch_size: int
    max_length: int | None
    mask_share: float
    seed: int


_TASK = (
    "What the model predicts: causal-lm, masked-lm, seq2seq, sequence-classification, token-classification or regression.  "
    "[default: what its checkpoint was trained for]"
)
_DATA = "Texts: .csv, .tsv, .json, .jsonl, .parquet, or .txt with one per line."
_TARGET = "Column of answers: what seq2seq has to predict, and causal-lm if given."
_SAMPLES = "Most examples taken, drawn at random.  [default: all]"
_LENGTH = "Tokens a text is cut to.  [default: 128, or what the model takes]"
_MODEL_FLAGS = (
    click.option("--task", metavar="TASK", help=_TASK),
    click.option(
        "--device", default="auto", metavar="D", show_default=True, help="cpu, cuda, cuda:1, ...; auto: a GPU if any."
    ),
    click.option("--dtype", default="auto", metavar="T", show_default=True, help="float32, bfloat16, ...; auto: as stored."),
    click.option("--trust-remote-code", is_flag=True, help="Run code that comes with the model."),
)
_DATA_FLAGS = (
    click.option("--text-column", metavar="NAME", help="Column of the texts; a .txt file needs none."),
    click.option("--pair-column", metavar="NAME", help="Column of second texts, where texts come in pairs."),
    click.option("--label-column", metavar="NAME", help="Column of classes, by number or name, or of numbers."),
    click.option("--target-column", metavar="NAME", help=_TARGET),
    click.option("--samples", type=click.IntRange(min=1), metavar="N", help=_SAMPLES),
    click.option("--batch-size", type=click.IntRange(min=1), default=16, metavar="N", show_default=True, help="Texts at once."),
    click.option("--max-length", type=click.IntRange(min=1), metavar="N", help=_LENGTH),
    click.option(
        "--mask-share", type=float, default=0.15, metavar="X", show_default=True, help="For masked-lm: share of tokens hidden."
    ),
    click.option(
        "--seed", type=click.IntRange(min=0), default=0, metavar="N", show_default=True, help="Of all that is drawn at random."
    ),
)


class ModelAndDataCommand(GroupedCommand):
    """A command with these flags, in groups; those of its own go under ``Options``."""

    option_groups = {  # noqa: RUF012 - a constant
        **dict.fromkeys(("task", "device", "dtype", "trust_remote_code"), "Model"),
        **dict.fromkeys(("data", "text_column", "pair_column", "label_column", "target_column", "samples"), "Data"),
        **dict.fromkeys(("batch_size", "max_length", "mask_share", "seed"), "Data"),
    }


def with_model_and_data(command: Callable[..., Any], *, requires_data: bool = True) -> Callable[..., Any]:
    """Add the flags of a model and its data.

    Args:
        command: Of :class:`ModelAndDataCommand`, before click makes it one.
        requires_data: Whether the command always reads texts.

    Returns:
        The same, decorated.
    """
    data = click.option("--data", type=click.Path(path_type=Path), required=requires_data, metavar="FILE", help=_DATA)
    for flag in reversed((*_MODEL_FLAGS, data, *_DATA_FLAGS)):
        command = flag(command)
    return command


@dataclass(frozen=True)
class Prepared:
    """A model and its batches.

    Attributes:
        model: Loaded.
        name: What results call it.
        batches: Of the task.
        task: What it predicts.
        notes: What to know before trusting a result, and what was made of the data.
    """

    model: nn.Module
    name: str
    batches: TextBatches
    task: str
    notes: tuple[str, ...]


def prepare(model: str, flags: ModelAndData) -> Prepared:
    """Read the data and load the model, cheap checks first.

    Args:
        model: A folder, a hub id, or ``demo``.
        flags: All of them.

    Returns:
        Everything a command needs to run the model.
    """
    from spectra.results.words import counted
    from spectra.training.pretrained import find_checkpoint, load_model
    from spectra.training.text_batches import check_columns, make_batches
    from spectra.training.text_data import read_examples
    from spectra.training.text_labels import class_names

    checkpoint = find_checkpoint(model, flags.task, trust_remote_code=flags.trust_remote_code)
    columns = {"pair": flags.pair_column, "label": flags.label_column, "target": flags.target_column}
    check_columns(checkpoint.task, {name for name, column in columns.items() if column})
    examples = read_examples(
        flags.data,
        flags.text_column,
        pair_column=flags.pair_column,
        label_column=flags.label_column,
        target_column=flags.target_column,
        limit=flags.samples,
        seed=flags.seed,
    )
    classes = class_names(examples)
    loaded = load_model(checkpoint, classes=classes, dtype=flags.dtype, device=flags.device, seed=flags.seed)
    batches = make_batches(
        loaded.tokenizer,
        examples,
        checkpoint.task,
        loaded.model.config,
        batch_size=flags.batch_size,
        max_length=flags.max_length,
        mask_share=flags.mask_share,
        seed=flags.seed,
    )
    hidden = f", {flags.mask_share:.0%} of the tokens hidden" if checkpoint.task == "masked-lm" else ""
    blank = f", {counted(examples.num_blank, 'blank line')} skipped" if examples.num_blank else ""
    data = f"{len(examples):,} texts of '{flags.data.name}', cut to {batches.length} tokens{hidden}, seed {flags.seed}{blank}"
    return Prepared(loaded.model, checkpoint.name, batches, checkpoint.task, (*loaded.notes, data))


@contextmanager
def memory_in_words() -> Iterator[None]:
    """Say what takes less memory where a device has not enough.

    Yields:
        Nothing.

    Raises:
        InputError: In place of torch's error.
    """
    import torch

    try:
        yield
    except torch.OutOfMemoryError as error:
        reason = str(error).split(". ")[0]
        raise InputError(f"{reason}. Try a smaller --batch-size or --max-length, --dtype bfloat16, or --device cpu.") from error
