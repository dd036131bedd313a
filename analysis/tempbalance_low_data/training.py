"""One run: fine-tune the demo model on few examples, with or without TempBalance, and say how good it is.

A plain PyTorch loop. Seeds decide the examples, the head's first weights, the order of the batches and the dropout masks: runs
of one seed differ in their learning rates alone. Times are of the processor, so that other work on the machine matters little.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from analysis.fisher_sst2.classifier import demo_folder
from analysis.tempbalance_low_data.balancing import Shuffled, block_scores, policy_of
from analysis.tempbalance_low_data.data import Example, drawn, read
from spectra.training import TempBalance

MAX_LENGTH = 64  # half of the reviews are longer than 160 tokens: they are cut off
BATCH_SIZE = 16
WARMUP, WEIGHT_DECAY, LARGEST_GRADIENT = 0.06, 0.1, 1.0  # arXiv 2410.12178 and its scripts; norm 1: the Trainer's default
EPOCHS = {64: 10, 256: 5}  # 40 and 80 steps: at 1e-4 the first bring the training loss on reviews under 0.1


@dataclass(frozen=True)
class Run:
    """What decides a run.

    Attributes:
        task: ``"books"`` or ``"RTE"``.
        size: Number of training examples.
        arm: ``"baseline"``, ``"tempbalance"``, or ``"shuffled"``: its multipliers, each given to another block.
        learning_rate: The largest of the schedule.
        strength: ``s`` of the sigmoid map: multipliers lie between ``10^(-s/2)`` and ``10^(s/2)``; 0 for the baseline.
        seed: Of everything that is random.
        split: ``"dev"`` or ``"test"``: where the model is judged.
        epochs: Passes over the examples.
    """

    task: str
    size: int
    arm: str
    learning_rate: float
    strength: float
    seed: int
    split: str
    epochs: int

    @property
    def num_steps(self) -> int:
        """Optimizer steps."""
        return self.epochs * self.steps_per_epoch

    @property
    def steps_per_epoch(self) -> int:
        """Batches in one pass; all are whole."""
        return self.size // BATCH_SIZE


class Balance(Protocol):
    """What the loop asks of TempBalance, and of the control."""

    scales: Mapping[str, float]

    def step(self) -> None:
        """Count an optimizer step."""


def run(what: Run, data: Path) -> dict[str, Any]:
    """Train and judge one model; return what is kept of it."""
    import transformers

    transformers.utils.logging.set_verbosity_error()
    transformers.utils.logging.disable_progress_bar()
    torch.set_num_threads(1)
    task = read(data, what.task)
    started = time.process_time()
    folder = demo_folder()
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    torch.manual_seed(what.seed)
    model = transformers.AutoModelForSequenceClassification.from_pretrained(folder, num_labels=2)
    before = block_scores(model) if what.split == "test" else {}
    examples = drawn(task.pool, what.size, what.seed)
    scales, seconds = train(model, tokenizer, examples, what)
    judged = task.test if what.split == "test" else task.dev
    return {
        **asdict(what),
        **quality(model, tokenizer, judged),
        "train_loss": quality(model, tokenizer, examples)["loss"],
        "scores_before": before,
        "scores_after": block_scores(model) if what.split == "test" else {},
        "scales": {unit: round(scale, 5) for unit, scale in scales.items()},
        "seconds_of_updates": round(seconds, 3),
        "seconds": round(time.process_time() - started, 1),
    }


def train(model: nn.Module, tokenizer: Any, examples: Sequence[Example], what: Run) -> tuple[dict[str, float], float]:
    """Fine-tune all weights; return the multipliers of the last step and the seconds they took in all."""
    from transformers import get_linear_schedule_with_warmup

    optimizer = torch.optim.AdamW(_groups(model), lr=what.learning_rate)
    started = time.process_time()
    balance = balanced(model, optimizer, what)
    seconds = time.process_time() - started
    schedule = get_linear_schedule_with_warmup(optimizer, round(WARMUP * what.num_steps), what.num_steps)
    torch.manual_seed(1000 + what.seed)  # the dropout masks are the same, whatever was drawn before
    model.train()
    for batch in _batches(tokenizer, examples, what):
        optimizer.zero_grad()
        model(**batch).loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), LARGEST_GRADIENT)
        optimizer.step()
        schedule.step()
        if balance is not None:
            begun = time.process_time()
            balance.step()
            seconds += time.process_time() - begun
    return dict(balance.scales) if balance is not None else {}, seconds


def balanced(model: nn.Module, optimizer: torch.optim.Optimizer, what: Run) -> Balance | None:
    """Set the method of the arm to work, measuring once per epoch."""
    if what.arm == "baseline":
        return None
    policy = policy_of(what.strength)
    if what.arm == "shuffled":
        return Shuffled(model, optimizer, policy, interval=what.steps_per_epoch, seed=what.seed)
    return TempBalance(model, optimizer, policy=policy, interval=what.steps_per_epoch)


def quality(model: nn.Module, tokenizer: Any, examples: Sequence[Example]) -> dict[str, float]:
    """Judge a model: accuracy, and mean loss in nats."""
    model.eval()
    ordered = sorted(examples, key=lambda example: sum(map(len, example[0])))  # of about one length: little padding
    num_right, loss = 0, 0.0
    with torch.no_grad():
        for start in range(0, len(ordered), 64):
            batch = _encoded(tokenizer, ordered[start : start + 64])
            found = model(**batch)
            num_right += int((found.logits.argmax(1) == batch["labels"]).sum())
            loss += float(found.loss) * len(batch["labels"])
    return {"accuracy": round(num_right / len(ordered), 4), "loss": round(loss / len(ordered), 4)}


def _groups(model: nn.Module) -> list[dict[str, Any]]:
    """Weight decay for matrices only, as usual."""
    parameters = list(model.parameters())
    return [
        {"params": [p for p in parameters if p.ndim > 1], "weight_decay": WEIGHT_DECAY},
        {"params": [p for p in parameters if p.ndim <= 1], "weight_decay": 0.0},
    ]


def _batches(tokenizer: Any, examples: Sequence[Example], what: Run) -> Iterator[dict[str, Tensor]]:
    generator = torch.Generator().manual_seed(what.seed)
    for _ in range(what.epochs):
        order = torch.randperm(len(examples), generator=generator).tolist()
        for start in range(0, len(order), BATCH_SIZE):
            yield _encoded(tokenizer, [examples[i] for i in order[start : start + BATCH_SIZE]])


def _encoded(tokenizer: Any, examples: Sequence[Example]) -> dict[str, Tensor]:
    texts, labels = zip(*examples, strict=True)
    columns = map(list, zip(*texts, strict=True))  # a text, or two
    encoded = tokenizer(*columns, padding=True, truncation=True, max_length=MAX_LENGTH, return_tensors="pt")
    return {**encoded, "labels": torch.tensor(labels)}
