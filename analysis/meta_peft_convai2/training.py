"""One cell: retrain a base on personas, adapt it to new ones, and say how well each adapted model finds the true reply.

Times are of the processor.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from peft import LoraConfig

from analysis.fisher_sst2.classifier import demo_folder
from analysis.meta_peft_convai2.data import judged_rows, new_tasks, retraining_tasks, split, trained_rows
from analysis.meta_peft_convai2.judging import judged
from analysis.meta_peft_convai2.protocol import METHODS, Cell
from spectra.training.meta_peft import MetaPeftTrainer, adaptation_trainer, ranking_loss
from spectra.training.meta_peft.ranking import ranking_collator

# From the released code: rank, alpha, dropout, every linear layer of the encoder; weight decay and warm-up of retraining.
RANK, ALPHA, DROPOUT = 8, 16, 0.1
LINEAR = ("query", "key", "value", "intermediate.dense", "output.dense")
WEIGHT_DECAY, WARMUP = 0.01, 0.1
KEPT = 0.75  # of the learning rate of adapting, at the end: its schedule of adapting is stretched by four
OUTER_RATE = 2.0  # of Reptile, as a multiple of that of its inner steps

# Half of the released code's: tasks here have a third of its turns.
BATCH_SIZE = 4  # turns

Rows = Sequence[Mapping[str, Any]]


def run(cell: Cell, data: Path) -> dict[str, Any]:
    """Train and judge the models of a cell; return what is kept of them."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    warnings.simplefilter("ignore", FutureWarning)  # peft asks for an attribute by the name that transformers gives up
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_folder())
    with TemporaryDirectory() as folder:
        base, retraining = _base(cell, tokenizer, data, folder)
        models = [
            {"persona": name, "learning_rate": rate, **_adapted(base, turns, rate, cell, tokenizer, folder)}
            for name, turns in new_tasks(data, range(cell.first, cell.last), cell.seed).items()
            for rate in cell.adapting_rates
        ]
    return {**asdict(cell), "retraining": retraining, "models": models}


def _base(cell: Cell, tokenizer: Any, data: Path, folder: str) -> tuple[Any, dict[str, Any]]:
    """Return the base, and how its retraining went."""
    torch.manual_seed(cell.seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(demo_folder(), num_labels=2)
    if cell.arm not in METHODS:
        return model, {"losses": [], "steps": 0, "rows": 0, "seconds": 0.0}
    tasks = retraining_tasks(data, cell.num_tasks, cell.seed)
    rows = {name: trained_rows(turns[: cell.most_turns], tokenizer) for name, turns in tasks.items()}
    began = time.process_time()
    trainer = MetaPeftTrainer(
        model,
        _lora(),
        rows,
        _arguments(
            cell,
            cell.retraining_epochs,
            folder,
            learning_rate=cell.retraining_rate * (OUTER_RATE if cell.arm == "Reptile" else 1.0),
            warmup_steps=WARMUP,
        ),
        config=_options(cell),
        loss_fn=ranking_loss,
        data_collator=ranking_collator(tokenizer),
    )
    _train(trainer)
    return trainer.retrained(), {
        "losses": [round(entry["loss"], 4) for entry in trainer.state.log_history if "loss" in entry],
        "steps": trainer.state.global_step,
        "rows": cell.retraining_epochs * sum(len(row["input_ids"]) for of in rows.values() for row in of),
        "seconds": round(time.process_time() - began, 1),
    }


def _options(cell: Cell) -> dict[str, Any]:
    """Return the options that make an arm."""
    own: dict[str, dict[str, Any]] = {
        # Those of retraining have as few steps as those of a new persona.
        "LoRA-ML": {"adapter_lr": cell.adapting_rates[0]},
        "Reptile": {"inner_lr": cell.retraining_rate},
    }
    return {"method": METHODS[cell.arm], **own.get(cell.arm, {})}


def _adapted(base: Any, turns: Any, rate: float, cell: Cell, tokenizer: Any, folder: str) -> dict[str, Any]:
    """Adapt a base to a persona; return how well it does on held-out turns, by epoch."""
    train, test = (part[: cell.most_turns] for part in split(turns, cell.seed))
    looks = _Looks(judged_rows(test, tokenizer), ranking_collator(tokenizer), cell.every)
    began = time.process_time()
    trainer = adaptation_trainer(
        base,
        trained_rows(train, tokenizer),
        _lora(),
        _arguments(
            cell,
            cell.adapting_epochs,
            folder,
            learning_rate=rate,
            lr_scheduler_type="polynomial",
            lr_scheduler_kwargs={"power": 1.0, "lr_end": KEPT * rate},
        ),
        loss_fn=ranking_loss,
        head="fresh",
        data_collator=ranking_collator(tokenizer),
        callbacks=[looks],
    )
    _train(trainer)
    seconds = time.process_time() - began
    return {"turns": len(train), "judged": len(test), "looks": looks.found, "seconds": round(seconds, 1)}


class _Looks(transformers.TrainerCallback):
    """Judges a model at the end of epochs."""

    def __init__(self, rows: Rows, collate: Any, every: int) -> None:
        self.rows, self.collate, self.every = rows, collate, every
        self.found: dict[str, dict[str, float]] = {}

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        epoch = round(state.epoch)
        if epoch % self.every == 0 or epoch == state.num_train_epochs:
            self.found[str(epoch)] = judged(kwargs["model"], self.rows, self.collate)


def _train(trainer: transformers.Trainer) -> None:
    trainer.remove_callback(transformers.PrinterCallback)
    trainer.train()


def _lora() -> LoraConfig:
    return LoraConfig(r=RANK, lora_alpha=ALPHA, lora_dropout=DROPOUT, target_modules=list(LINEAR), task_type="SEQ_CLS")


def _arguments(cell: Cell, epochs: int, folder: str, **schedule: Any) -> transformers.TrainingArguments:
    return transformers.TrainingArguments(
        output_dir=folder,
        num_train_epochs=epochs,
        per_device_train_batch_size=BATCH_SIZE,
        weight_decay=WEIGHT_DECAY,
        seed=cell.seed,
        save_strategy="no",
        logging_strategy="epoch",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **schedule,
    )
