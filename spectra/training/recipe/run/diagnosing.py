"""Spectra of all weights in the course of a training run: before it, at the end of epochs, and after it."""

from __future__ import annotations

import dataclasses
import math
import os
import shutil
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import nn
from transformers import TrainerCallback
from transformers.trainer_callback import ExportableState

from spectra.errors import InputError, SourceError, did_you_mean
from spectra.results.run_spectra import AFTER, BEFORE, DIAGNOSTICS, analysis_folders, epoch_name
from spectra.training.recipe.run.repeated_analysis import Analysis, analyzed
from spectra.training.sharded_layers import is_sharded
from spectra.training.update_clock import UpdateClock

WHEN = ("epoch", "ends", "none")
_EPOCH, _ENDS, _NONE = WHEN


class SpectraCallback(TrainerCallback, ExportableState):
    """Records the spectra of all weights under a ``Trainer``, as :func:`spectra.analyze` finds them with default settings.

    Before training and after it they are always recorded. At the end of an epoch in between they are recorded if the time so
    far pays for it: analyses of epochs, and of before and after as large a part as has been trained, take at most a share of
    it. So recorded epochs are spread evenly over a run. What was left out is listed.

    The run itself is not changed: neither weights nor gradients, modes or random numbers. Of a model with adapters the
    effective weights, base and change, are analysed. In a run of several processes the first one works and the others wait;
    weights that are divided over processes are not analysed.

    Args:
        folder: Of the run: results are in its folder ``diagnostics``, in ``before``, ``epoch-001``, ..., ``after``.
        when: ``"epoch"``, ``"ends"`` (before and after only) or ``"none"``.
        model: Analysed in the place of the trainer's model, where that is built around it.
        budget: Share of the time of training, in (0, 1]. Default 0.05: our choice, as for TempBalance; a
            recipe passes its own.
        now: Returns seconds.

    Attributes:
        recorded: Names of the analyses, in their order.
        skipped: A sentence for each that was left out.

    Raises:
        InputError: An unknown word, or a budget out of range.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str],
        when: str = _EPOCH,
        *,
        model: nn.Module | None = None,
        budget: float = 0.05,
        now: Callable[[], float] = time.perf_counter,
    ) -> None:
        if when not in WHEN:
            raise InputError(f"when: unknown word {when!r}.{did_you_mean(str(when), WHEN)} Known: {', '.join(WHEN)}.")
        self._now = now
        self._budget = budget
        self._clock = self._new_clock(torch.device("cpu"))  # says what is wrong with a budget
        self._folder = Path(folder) / DIAGNOSTICS
        self._when = when
        self._model = model
        self._analysed: nn.Module | None = None
        self._is_working = False
        self._latest: tuple[int, Analysis] | None
        self._news: dict[str, float]
        self.recorded: list[str]
        self.skipped: list[str]
        self._forget()

    @property
    def num_analyses(self) -> int:
        """How many analyses were recorded."""
        return len(self.recorded)

    @property
    def seconds(self) -> float:
        """What analyses took, in all processes that continued the run."""
        return self._seconds_of_ends + self._seconds_between

    @property
    def share(self) -> float:
        """Share of the time of training so far that went into analyses."""
        return self.seconds / max(self._elapsed(), 1e-9)

    def attach(self, trainer: Any) -> SpectraCallback:
        """Add this callback to a trainer, before those that report what is logged.

        Args:
            trainer: A ``Trainer``.

        Returns:
            The callback.
        """
        trainer.add_callback(self)
        callbacks = trainer.callback_handler.callbacks
        callbacks.insert(0, callbacks.pop())
        return self

    def on_train_begin(self, args: Any, state: Any, control: Any, model: nn.Module | None = None, **kwargs: Any) -> None:
        """Analyse the model as it is before training; in a run that is continued, go on from the checkpoint."""
        self._forget()
        self._analysed = model if self._model is None else self._model
        assert self._analysed is not None
        self._is_working = self._when != _NONE and state.is_world_process_zero
        if not self._is_working:
            return
        if state.global_step:
            self._restore(state)
        self._remove_later_analyses()
        self._clock = self._new_clock(next(self._analysed.parameters()).device)
        if _is_divided(args, self._analysed):
            self._is_working = False
            self._skip("all", "the weights are divided over processes. Analyse the saved model with 'spectra analyze'")
        elif BEFORE not in self.recorded:
            self._record(BEFORE, "before training", 0, 0.0)

    def on_epoch_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Analyse the model, if there is time for it."""
        if not self._is_working or self._when != _EPOCH:
            return
        is_over = state.global_step >= state.max_steps
        # What is left in the end is recorded as after: the same weights, unless the best state is loaded before.
        if control.should_training_stop and not (is_over and args.load_best_model_at_end):
            return
        epoch = math.ceil(state.epoch - 1e-6)  # a sum of shares of the epoch
        if self._can_pay(state.global_step / state.max_steps):
            self._record(epoch_name(epoch), f"after epoch {epoch}", state.global_step, state.epoch)
        else:
            self._skip(f"after epoch {epoch} (step {state.global_step})", self._too_expensive())

    def on_train_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """Analyse the model that training has left."""
        if not self._is_working:
            return
        best = state.best_global_step if args.load_best_model_at_end else None
        step = best or state.global_step
        epoch = state.epoch * step / max(state.global_step, 1)
        self._record(AFTER, "after training", step, epoch)
        self._ended = self._now()

    def on_log(self, args: Any, state: Any, control: Any, logs: dict[str, Any] | None = None, **kwargs: Any) -> None:
        """Add what was found since the last line to what is logged: the mean alpha, and the cost."""
        # The summary at the end of training has no learning rate.
        if self._news and logs is not None and "learning_rate" in logs:
            logs.update(self._news)
            state.log_history[-1].update(self._news)
            self._news = {}

    def state(self) -> dict[str, Any]:
        """Return what a checkpoint keeps."""
        arguments = {"folder": str(self._folder.parent), "when": self._when, "budget": self._budget}
        kept = {
            "elapsed": self._elapsed(),
            "seconds_of_ends": self._seconds_of_ends,
            "seconds_between": self._seconds_between,
            "last": self._last,
            "recorded": list(self.recorded),
            "skipped": list(self.skipped),
            "news": dict(self._news),
        }
        return {"args": arguments, "attributes": {"_restored": kept}}

    def _new_clock(self, device: torch.device) -> UpdateClock:
        return UpdateClock("auto", budget=self._budget, device=device, now=self._now)

    def _forget(self) -> None:
        self._began, self._ended = self._now(), math.nan
        self._elapsed_before = self._seconds_of_ends = self._seconds_between = self._last = 0.0
        self._latest = None
        self.recorded, self.skipped, self._news = [], [], {}

    def _restore(self, state: Any) -> None:
        """Take what the checkpoint keeps: the trainer reads it with its own state."""
        found = (getattr(state, "stateful_callbacks", None) or {}).get(type(self).__name__)
        kept: Mapping[str, Any] = (found or {}).get("attributes", {}).get("_restored") or {}
        self._elapsed_before = kept.get("elapsed", 0.0)
        self._seconds_of_ends = kept.get("seconds_of_ends", 0.0)
        self._seconds_between = kept.get("seconds_between", 0.0)
        self._last = kept.get("last", 0.0)
        self.recorded, self.skipped = list(kept.get("recorded", ())), list(kept.get("skipped", ()))
        self._news = dict(kept.get("news", {}))

    def _remove_later_analyses(self) -> None:
        """Remove what a killed process has recorded after the step from which this one goes on."""
        for folder in analysis_folders(self._folder.parent):
            if folder.name not in self.recorded:
                shutil.rmtree(folder)

    def _elapsed(self) -> float:
        now = self._now() if math.isnan(self._ended) else self._ended
        return self._elapsed_before + now - self._began

    def _can_pay(self, progress: float) -> bool:
        """Say whether a further analysis, and the part of before and after that is due by now, is within the budget."""
        ends = self._seconds_of_ends + self._last
        return self._seconds_between + self._last + progress * ends <= self._budget * self._elapsed()

    def _too_expensive(self) -> str:
        return (
            f"an analysis takes about {self._last:.2g} s, more than was left of the budget ({100 * self._budget:.3g} % of the "
            f"{self._elapsed():.3g} s so far)"
        )

    def _record(self, name: str, moment: str, step: int, epoch: float) -> None:
        so_far = self._clock.seconds_of_updates
        try:
            with self._clock.updating():
                analysis = self._analysis(step)
                place = {"step": step, "epoch": epoch}
                report = dataclasses.replace(analysis.report, environment={**analysis.report.environment, **place})
                report.save(self._folder / name, force=True)
        except (InputError, SourceError) as error:
            self._skip(moment, str(error))
            return
        self._last = self._clock.seconds_of_updates - so_far
        if name in (BEFORE, AFTER):
            self._seconds_of_ends += self._last
        else:
            self._seconds_between += self._last
        self._latest = step, analysis
        self.recorded.append(name)
        alpha = report.summary.metrics.get("alpha")
        self._tell({} if alpha is None else {"alpha_mean": alpha.mean})

    def _skip(self, moment: str, reason: str) -> None:
        self.skipped.append(f"{moment}: {reason}")
        self._tell({})

    def _tell(self, found: Mapping[str, float]) -> None:
        """Keep what the next line of the log is to say."""
        counts = {"analyses": self.num_analyses, "skipped": len(self.skipped)}
        cost = {"seconds": self.seconds, "share_of_time": self.share}
        self._news |= {f"spectra/{name}": number for name, number in {**found, **counts, **cost}.items()}

    def _analysis(self, step: int) -> Analysis:
        """Analyse, unless that was done at this step already."""
        assert self._analysed is not None
        if self._latest is not None and self._latest[0] == step:
            return self._latest[1]
        return analyzed(self._analysed, earlier=self._latest[1] if self._latest else None)


def _is_divided(args: Any, model: nn.Module) -> bool:
    is_asked_for = any(getattr(args, name, None) for name in ("fsdp", "deepspeed"))
    return is_asked_for or any(is_sharded(parameter) for parameter in model.parameters())
