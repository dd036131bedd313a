"""Which networks are trained: one thing at a time is varied from the base setting, the number of tasks or the width.

Numbers of samples, epochs and seeds are those of the official code (jacob-block/peft-ml, ``shallow``).
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

RANK = 1  # of what tells tasks apart, and of the adapters in retraining
RETRAINED = ("LoRA-ML", "SR")
ARMS = (*RETRAINED, "oracle")


@dataclass(frozen=True)
class Setting:
    """Networks that are trained as one batch, a seed each.

    Attributes:
        tasks: To retrain on.
        width: Of inputs and of the hidden layer.
        num_seeds: Networks of each arm.
        epochs: Of retraining.
        fine_tuning_epochs: Of fine-tuning.
        retraining: Samples of each task.
        few: Samples of the new task.
    """

    tasks: int
    width: int
    num_seeds: int = 10
    epochs: int = 40_000
    fine_tuning_epochs: int = 15_000
    retraining: int = 1000
    few: int = 100

    @property
    def ranks(self) -> tuple[int, ...]:
        """Of the adapter in fine-tuning: three times that of the tasks as well where two tasks do not determine A."""
        return (RANK, 3 * RANK) if self.tasks == 2 else (RANK,)


Found = Mapping[Setting, Mapping[str, Any]]

LOOKS = 200  # at a run, from its start to its end

# The longest first, so that two processes end together. T = 10 and d = 20 of the official code would more than double the cost.
FULL = (Setting(5, 10), Setting(3, 10), Setting(2, 10), Setting(3, 5))
QUICK = tuple(Setting(tasks, width, 2, 20, 20, 50, 20) for tasks, width in ((2, 5), (3, 5)))


def run(setting: Setting) -> dict[str, Any]:
    """Retrain and fine-tune the networks of a setting."""
    from analysis.meta_peft_two_layer.network import Trace, draw, fine_tune, retrain

    started = time.process_time()
    problem = draw(
        range(setting.num_seeds),
        tasks=setting.tasks,
        width=setting.width,
        rank=RANK,
        largest_rank=3 * RANK,
        retraining=setting.retraining,
        few=setting.few,
    )
    bases, losses = {"oracle": problem.truth}, {}
    for arm, down in zip(RETRAINED, (problem.retraining_down, None), strict=True):
        bases[arm], losses[arm] = retrain(
            problem.start, problem.retraining, down, epochs=setting.epochs, every=_every(setting.epochs)
        )
    retrained = time.process_time()

    def risk(arm: str, rank: int) -> Trace:
        down = problem.fine_tuning_down[:, :, :rank]
        every = _every(setting.fine_tuning_epochs)
        return fine_tune(bases[arm], problem.few, problem.fresh, down, epochs=setting.fine_tuning_epochs, every=every)

    risks = {f"rank {rank}": {arm: _plain(risk(arm, rank)) for arm in ARMS} for rank in setting.ranks}
    return {
        **asdict(setting),
        "losses": {arm: _plain(trace) for arm, trace in losses.items()},
        "risks": risks,
        "retraining seconds": round(retrained - started, 1),
        "fine-tuning seconds": round(time.process_time() - retrained, 1),
    }


def _every(epochs: int) -> int:
    return max(1, epochs // LOOKS)


def _plain(trace: Any) -> dict[str, Any]:
    """Make a trace JSON: values by seed, at each epoch."""
    return {"epochs": list(trace.epochs), "values": [[float(f"{one:.4g}") for one in at] for at in trace.values.tolist()]}
