"""A run of a recipe in one process, from where it is: assembled, trained to the end, evaluated, saved and recorded."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from transformers import set_seed

from spectra._version import __version__
from spectra.results.run_metrics import EVAL, METRICS, TEST, metric_names
from spectra.results.run_record import RunRecord
from spectra.training.dcs.answers import CACHE_FILE
from spectra.training.dcs.teacher import FOLDER as TEACHER
from spectra.training.recipe.assembly.assembling import assembled
from spectra.training.recipe.parts import Recipe
from spectra.training.recipe.run.diagnosing import SpectraCallback
from spectra.training.recipe.run.log_writer import LogWriter
from spectra.training.recipe.run.resuming import Resuming, last_checkpoint
from spectra.training.recipe.run.run_folder import CHECKPOINTS, MODEL, environment_notes
from spectra.training.recipe.run.run_progress import RunProgress, ShownProgress
from spectra.training.recipe.run.spent import Spent
from spectra.training.recipe.run.stopping import Stopping
from spectra.training.sdft.run_files import process_rank
from spectra.training.tempbalance_callback import TempBalanceCallback

_TRAINING, _MULTIPLIERS, _SPECTRA = "training", "multipliers", "spectra"


class Session:
    """A run while it is under way.

    Args:
        recipe: Of the run.
        folder: Of the run, opened. Checkpoints in it are whole.
        progress: Told what is going on.
    """

    def __init__(self, recipe: Recipe, folder: Path, progress: RunProgress | None) -> None:
        self._recipe = recipe
        self._folder = folder
        self._is_first = process_rank()[0] == 0
        self._progress = progress if self._is_first else None
        self._metrics: dict[str, Mapping[str, float]] = {EVAL: {}, TEST: {}}
        self._spent = Spent()
        with self._spent.on("assembling"):
            self._ready = assembled(recipe, folder, progress=self._tell)
        self._spent.add({"assembling": -sum(self._ready.seconds.values())})
        self._spent.add(self._ready.seconds)
        self._trainer = self._ready.trainer
        wanted = recipe.diagnostics
        self._spectra = SpectraCallback(folder, wanted.spectra, model=self._ready.model, budget=wanted.budget_of_spectra)

    def train(self) -> None:
        """Train to the end, from the last checkpoint on.

        Raises:
            KeyboardInterrupt: Ctrl-C, or SIGTERM as ``Terminated``.
        """
        trainer, start = self._trainer, last_checkpoint(self._folder / CHECKPOINTS)
        before = {} if start is None else dict(start.position.seconds)
        trained, multiplied = before.pop(_TRAINING, 0.0), before.pop(_MULTIPLIERS, 0.0)
        self._spent.add(before)
        self._spectra.attach(trainer)
        log = LogWriter(self._folder / METRICS, start.position.num_lines if start else 0, trained) if self._is_first else None
        stopping = Stopping()

        def so_far() -> tuple[int, dict[str, float]]:
            if log is None:
                return 0, dict(self._spent.seconds)
            in_updates = multiplied + _multiplier_seconds(self._ready.balances)
            return log.num_lines, {**self._spent.seconds, _TRAINING: log.seconds, _MULTIPLIERS: in_updates}

        Resuming(trainer, start, so_far)
        for callback in (log, ShownProgress(self._progress) if self._progress else None, stopping):
            if callback is not None:
                trainer.add_callback(callback)
        self._tell("training")
        try:
            trainer.train(resume_from_checkpoint=str(start.folder) if start else self._has_a_teacher())
        finally:
            unanswered = stopping.release()
            if log is not None:
                trainer.remove_callback(log)  # the last evaluations are of the state that is kept, not of the last step
                log.close()
        self._spent.seconds.update(so_far()[1])
        if unanswered:
            raise unanswered

    def evaluate(self) -> None:
        """Evaluate the model that is kept, on the test data this once."""
        evaluated = {EVAL: self._trainer.eval_dataset, TEST: self._ready.test_data}
        with self._spent.on("evaluation"):
            for prefix, data in evaluated.items():
                if data is not None:
                    self._tell(f"evaluating {prefix.removesuffix('_')} data")
                    set_seed(self._recipe.seed)  # else it would depend on whether training was just done, or before
                    found = self._trainer.evaluate(data, metric_key_prefix=prefix.removesuffix("_"))
                    self._metrics[prefix] = {
                        f"{prefix}{name}": float(found[prefix + name]) for name in metric_names(found, prefix)
                    }

    def save(self) -> None:
        """Write the model."""
        self._tell("saving the model")
        with self._spent.on("saving"):
            if self._is_first:
                shutil.rmtree(self._folder / MODEL, ignore_errors=True)
            self._ready.save(self._folder / MODEL)

    def record(self) -> RunRecord:
        """Write the record, with which the run is finished.

        Returns:
            The record.
        """
        recipe, trainer, state = self._recipe, self._trainer, self._trainer.state
        is_best = recipe.training.metric_for_best_model is not None
        parameters = list(self._ready.model.parameters())
        seconds = {**self._spent.seconds, _SPECTRA: self._spectra.seconds}
        in_diagnostics = seconds[_SPECTRA] + seconds.get(_MULTIPLIERS, 0.0)
        record = RunRecord(
            name=str(recipe.name),
            method=recipe.method.name,
            adapter=recipe.adapter.name,
            model=recipe.model.name,
            task=self._ready.task,
            data={use: path for use in ("train", "eval", "test", "tasks") if (path := getattr(recipe.data, use)) is not None},
            seed=recipe.seed,
            num_train=trainer.num_examples(trainer.get_train_dataloader()),
            num_eval=_size(trainer.eval_dataset),
            num_test=_size(self._ready.test_data),
            num_parameters=sum(parameter.numel() for parameter in parameters),
            num_trainable=sum(parameter.numel() for parameter in parameters if parameter.requires_grad),
            num_steps=state.global_step,
            num_epochs=state.epoch,
            eval_metrics=self._metrics[EVAL],
            test_metrics=self._metrics[TEST],
            best_metric=state.best_metric if is_best else None,
            best_step=state.best_global_step if is_best else None,
            seconds={name: round(number, 3) for name, number in seconds.items()},
            diagnostics_share=in_diagnostics / seconds[_TRAINING] if seconds.get(_TRAINING) else 0.0,
            spectra=tuple(self._spectra.recorded),
            spectra_skipped=tuple(self._spectra.skipped),
            notes=(*self._ready.notes, *_notes_of(trainer), *environment_notes(self._folder)),
            output=recipe.output,
            spectra_version=__version__,
        )
        if self._is_first:
            record.save(self._folder)
        return record

    def _has_a_teacher(self) -> bool | None:
        """Say so of one that was begun, to go on with it."""
        checkpoints = self._folder / CHECKPOINTS
        begun = any((checkpoints / name).exists() for name in (TEACHER, CACHE_FILE))
        return True if self._recipe.method.name == "dcs" and begun else None

    def _tell(self, words: str) -> None:
        if self._progress is not None:
            self._progress.phase(words)


def _multiplier_seconds(balances: Iterable[TempBalanceCallback]) -> float:
    """Return what updates of multipliers took, in this session."""
    return sum(callback.balance.seconds_of_updates for callback in balances if callback.balance is not None)


def _notes_of(trainer: Any) -> tuple[str, ...]:
    """Return what a trainer says of the training that has ended."""
    notes: Callable[[], tuple[str, ...]] = getattr(trainer, "notes", tuple)
    return notes()


def _size(data: Any) -> int | None:
    """Count examples; those of several tasks are data by name."""
    if data is None:
        return None
    return sum(map(len, data.values())) if isinstance(data, Mapping) else len(data)
