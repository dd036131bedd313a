"""``meta-peft``: a step of ``MetaPeftTrainer`` beside one of the plain ``Trainer`` over a base and one LoRA adapter.

Both train the demo model with its head and rank 8 on all linear layers, base included, by AdamW, by turns, each first every
other time, for an epoch of a few steps of 16 samples of 64 tokens; ours has four tasks and changes the task in each step. A
step is timed from the end of the one before, so that sampling, switching and callbacks count; the first of an epoch does not.

First, the loss must be the plain one while adapters are new. Memory is predicted as 16 bytes for each number that is trained
(itself, its gradient, two of AdamW), and held beside what is there in a step, with the gradients of the active task only, and
beside the peak of the process.

Everything is measured in one child process each, ``python -m benchmarks.meta_peft_step time|memory NUMBER``.
"""

from __future__ import annotations

import copy
import json
import math
import sys
import tempfile
from typing import TYPE_CHECKING, Any

from benchmarks.answers import AnswersDifferError
from benchmarks.measure import median, median_interval, run_module, say
from benchmarks.models import demo_folder
from benchmarks.table import Comparison
from benchmarks.trainer_steps import BATCH, arguments, epoch_of, samples

if TYPE_CHECKING:
    from torch import nn

BAR = 1.10
PLAIN, META = "plain", "meta_peft"
_TOLERANCE = 1e-6  # relative, of a loss
_PAIRS_PER_REPEAT = 10
_STEPS = 7  # timed, of each epoch: two rounds through four tasks
_TASKS = 4
_MANY_TASKS = 20
_BYTES = 16  # of a number that is trained in float32 by AdamW


def run(repeats: int) -> tuple[list[Comparison], list[str]]:
    """Measure steps and memory.

    Args:
        repeats: Rounds, of ten pairs of epochs each.

    Returns:
        One row; and in words the median of the paired ratios with its interval, and memory beside its prediction.

    Raises:
        AnswersDifferError: With new adapters the loss is not the plain one.
    """
    say("meta-peft: training steps in turns")
    found = run_module("benchmarks.meta_peft_step", "time", str(repeats)).output
    if not math.isclose(found["losses"][PLAIN], found["losses"][META], rel_tol=_TOLERANCE):
        raise AnswersDifferError(f"meta-peft: expected equal losses with new adapters, got {found['losses']}.")
    ours, plain = (tuple(1e3 * seconds for seconds in found["seconds"][name]) for name in (META, PLAIN))
    row = Comparison(
        "demo model: step of meta-PEFT, four tasks", "Trainer, base and LoRA", "ms", ours, plain, BAR, ratio_of="spectra/peer"
    )
    ratios = [mine / theirs for mine, theirs in zip(ours, plain, strict=True)]
    low, high = median_interval(ratios)
    return [row], [
        f"meta-peft: median of {len(ratios)} paired ratios {median(ratios):.4f}, 95 % interval {low:.4f} to {high:.4f}",
        *(_memory_in_words(tasks) for tasks in (_TASKS, _MANY_TASKS)),
    ]


def _memory_in_words(tasks: int) -> str:
    found, bare = (run_module("benchmarks.meta_peft_step", "memory", str(number)) for number in (tasks, 0))
    predicted = found.output["predicted"] / 2**20
    held, peak = found.output["held"] / 2**20, found.peak_mib - bare.peak_mib
    return (
        f"meta-peft, {tasks} tasks: predicted {predicted:.0f} MiB; weights, gradients and optimizer {held:.0f} MiB "
        f"({held / predicted:.3f} of it); the process above its imports, at its peak, {peak:.0f} MiB ({peak / predicted:.3f})"
    )


def _model() -> nn.Module:
    from transformers import BertForSequenceClassification

    model: nn.Module = BertForSequenceClassification.from_pretrained(str(demo_folder()))
    return model


