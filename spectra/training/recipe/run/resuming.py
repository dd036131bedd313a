"""Going on from a checkpoint as if nothing had happened: which checkpoints are whole, and what the trainer does not keep.

A trainer that goes on from a checkpoint has forgotten the losses since its last log line, and those of the mean over the whole
training; and it may take a step too many (:mod:`spectra.training.ended_training`).
"""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from transformers import TrainerCallback

from spectra.results.versioned_json import write_json
from spectra.training.ended_training import end_where_it_ended
from spectra.training.recipe.run.full_disk import full_disk_in_words

POSITION = "spectra_run.json"
POSITION_SCHEMA_VERSION = 1

_STATE = "trainer_state.json"
_CHECKPOINT = re.compile(r"checkpoint-(\d+)")


@dataclass(frozen=True)
class Position:
    """How far a run had come when it wrote a checkpoint.

    Attributes:
        num_lines: Of the log.
        seconds: By what they were spent on, in all sessions so far.
        logged_loss: Sum of the losses of steps that log lines are about.
        unlogged_loss: Sum of those since.
        logged_step: The step of the last log line.
    """

    num_lines: int
    seconds: Mapping[str, float]
    logged_loss: float
    unlogged_loss: float
    logged_step: int


@dataclass(frozen=True)
class WholeCheckpoint:
    """A checkpoint that a run can go on from.

    Attributes:
        folder: Of it.
        step: After which it was written.
        position: Of the run.
    """

    folder: Path
    step: int
    position: Position


def remove_torn_checkpoints(folder: Path) -> None:
    """Remove checkpoints that were not finished, also those of trainings inside.

    A trainer writes its state last of all, so that a checkpoint which has it is whole.

    Args:
        folder: The trainer's; it may be missing.
    """
    for found in sorted(folder.rglob("checkpoint-*")):
        if _CHECKPOINT.fullmatch(found.name) and not _is_whole(found, is_own=found.parent == folder):
            shutil.rmtree(found)


def last_checkpoint(folder: Path) -> WholeCheckpoint | None:
    """Find what a run goes on from.

    Args:
        folder: The trainer's, without torn checkpoints; it may be missing.

    Returns:
        The newest checkpoint; ``None`` if there is none.
    """
    own = [found for found in folder.glob("checkpoint-*") if _CHECKPOINT.fullmatch(found.name)]
    newest = max(own, key=_step, default=None)
    return None if newest is None else WholeCheckpoint(newest, _step(newest), _position(newest))


class Resuming(TrainerCallback):
    """Keeps in each checkpoint what its trainer forgets, and gives it back to a trainer that goes on.

    Args:
        trainer: That is not training yet.
        start: What it goes on from, if anything.
        spent: Returns the lines of the log, and the seconds by what they were spent on.
    """

    def __init__(
        self, trainer: Any, start: WholeCheckpoint | None, spent: Callable[[], tuple[int, Mapping[str, float]]]
    ) -> None:
        self._trainer = trainer
        self._start = start
        self._spent = spent
        self._save = trainer._save_checkpoint
        trainer._save_checkpoint = self._save_all
        if start is not None:
            end_where_it_ended(trainer, start.step)
        trainer.add_callback(self)

    def on_train_begin(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Give back what the trainer has forgotten."""
        if self._start is not None:
            position, trainer = self._start.position, self._trainer
            trainer._tr_loss = torch.tensor(position.unlogged_loss, device=args.device)
            trainer._total_loss_scalar = position.logged_loss
            trainer._globalstep_last_logged = position.logged_step
            trainer._initial_global_step = 0

    def _save_all(self, *arguments: Any, **options: Any) -> None:
        trainer = self._trainer
        folder = Path(trainer.args.output_dir) / f"checkpoint-{trainer.state.global_step}"
        position = self._position()
        try:
            with full_disk_in_words(folder):
                if trainer.args.should_save:  # before the rest, so that a checkpoint that looks whole is
                    write_json(folder / POSITION, {"schema_version": POSITION_SCHEMA_VERSION} | asdict(position))
                self._save(*arguments, **options)
        except Exception:
            if trainer.args.should_save:  # a full disk has no room for what cannot be used
                shutil.rmtree(folder, ignore_errors=True)
            raise

    def _position(self) -> Position:
        trainer = self._trainer
        loss = trainer._tr_loss
        if trainer.args.world_size > 1:  # each process has the loss of its own examples
            loss = trainer.accelerator.gather(loss.reshape(1)).mean()
        num_lines, seconds = self._spent()
        return Position(num_lines, dict(seconds), trainer._total_loss_scalar, loss.item(), trainer._globalstep_last_logged)


def _is_whole(folder: Path, *, is_own: bool) -> bool:
    try:
        json.loads((folder / _STATE).read_bytes())
        if is_own:
            _position(folder)
    except (OSError, ValueError, TypeError, KeyError):
        return False
    return True


def _position(folder: Path) -> Position:
    content = json.loads((folder / POSITION).read_bytes())
    if content.pop("schema_version") != POSITION_SCHEMA_VERSION:
        raise ValueError
    return Position(**content)


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])
