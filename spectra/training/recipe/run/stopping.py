"""Where a training may stop so that it goes on exactly: after a step, or after all that belongs to the end of an epoch."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Any

import torch
from transformers import TrainerCallback

from spectra.fisher.interrupts import Interrupts, deferred_interrupts


class Stopping(TrainerCallback):
    """Saves a checkpoint at the end of the step in which Ctrl-C or SIGTERM came, and raises ``KeyboardInterrupt`` then.

    A second signal stops at once. Signals are caught from the first step on. It has to be the last callback.

    A trainer saves what is due after the last step of an epoch before that epoch's evaluation, and one that goes on from there
    never comes to the evaluation. So such a checkpoint is put off to the end of the epoch.
    """

    def __init__(self) -> None:
        self._interrupts = Interrupts()
        self._held = ExitStack()
        self._stops = False
        self._is_put_off = False

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Begin to catch signals."""
        self._interrupts = self._held.enter_context(deferred_interrupts())

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for a checkpoint where one is wanted, or put it off."""
        self._stops = _is_wanted(self._interrupts, args)
        ends_epoch = float(state.epoch).is_integer() or state.global_step >= state.max_steps
        self._is_put_off = control.should_save and ends_epoch
        control.should_save = (control.should_save or self._stops) and not ends_epoch

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Ask for the checkpoint that was put off."""
        self._stops = _is_wanted(self._interrupts, args)
        control.should_save = control.should_save or self._is_put_off or self._stops
        self._is_put_off = False

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Stop, now that everything is saved.

        Raises:
            KeyboardInterrupt: That was asked for.
        """
        if self._stops:
            raise self._interrupts.interrupt()

    def release(self) -> KeyboardInterrupt | None:
        """Catch no more signals.

        Returns:
            What to raise, if one came that nobody has answered.
        """
        self._held.close()
        return self._interrupts.interrupt() if self._interrupts.wanted else None


def _is_wanted(interrupts: Interrupts, args: Any) -> bool:
    """Let all processes stop at the same step: signals reach them at different ones."""
    if args.world_size == 1:
        return interrupts.wanted
    total = torch.tensor(int(interrupts.wanted), device=args.device)
    torch.distributed.all_reduce(total)
    return bool(total)
