"""A trainer for each method, of the same ingredients, and the diagnostics at work in it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from pathlib import Path
from typing import Any

from torch import nn
from transformers import PrinterCallback, Trainer, TrainingArguments

from spectra.training.batch_means import divide_by_batches
from spectra.training.dcs import DCSTrainer
from spectra.training.guided_dropout import GuidedDropout
from spectra.training.libraries import quiet
from spectra.training.meta_peft import MetaPeftTrainer
from spectra.training.recipe.assembly.datasets import RunData
from spectra.training.recipe.assembly.run_metrics import RunMetrics
from spectra.training.recipe.parts import Recipe
from spectra.training.tempbalance_callback import TempBalanceCallback

# Policies in a recipe, in the order in which they are attached; a log of each has its name.
BALANCES = ("tempbalance", "alphadecay")


@dataclass(frozen=True)
class Ingredients:
    """What a trainer is made of.

    Attributes:
        recipe: What is asked for.
        folder: Of the run.
        model: Loaded; with its adapter, if it has one for all data.
        tokenizer: Of the model.
        args: Of the trainer.
        data: To train and evaluate on.
        metrics: Of the task.
        lora: peft's configuration of the adapter that each task gets, for ``meta_peft``.
        dropout: Drop probabilities by site, or ``None``.
        balances: Filled with the callbacks that balance, those of teachers too as they come.
    """

    recipe: Recipe
    folder: Path
    model: Any
    tokenizer: Any
    args: TrainingArguments
    data: RunData
    metrics: RunMetrics
    lora: Any
    dropout: GuidedDropout | None
    balances: list[TempBalanceCallback] = field(default_factory=list)

    def options(self) -> dict[str, Any]:
        """Return arguments that all trainers take."""
        return {
            "processing_class": self.tokenizer,
            "data_collator": self.data.collate,
            "compute_metrics": self.metrics.compute,
            "preprocess_logits_for_metrics": self.metrics.preprocess,
        }


@dataclass(frozen=True)
class Ready:
    """A trainer of a method.

    Attributes:
        trainer: With the diagnostics attached.
        model: Whose weights are analysed.
        save: Writes the final model and its tokenizer into a folder.
    """

    trainer: Any
    model: nn.Module
    save: Callable[[Path], None]


def made_ready(parts: Ingredients) -> Ready:
    """Make the trainer of a recipe's method.

    Args:
        parts: What it is made of.

    Returns:
        The trainer.

    Raises:
        InputError: What the trainer refuses.
    """
    return _MAKERS[parts.recipe.method.name](parts)


def _plain(parts: Ingredients) -> Ready:
    data = parts.data
    trainer = Trainer(parts.model, parts.args, train_dataset=data.train, eval_dataset=data.eval, **parts.options())
    divide_by_batches(trainer)
    _attach(trainer, parts)
    return Ready(trainer, parts.model, lambda folder: _save(trainer, folder))


def _dcs(parts: Ingredients) -> Ready:
    data = parts.data
    trainer = DCSTrainer(
        parts.model,
        parts.args,
        config=parts.recipe.method.options,
        train_dataset=data.train,
        eval_dataset=data.eval,
        **parts.options(),
    )
    _attach(trainer, parts)
    _attach_to_teachers(trainer, parts)
    return Ready(trainer, parts.model, lambda folder: _save(trainer, folder))


def _meta_peft(parts: Ingredients) -> Ready:
    data = parts.data
    trainer = MetaPeftTrainer(
        parts.model,
        parts.lora,
        data.train,
        parts.args,
        config=parts.recipe.method.options,
        eval_tasks=data.eval,
        **parts.options(),
    )
    _attach(trainer, parts, balanced=trainer.base_and_tasks())
    return Ready(
        trainer, trainer.adapters.base_view(), lambda folder: trainer.retrained().save(folder, tokenizer=parts.tokenizer)
    )


# sdft is what its data are: responses in the model's own words.
_MAKERS: Mapping[str, Callable[[Ingredients], Ready]] = {
    "plain": _plain,
    "dcs": _dcs,
    "sdft": _plain,
    "meta_peft": _meta_peft,
}


def _attach(trainer: Any, parts: Ingredients, *, balanced: nn.Module | None = None, logs: bool = True) -> None:
    """Put the recipe's diagnostics to work; what is logged is shown by who runs the recipe."""
    trainer.remove_callback(PrinterCallback)
    for name in BALANCES:
        options = getattr(parts.recipe.diagnostics, name)
        if options is not None:
            log = str(parts.folder / f"{name}.jsonl") if logs else None
            budget = min(options["budget"], parts.recipe.diagnostics.budget_of_each_balance)
            with quiet():  # of two callbacks of one class, which may be
                callback = TempBalanceCallback({**options, "budget": budget, "log": log}, model=balanced).attach(trainer)
            parts.balances.append(callback)
    if parts.dropout is not None:
        trainer.add_callback(parts.dropout.callback())


def _attach_to_teachers(trainer: Any, parts: Ingredients) -> None:
    """Train teachers as their students are trained."""
    make = trainer.make_teacher_trainer

    @wraps(make)
    def make_teacher_trainer(*arguments: Any) -> Any:
        nested = make(*arguments)
        _attach(nested, parts, logs=False)
        _attach_to_teachers(nested, parts)
        return nested

    trainer.make_teacher_trainer = make_teacher_trainer


def _save(trainer: Any, folder: Path) -> None:
    with quiet():
        trainer.save_model(str(folder))
        if trainer.args.should_save and (folder / "adapter_config.json").is_file():
            trainer.model.config.save_pretrained(folder)  # how many classes its head has, and their names
    (folder / "training_args.bin").unlink(missing_ok=True)  # a pickle that nothing needs
