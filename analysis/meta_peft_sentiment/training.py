"""One cell: retrain its bases on all domains but one, adapt each to that one, and say how good that is and what has moved.

A rate is that of the base's steps in SR and LoRA-ML, whose adapters and heads have ten times as much, and that of the steps on
a task in Reptile, whose steps of the base are fewer and that much larger. Times are of the processor.
"""

from __future__ import annotations

import os
import time
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from peft import LoraConfig
from torch import nn
from torch.nn.functional import cross_entropy

from analysis.fisher_sst2.classifier import demo_folder
from analysis.meta_peft_sentiment.data import Rows, adapting_rows, judged_rows, retraining_rows
from analysis.meta_peft_sentiment.protocol import LORA_ML, PRETRAINED, REPTILE, SIZES, STANDARD, Cell
from analysis.meta_peft_sentiment.shifts import RANK, kept, shift_of, summary
from spectra.training.meta_peft import MetaPeftTrainer, adapt

ADAPTING_RANK, ALPHA = 8, 16
LINEAR = ["query", "key", "value", "dense"]  # all layers of the blocks, and the pooler
ADAPTER_FACTOR = 10.0  # our choice, as usual for LoRA beside full fine-tuning; the released code has one rate for both
INNER_STEPS = 4  # of Reptile: as few as let it take several steps of the base, 16 of the others' 64
BATCH_SIZE, BATCH_SIZE_FORWARD = 16, 50
SMALL_BATCH = 8  # of adapting, to all but the most samples
WARMUP = 0.1  # of steps, as in the released code
# Not its 0.01: in rows of the embedding that no text uses Reptile's difference would be decay alone, and AdamW makes whole
# steps of it, however small it is: 1.8 % of their norm within four steps of the base.
WEIGHT_DECAY = 0.0


def run(cell: Cell, data: Path) -> dict[str, Any]:
    """Retrain, adapt and judge the models of a cell; return what is kept of them."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_folder())
    collate = transformers.DataCollatorWithPadding(tokenizer)
    tasks, samples = retraining_rows(cell, data, tokenizer), adapting_rows(cell, data, tokenizer)
    judged = judged_rows(cell, data, tokenizer)
    torch.manual_seed(cell.seed)
    start = transformers.AutoModelForSequenceClassification.from_pretrained(demo_folder(), num_labels=2)
    bases: list[dict[str, Any]] = []
    models: list[dict[str, Any]] = []
    found = {PRETRAINED: start}
    with TemporaryDirectory() as folder, Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere):
        for method, rate in cell.bases:
            base, trained = (
                (start, {}) if method == PRETRAINED else retrained(start, tasks, collate, method, rate, cell, folder)
            )
            found[method] = base
            bases.append({"method": method, "rate": rate, **trained})
            for size, at in [(size, at) for *of, size, at in cell.adaptings if of == [method, rate]]:
                known = {"method": method, "rate": rate, "size": size, "adapting rate": at}
                models.append(known | adapted(base, samples[size], judged, collate, at, cell, folder))
    return {**asdict(cell), "bases": bases, "models": models, **(_shifts(found, cell) if cell.split == "test" else {})}


def retrained(
    start: nn.Module, tasks: dict[str, Rows], collate: Any, method: str, rate: float, cell: Cell, folder: str
) -> tuple[nn.Module, dict[str, float]]:
    """Retrain a copy of the base; return it, and the loss and seconds of retraining."""
    options: dict[str, dict[str, Any]] = {
        STANDARD: {"method": "standard"},
        LORA_ML: {"method": "peft_ml", "adapter_lr": ADAPTER_FACTOR * rate},
        REPTILE: {"method": "reptile", "inner_steps": INNER_STEPS, "inner_lr": rate},
    }
    trainer = MetaPeftTrainer(
        deepcopy(start),
        _lora(RANK),
        tasks,
        _arguments(cell, folder, INNER_STEPS * rate if method == REPTILE else rate, num_train_epochs=cell.epochs),
        config=options[method],
        data_collator=collate,
    )
    began = time.process_time()
    loss = trainer.train().training_loss
    seconds = time.process_time() - began
    return trainer.retrained().model, {"loss": round(loss, 4), "steps": trainer.state.global_step, "seconds": round(seconds, 1)}


def adapted(
    base: nn.Module, samples: Rows, judged: Rows, collate: Any, rate: float, cell: Cell, folder: str
) -> dict[str, float]:
    """Adapt a base to the held-out domain; return the quality of the model and the seconds that it took."""
    batch_size = BATCH_SIZE if len(samples) == max(SIZES) else SMALL_BATCH
    arguments = _arguments(cell, folder, rate, max_steps=cell.adapting_steps, per_device_train_batch_size=batch_size)
    began = time.process_time()
    model = adapt(base, samples, _lora(ADAPTING_RANK), arguments, data_collator=collate)
    seconds = time.process_time() - began
    return quality(model, judged, collate) | {"seconds": round(seconds, 1)}


@torch.no_grad()
def quality(model: nn.Module, rows: Rows, collate: Any) -> dict[str, float]:
    """Judge a model: accuracy, and mean loss in nats."""
    right, loss = 0, 0.0
    for at in range(0, len(rows), BATCH_SIZE_FORWARD):
        batch = collate(rows[at : at + BATCH_SIZE_FORWARD])
        labels = batch.pop("labels")
        logits = model(**batch).logits
        right += int((logits.argmax(1) == labels).sum())
        loss += float(cross_entropy(logits, labels, reduction="sum"))
    return {"accuracy": round(right / len(rows), 4), "loss": round(loss / len(rows), 4)}


def _shifts(found: dict[str, nn.Module], cell: Cell) -> dict[str, Any]:
    """Measure what each retraining moved, and what LoRA-ML moved otherwise than SR."""
    start = found[PRETRAINED]
    shifts = {method: shift_of(start, base) for method, base in found.items() if base is not start}
    between = {f"{STANDARD} - {LORA_ML}": shift_of(found[LORA_ML], found[STANDARD])}
    numbers = {name: summary(shift) for name, shift in (shifts | between).items()}
    return {"shifts": numbers} | (
        {"spectra": {name: kept(shift) for name, shift in shifts.items()}} if cell.keeps_shifts else {}
    )


def _lora(rank: int) -> LoraConfig:
    return LoraConfig(r=rank, lora_alpha=ALPHA, target_modules=LINEAR)


def _arguments(cell: Cell, folder: str, rate: float, **options: Any) -> transformers.TrainingArguments:
    return transformers.TrainingArguments(
        output_dir=folder,
        learning_rate=rate,
        warmup_steps=WARMUP,
        weight_decay=WEIGHT_DECAY,
        seed=cell.seed,
        save_strategy="no",
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
        **({"per_device_train_batch_size": BATCH_SIZE} | options),
    )
