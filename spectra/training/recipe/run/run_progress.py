"""What a run tells of its progress."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Protocol

from transformers import TrainerCallback


class RunProgress(Protocol):
    """Shows how far a run is."""

    def phase(self, words: str) -> None:
        """Show what begins now, in a few words."""

    def step(self, done: int, total: int) -> None:
        """Show how many steps of training are done."""

    def logged(self, numbers: Mapping[str, float]) -> None:
        """Show what the trainer has logged."""


class ShownProgress(TrainerCallback):
    """Tells steps and log lines of a trainer, in one process of several.

    Args:
        progress: Told.
    """

    def __init__(self, progress: RunProgress) -> None:
        self._progress = progress

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell where training begins, or goes on."""
        self.on_step_end(args, state, control)

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Tell the step."""
        if state.is_world_process_zero:
            self._progress.step(state.global_step, state.max_steps)

    def on_log(self, args: Any, state: Any, control: Any, logs: Mapping[str, Any] | None = None, **kwargs: Any) -> None:
        """Tell the numbers."""
        if state.is_world_process_zero and logs:
            self._progress.logged(logs)