def _tiny_model() -> nn.Module:
    from transformers import BertConfig, BertForSequenceClassification

    config = BertConfig(hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    model: nn.Module = BertForSequenceClassification(config)
    return model


def _lora() -> Any:
    from peft import LoraConfig

    return LoraConfig(r=8, lora_alpha=16, target_modules="all-linear", task_type="SEQ_CLS")


def _plain_model(model: nn.Module) -> nn.Module:
    from peft import get_peft_model

    adapted: nn.Module = get_peft_model(model, _lora())
    for name, parameter in adapted.named_parameters():
        parameter.requires_grad_("original_module" not in name)
    return adapted


def _meta_trainer(model: nn.Module, folder: str, data: list[Any], num_tasks: int) -> Any:
    from transformers import PrinterCallback

    from spectra.training.meta_peft import MetaPeftTrainer

    tasks = {f"task{number}": data[number::num_tasks] for number in range(num_tasks)}
    trainer = MetaPeftTrainer(model, _lora(), tasks, arguments(folder))
    trainer.remove_callback(PrinterCallback)  # stdout is for the answer
    return trainer


def _time(repeats: int) -> dict[str, Any]:
    import torch
    from transformers import Trainer

    torch.manual_seed(0)
    model, data = _model(), samples(1 + _STEPS)
    with tempfile.TemporaryDirectory(prefix="spectra-benchmarks-") as folder:
        trainers = {
            PLAIN: Trainer(_plain_model(copy.deepcopy(model)), arguments(folder), train_dataset=data),
            META: _meta_trainer(model, folder, data, _TASKS),
        }
        losses = _losses(trainers, data)
        epochs = {name: epoch_of(trainers[name], _STEPS) for name in (PLAIN, META)}
        seconds: dict[str, list[float]] = {PLAIN: [], META: []}
        for number in range(1 + _PAIRS_PER_REPEAT * repeats):  # the first pair warms up
            for name in (PLAIN, META) if number % 2 else (META, PLAIN):
                seconds[name].append(epochs[name]())
    return {"losses": losses, "seconds": {name: values[1:] for name, values in seconds.items()}}


def _losses(trainers: dict[str, Any], data: list[dict[str, Any]]) -> dict[str, float]:
    """The loss of a batch, without dropout."""
    import torch
    from transformers import default_data_collator

    batch = default_data_collator(data[:BATCH])
    with torch.no_grad():
        return {name: float(one.compute_loss(one.model.eval(), dict(batch))) for name, one in trainers.items()}


def _memory(num_tasks: int) -> dict[str, float]:
    """Train for a round over short texts; without a task, a tiny model: what is imported and set up."""
    data = [
        {name: value if name == "labels" else value[:4] for name, value in row.items()} for row in samples(max(num_tasks, 2))
    ]
    with tempfile.TemporaryDirectory(prefix="spectra-benchmarks-") as folder:
        trainer = _meta_trainer(
            _model() if num_tasks else _tiny_model(), folder, data[: 2 * max(num_tasks, 2)], max(num_tasks, 2)
        )
        held = _at_steps(trainer)
        trainer.train()
    adapters = trainer.adapters
    trained = [adapters.base_parameters(), *(adapters.task_parameters(task) for task in adapters.tasks)]
    numbers = sum(p.numel() for parameters in trained for p in parameters.values())
    return {"predicted": _BYTES * numbers, "held": max(held)}


def _at_steps(trainer: Any) -> list[int]:
    """Make a trainer count the bytes of weights, gradients and optimizer in each step, before gradients are dropped."""
    from transformers import TrainerCallback

    counts: list[int] = []

    class Count(TrainerCallback):
        def on_optimizer_step(self, *_: Any, **__: Any) -> None:
            tensors = [t for p in trainer.model.parameters() for t in (p, p.grad) if t is not None]
            tensors += [t for state in trainer.optimizer.state.values() for t in state.values() if hasattr(t, "numel")]
            counts.append(sum(t.numel() * t.element_size() for t in tensors))

    trainer.add_callback(Count())
    return counts


def _main() -> None:
    measure = {"time": _time, "memory": _memory}[sys.argv[1]]
    print(json.dumps(measure(int(sys.argv[2]))))


if __name__ == "__main__":
    _main()
