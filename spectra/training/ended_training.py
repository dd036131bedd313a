"""Going on from a checkpoint of the very last step: a trainer must not take one more.

Where that step is in the middle of an epoch, as with ``max_steps``, transformers' loop over epochs takes up the unfinished one
and looks whether it is done after a step (5.23).
"""

from __future__ import annotations

from functools import wraps
from typing import Any


def end_where_it_ended(trainer: Any, step: int) -> None:
    """Let a training that is over have no epoch left.

    Args:
        trainer: A ``Trainer`` that is about to go on; its plan of epochs is changed where it has none to do.
        step: Of the checkpoint that it goes on from.
    """
    plan = trainer.set_initial_training_values

    @wraps(plan)
    def planned(*arguments: Any, **options: Any) -> Any:
        epochs, steps_per_epoch, *more, num_steps = plan(*arguments, **options)
        if step >= num_steps:
            epochs = min(epochs, step // steps_per_epoch)
        return (epochs, steps_per_epoch, *more, num_steps)

    trainer.set_initial_training_values = planned
