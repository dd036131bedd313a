"""What benchmarks of trainers share: samples, arguments, and epochs whose steps are timed."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

BATCH, LENGTH = 16, 64  # samples of a step, tokens of a sample


def epoch_of(trainer: Any, steps: int) -> Callable[[], float]:
    """Make a function that trains for an epoch and returns the seconds of a step.

    Args:
        trainer: Of transformers; what it would print is left to the benchmark.
        steps: That are timed, from the end of the one before: an epoch has one more.

    Returns:
        The function.
    """
    from transformers import PrinterCallback, TrainerCallback

    ends: list[float] = []

    class Stamp(TrainerCallback):
        def on_step_end(self, *_: Any, **__: Any) -> None:
            ends.append(time.perf_counter())

    trainer.remove_callback(PrinterCallback)  # stdout is for the answer
    trainer.add_callback(Stamp())

    def train() -> float:
        ends.clear()
        trainer.train()
        return (ends[-1] - ends[0]) / steps

    return train


def samples(steps: int) -> list[dict[str, Any]]:
    """Draw the samples of an epoch for two classes."""
    import torch

    tokens = torch.randint(1000, 30000, (BATCH * steps, LENGTH))
    return [{"input_ids": row, "attention_mask": torch.ones_like(row), "labels": n % 2} for n, row in enumerate(tokens)]


def arguments(folder: str, **others: Any) -> Any:
    """Return training arguments: one epoch on the CPU, nothing written."""
    from transformers import TrainingArguments

    return TrainingArguments(
        folder,
        num_train_epochs=1,
        per_device_train_batch_size=BATCH,
        per_device_eval_batch_size=BATCH,
        learning_rate=2e-5,
        save_strategy="no",
        report_to="none",
        disable_tqdm=True,
        use_cpu=True,
        **others,
    )
