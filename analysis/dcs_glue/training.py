"""One cell: train its arms one after the other with a shared teacher, and say how good each is and what it suspects.

All arms are runs of ``DCSTrainer``. Seeds decide the head's first weights, the order of the batches and the dropout masks; the
teacher is made by the first arm that needs one, with another seed, and found again by the others. Times are of the processor.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout
from copy import deepcopy
from dataclasses import asdict
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
import transformers
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from analysis.dcs_glue.data import encoded, judged_on, training_set
from analysis.dcs_glue.label_errors import places, rankings
from analysis.dcs_glue.protocol import DISTILLED, WEIGHTED, Cell
from analysis.fisher_sst2.classifier import demo_folder
from spectra.errors import SpectraWarning
from spectra.results.sample_history import SampleHistory
from spectra.training.dcs import DCSTrainer

BATCH_SIZE, BATCH_SIZE_FORWARD = 16, 64
WARMUP, WEIGHT_DECAY = 0.1, 0.01  # of steps; both conventional on GLUE

Items = list[dict[str, Any]]
Collate = Callable[[Items], Any]


def run(cell: Cell, data: Path) -> dict[str, Any]:
    """Train and judge the models of a cell; return what is kept of them."""
    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    tokenizer = transformers.AutoTokenizer.from_pretrained(demo_folder())
    collate = transformers.DataCollatorWithPadding(tokenizer)
    examples, wrong = training_set(cell, data)
    items, judged = encoded(tokenizer, examples), encoded(tokenizer, judged_on(cell, data))
    torch.manual_seed(cell.seed)
    start = transformers.AutoModelForSequenceClassification.from_pretrained(demo_folder(), num_labels=2)
    models: dict[str, dict[str, float]] = {}
    histories: dict[str, SampleHistory] = {}
    orders: dict[str, list[int]] = {}
    with TemporaryDirectory() as folder:
        for arm in cell.arms:
            trainer, seconds = trained(deepcopy(start), items, collate, arm, cell, folder)
            models[arm] = quality(trainer.model, judged, collate) | seconds
            histories[arm] = trainer.report()
        if cell.has_teacher:
            teacher = transformers.AutoModelForSequenceClassification.from_pretrained(Path(folder) / "teacher")
            models["teacher"] = quality(teacher, judged, collate)
            orders = rankings(histories, losses(teacher, items, collate))
    rounds = {arm: [_kept(each) for each in histories[arm].rounds] for arm in WEIGHTED if arm in histories}
    found = {name: places(order, wrong) for name, order in orders.items()}
    return {**asdict(cell), "models": models, "rounds": rounds, "places": found}


def trained(
    model: nn.Module, items: Items, collate: Collate, arm: str, cell: Cell, folder: str
) -> tuple[DCSTrainer, dict[str, float]]:
    """Train an arm; return its trainer, and the seconds that its teacher and it took."""
    student = _Student()
    trainer = DCSTrainer(
        model,
        _arguments(cell, arm, folder),
        config=options(arm, cell),
        train_dataset=items,
        data_collator=collate,
        callbacks=[student],
    )
    began = time.process_time()
    with Path(os.devnull).open("w") as nowhere, redirect_stdout(nowhere), warnings.catch_warnings():
        warnings.simplefilter("ignore", SpectraWarning)  # that few samples have all the weight: kept in the rounds
        trainer.train()
    ended = time.process_time()
    return trainer, {"teacher_seconds": round(student.began - began, 1), "seconds": round(ended - student.began, 1)}


def options(arm: str, cell: Cell) -> dict[str, Any]:
    """Return the options of DCS that make an arm."""
    if arm == "plain":
        # All rounds are warm-up: no weight ever changes, but the losses after each epoch are kept.
        return {"preset": "label-boosting", "warmup_rounds": cell.epochs}
    return {"preset": "plain" if arm == "plain-twice" else arm}


def quality(model: nn.Module, items: Items, collate: Collate) -> dict[str, float]:
    """Judge a model: accuracy, and mean loss in nats."""
    found, labels = logits(model, items, collate), _labels(items)
    accuracy = float((found.argmax(1) == labels).float().mean())
    return {"accuracy": round(accuracy, 4), "loss": round(float(cross_entropy(found, labels)), 4)}


def losses(model: nn.Module, items: Items, collate: Collate) -> list[float]:
    """Return the loss of each example."""
    found: list[float] = cross_entropy(logits(model, items, collate), _labels(items), reduction="none").tolist()
    return found


@torch.no_grad()
def logits(model: nn.Module, items: Items, collate: Collate) -> Tensor:
    """Ask a model about examples; shape ``(N, 2)``."""
    model.eval()
    found = torch.empty(len(items), 2)
    # Of about one length: little padding.
    order = sorted(range(len(items)), key=lambda i: len(items[i]["input_ids"]))
    for at in range(0, len(order), BATCH_SIZE_FORWARD):
        part = order[at : at + BATCH_SIZE_FORWARD]
        found[part] = model(**collate([items[i] for i in part])).logits
    return found


class _Student(transformers.TrainerCallback):
    """Notes when the teacher is there and the student begins: the teacher's own run has no callbacks."""

    began = 0.0

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        self.began = time.process_time()


def _arguments(cell: Cell, arm: str, folder: str) -> transformers.TrainingArguments:
    return transformers.TrainingArguments(
        output_dir=folder,
        num_train_epochs=2 * cell.epochs if arm == "plain-twice" else cell.epochs,
        learning_rate=cell.learning_rate,
        per_device_train_batch_size=BATCH_SIZE,
        per_device_eval_batch_size=BATCH_SIZE_FORWARD,
        warmup_steps=WARMUP,
        weight_decay=WEIGHT_DECAY,
        seed=cell.seed,
        # The arm that trains the teacher keeps it, for its accuracy; the others find its answers.
        save_strategy="steps" if arm == DISTILLED[0] else "no",
        save_only_model=True,
        logging_strategy="no",
        report_to=[],
        disable_tqdm=True,
        use_cpu=True,
    )


def _labels(items: Items) -> Tensor:
    return torch.tensor([item["labels"] for item in items])


def _kept(done: Any) -> dict[str, Any]:
    numbers = {name: round(getattr(done, name), 5) for name in ("eps", "step_size", "ess", "v_max", "top_share")}
    return numbers | {"skipped": done.skipped}
