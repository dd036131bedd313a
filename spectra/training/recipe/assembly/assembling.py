"""From a recipe to a trainer that is ready: model, data, what is prepared before training, and the diagnostics at work."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from torch import nn
from transformers import TrainingArguments, set_seed

from spectra.training.pretrained import Checkpoint
from spectra.training.recipe.assembly.datasets import RunData, Tokenisation, response_data, text_data
from spectra.training.recipe.assembly.examples import USES, RunExamples, run_examples, run_rows
from spectra.training.recipe.assembly.loading import RunModel, has_classes, pretraining_checkpoint, run_checkpoint, run_model
from spectra.training.recipe.assembly.lora import lora_config, with_lora
from spectra.training.recipe.assembly.methods import Ingredients, made_ready
from spectra.training.recipe.assembly.own_words import in_own_words, selection_note
from spectra.training.recipe.assembly.preparing import (
    Progress,
    Workshop,
    preparation_notes,
    prepare_run,
    prepared_dropout,
    prepared_ranks,
)
from spectra.training.recipe.assembly.run_arguments import run_arguments
from spectra.training.recipe.assembly.run_metrics import run_metrics
from spectra.training.recipe.assembly.subjects import Subject, pretraining_subject
from spectra.training.recipe.parts import Recipe
from spectra.training.sdft.samples import read_training_data
from spectra.training.tempbalance_callback import TempBalanceCallback
from spectra.training.text_data import Examples


@dataclass(frozen=True)
class Assembled:
    """A run that is ready to train.

    Attributes:
        trainer: A ``Trainer`` with diagnostics attached.
        model: Whose weights are analysed: that of the trainer; for ``meta_peft`` the base.
        tokenizer: Of the model.
        task: What the model predicts.
        test_data: For ``trainer.evaluate`` with ``metric_key_prefix="test"``, or ``None``.
        save: Writes the final model and its tokenizer into a folder.
        notes: What to know.
        seconds: Of the preparation, by what was prepared: ``fisher``, ``ranks``, ``responses``.
        balances: The callbacks that balance; those of teachers come while they are trained.
    """

    trainer: Any
    model: nn.Module
    tokenizer: Any
    task: str
    test_data: Any | None
    save: Callable[[Path], None]
    notes: tuple[str, ...]
    seconds: Mapping[str, float]
    balances: Sequence[TempBalanceCallback]


@dataclass(frozen=True)
class _Bench:
    """What everything is made with: the recipe, and the model before it is changed."""

    recipe: Recipe
    folder: Path
    args: TrainingArguments
    checkpoint: Checkpoint
    loaded: RunModel
    say: Progress
    seconds: dict[str, float]

    @property
    def how(self) -> Tokenisation:
        data, loaded = self.recipe.data, self.loaded
        return Tokenisation(loaded.tokenizer, loaded.config, self.checkpoint.task, data.max_length, data.data_seed)


def assembled(recipe: Recipe, folder: Path, *, progress: Progress | None = None, prepare: bool = True) -> Assembled:
    """Make everything that a recipe asks for, up to the first step of training.

    Args:
        recipe: What is asked for.
        folder: Of the run. What is prepared is written there, and taken from there when it is there.
        progress: Called with what is being done, in a few words.
        prepare: ``False``: leave out what takes long, and write nothing; for those who only look. Then drop probabilities and
            ranks that are not given by a file are not set, and responses are those of the data.

    Returns:
        The run, ready to train.

    Raises:
        InputError: What cannot be, as far as nothing has told before.
        SourceError: A model or data that cannot be had.
        ResultsError: A file of the folder that cannot be read or written.
    """
    say = progress or (lambda what: None)
    args = run_arguments(recipe, folder)
    set_seed(recipe.seed)
    checkpoint, notes = run_checkpoint(recipe)
    say("reading the data")
    examples = None if _has_responses(recipe) else run_examples(recipe, has_classes=has_classes(checkpoint.task))
    say("loading the model")
    loaded = run_model(recipe, checkpoint, examples.classes if examples else (), args.device)
    bench = _Bench(recipe, folder, args, checkpoint, loaded, say, {})
    data = _response_data(bench, prepare=prepare) if examples is None else text_data(bench.how, examples)
    shop = _workshop(bench, examples, data)
    if prepare:
        with args.main_process_first(local=False):
            prepare_run(shop)
    parts = _ingredients(bench, data, has_prepared=prepare)
    ready = made_ready(parts)
    return Assembled(
        trainer=ready.trainer,
        model=ready.model,
        tokenizer=loaded.tokenizer,
        task=checkpoint.task,
        test_data=data.test,
        save=ready.save,
        notes=(*notes, *loaded.notes, *data.notes, *preparation_notes(shop)),
        seconds=bench.seconds,
        balances=parts.balances,
    )


def _has_responses(recipe: Recipe) -> bool:
    """Whether the data are prompts and responses, rather than texts."""
    data = recipe.data
    return recipe.method.name == "sdft" or data.prompt_column is not None or data.response_column is not None


def _response_data(bench: _Bench, *, prepare: bool) -> RunData:
    recipe = bench.recipe
    columns: dict[str, Any] = {name: getattr(recipe.data, name) for name in ("prompt_column", "response_column")}
    rows = {use: found for use in USES if (found := run_rows(recipe, use)) is not None}
    data: dict[str, Any] = {use: read_training_data(one, **columns) for use, one in rows.items()}
    if recipe.method.name != "sdft" or not prepare:
        return response_data(bench.how, data)
    began = time.perf_counter()
    loaded, wait = bench.loaded, bench.args.distributed_state.wait_for_everyone
    done = in_own_words(recipe, bench.folder, rows["train"], loaded.model, loaded.tokenizer, wait=wait, say=bench.say)
    bench.seconds["responses"] = time.perf_counter() - began
    made = response_data(bench.how, {**data, "train": done})
    return dataclasses.replace(made, notes=(selection_note(done), *made.notes))


def _workshop(bench: _Bench, examples: RunExamples | None, data: RunData) -> Workshop:
    recipe, checkpoint, loaded = bench.recipe, bench.checkpoint, bench.loaded
    subject = Subject(recipe, loaded.model, checkpoint.name, checkpoint.task, data.train, data.collate, notes=loaded.measured)
    texts = None if examples is None else examples.of["train"]
    pretrained = None
    if isinstance(texts, Examples) and isinstance(texts.texts[0], str) and (own := pretraining_checkpoint(checkpoint)):
        pretrained = partial(pretraining_subject, recipe, own, texts, bench.args.device)
    return Workshop(
        recipe=recipe,
        folder=bench.folder,
        subject=subject,
        has_new_head=not checkpoint.has_head,
        pretrained=pretrained,
        say=bench.say,
        seconds=bench.seconds,
    )


def _ingredients(bench: _Bench, data: RunData, *, has_prepared: bool) -> Ingredients:
    recipe, model, lora = bench.recipe, bench.loaded.model, None
    task, config = bench.checkpoint.task, bench.loaded.config
    if recipe.adapter.name == "lora":
        ranks = prepared_ranks(recipe, bench.folder, has_prepared=has_prepared)
        lora = lora_config(recipe, task, ranks)
        if recipe.method.name != "meta_peft":
            model = with_lora(model, lora, recipe)
    return Ingredients(
        recipe=recipe,
        folder=bench.folder,
        model=model,
        tokenizer=bench.loaded.tokenizer,
        args=bench.args,
        data=data,
        metrics=run_metrics(task, getattr(config, "num_labels", 2)),
        lora=lora,
        dropout=prepared_dropout(recipe, bench.folder, has_prepared=has_prepared),
    )
