"""``dcs``: a training step of ``DCSTrainer`` beside the same step of transformers' plain ``Trainer``.

With the teacher's answers in a file and discordances taken from training itself, DCS adds a comparison of logits to a step, and
the places of the samples to its batch: hardly anything beside forward, backward and AdamW. Both trainers hold the demo model
with a head for two classes, one object, and train it by turns, each first every other time, for an epoch of a few steps of 16
samples of 64 tokens. A step is timed from the end of the one before, so that loading, callbacks and the round at the end of an
epoch count; the first of each epoch does not.

First, the loss must be the plain one as long as there is no teacher, and another one after training with it. What comes beside
the steps is told apart: the pass over all samples after each epoch, which ``discordance_source="eval_pass"`` makes, as a share
of the time; the teacher's own training is no part of this.

Everything is timed in one child process, ``python -m benchmarks.dcs_step REPEATS``.
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
from benchmarks.trainer_steps import arguments, epoch_of, samples

if TYPE_CHECKING:
    from torch import nn

BAR = 1.05
PLAIN, DCS = "plain", "dcs"
_TOLERANCE = 1e-6  # relative, of a loss: one mean, the other sums and divides
_PAIRS_PER_REPEAT = 10  # as for dropout: 50 in a run of five
_STEPS = 4  # timed, of each epoch


def run(repeats: int) -> tuple[list[Comparison], list[str]]:
    """Measure the steps.

    Args:
        repeats: Rounds, of ten pairs of epochs each.

    Returns:
        One row; and in words the median of the paired ratios with its interval, and the share of the pass over all samples.

    Raises:
        AnswersDifferError: Without a teacher the loss is not the plain one, or with one it still is.
    """
    say("dcs: training steps in turns")
    found = run_module("benchmarks.dcs_step", str(repeats)).output
    before, after = found["before"], found["after"]
    if not _are_close(before) or _are_close(after):
        raise AnswersDifferError(
            f"dcs: expected equal losses without a teacher and other ones with it, got {before} and {after}."
        )
    ours, plain = (tuple(1e3 * seconds for seconds in found["seconds"][name]) for name in (DCS, PLAIN))
    row = Comparison("demo model: training step with DCS", "plain Trainer", "ms", ours, plain, BAR, ratio_of="spectra/peer")
    ratios = [mine / theirs for mine, theirs in zip(ours, plain, strict=True)]
    low, high = median_interval(ratios)
    return [row], [
        f"dcs: median of {len(ratios)} paired ratios {median(ratios):.4f}, 95 % interval {low:.4f} to {high:.4f} (bootstrap); "
        f"with discordance_source='eval_pass' the pass takes {found['share_of_pass']:.1%} of the time"
    ]


def _are_close(losses: dict[str, float]) -> bool:
    return math.isclose(losses[PLAIN], losses[DCS], rel_tol=_TOLERANCE)


def _model() -> nn.Module:
    from transformers import BertForSequenceClassification

    model: nn.Module = BertForSequenceClassification.from_pretrained(str(demo_folder()))
    return model


def _trainers(model: nn.Module, folder: str) -> dict[str, Any]:
    from transformers import Trainer

    from spectra.training.dcs import DCSTrainer

    args = arguments(folder)
    data, teacher = samples(1 + _STEPS), copy.deepcopy(model)
    teacher.get_submodule("classifier").reset_parameters()  # type: ignore[operator]  # else nothing is discordant
    forward: dict[str, Any] = {"discordance_source": "train_forward", "warmup_rounds": 0}
    return {
        PLAIN: Trainer(model, args, train_dataset=data),
        DCS: DCSTrainer(model, args, config=forward, teacher=teacher, train_dataset=data),
        "eval_pass": DCSTrainer(model, args, config={"warmup_rounds": 0}, teacher=teacher, train_dataset=data),
    }


def _losses(trainers: dict[str, Any], batch: dict[str, Any]) -> dict[str, float]:
    """The loss of a batch under the same masks of dropout, by trainer."""
    import torch

    from spectra.training.dcs.indexed import INDEX

    batches = {PLAIN: {name: value for name, value in batch.items() if name != INDEX}, DCS: batch}
    losses = {}
    for name, each in batches.items():
        torch.manual_seed(1)
        with torch.no_grad():
            losses[name] = float(trainers[name].compute_loss(trainers[name].model.train(), dict(each)))
    return losses


def _share_of_pass(trainer: Any, repeats: int) -> float:
    """Train for some epochs, and return what the pass after each took of the time."""
    train = epoch_of(trainer, _STEPS)
    train()
    steps = passes = 0.0
    for _ in range(repeats):
        timed = _STEPS * train()
        seconds = trainer.report().rounds[-1].seconds  # within the last step
        steps, passes = steps + (timed - seconds) * (1 + _STEPS) / _STEPS, passes + seconds
    return passes / (steps + passes)


def _measure(repeats: int) -> dict[str, Any]:
    import torch

    torch.manual_seed(0)
    with tempfile.TemporaryDirectory(prefix="spectra-benchmarks-") as folder:
        trainers = _trainers(_model(), folder)
        batch = next(iter(trainers[DCS].get_train_dataloader()))
        before = _losses(trainers, batch)
        epochs = {name: epoch_of(trainers[name], _STEPS) for name in (PLAIN, DCS)}
        seconds: dict[str, list[float]] = {PLAIN: [], DCS: []}
        for number in range(1 + _PAIRS_PER_REPEAT * repeats):  # the first pair warms up
            for name in (PLAIN, DCS) if number % 2 else (DCS, PLAIN):
                seconds[name].append(epochs[name]())
        found = {"before": before, "after": _losses(trainers, batch), "seconds": {name: seconds[name][1:] for name in seconds}}
        return found | {"share_of_pass": _share_of_pass(trainers["eval_pass"], repeats)}


def _main() -> None:
    print(json.dumps(_measure(int(sys.argv[1]))))


if __name__ == "__main__":
    _main()
