"""Weights of samples at work in a run: what is seen of the samples, the rounds that change their weights, factors on losses."""

from __future__ import annotations

import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from spectra.errors import SpectraWarning
from spectra.results.weight_rounds import WeightRound
from spectra.training.dcs.config import DCSConfig
from spectra.training.dcs.gathering import Records, check_equal, gather_records
from spectra.training.dcs.objective import Judged
from spectra.training.dcs.sample_weights import SampleWeights


class Weighing:
    """The weights of a run's samples; each process has one, and all are equal.

    Args:
        weights: Of the samples, N of them.
        config: Options.
        device: Where losses are.
        compares: Whether there is a teacher to compare with.

    Attributes:
        weights: As given; rounds change them.
    """

    def __init__(self, weights: SampleWeights, config: DCSConfig, device: torch.device, *, compares: bool) -> None:
        self.weights = weights
        self._config, self._device, self._compares = config, device, compares
        self._seen: list[tuple[Tensor, Judged, int]] = []
        self._factors: Tensor | None = None
        self._renew()

    @property
    def has_rounds(self) -> bool:
        """Whether rounds are made: they are also without changes, if what is seen costs nothing."""
        return self._config.changes_weights or (self._config.looks_while_training and self._compares)

    def is_due(self, step: int, steps_per_epoch: int) -> bool:
        """Say whether a round ends with a step.

        Args:
            step: Steps done.
            steps_per_epoch: Of the training data.

        Returns:
            Whether it does.
        """
        every = self._config.update_every
        return self.has_rounds and step % (steps_per_epoch if every == "epoch" else every) == 0

    def factors(self, index: Tensor) -> Tensor:
        """Return what losses are multiplied by.

        Args:
            index: Places of samples, shape ``(B,)``.

        Returns:
            Float32, shape ``(B,)``.
        """
        return torch.ones(len(index), device=self._device) if self._factors is None else self._factors[index]

    def amount(self, index: Tensor) -> Tensor | int:
        """Return what the sum of a batch's losses is divided by.

        Args:
            index: Places of samples, shape ``(B,)``.

        Returns:
            Their number, or the sum of their weights.
        """
        return self.factors(index).sum() if self._config.batch_norm_weights else len(index)

    def see(self, index: Tensor, judged: Judged, step: int) -> None:
        """Keep what became of a batch, on its device: nothing waits for it.

        Args:
            index: Places of samples, shape ``(B,)``.
            judged: The batch. Its graph is not kept.
            step: Steps done before.
        """
        if judged.discordance is not None and self.has_rounds:
            self._seen.append((index, replace(judged, losses=judged.task_losses), step))

    def gather(self) -> None:
        """Hand what was seen since the last time, by all processes, to the weights; each must call this."""
        index, apart, step, loss, predicted = gather_records(*_columns(self._seen), self._device)
        self._seen.clear()
        if len(index):
            self.weights.record(index, apart, step, loss=loss, predicted=predicted)

    def end_round(self, step: int, began: float) -> WeightRound:
        """Change the weights by what was seen.

        Args:
            step: Steps done.
            began: When work for the round began, of ``time.perf_counter``.

        Returns:
            What was done.
        """
        self.gather()
        update = self.weights.update if self._config.update_every == "epoch" else self.weights.update_seen
        done = replace(update(step), seconds=time.perf_counter() - began)
        self.weights.rounds[-1] = done
        check_equal(self.weights.values)
        self._renew()
        return done

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on where another run stopped.

        Args:
            state: Of its weights.
        """
        self.weights.load_state_dict(state)
        self._renew()

    def start_over(self) -> None:
        """Forget what was seen and done, for a run that begins anew."""
        self.weights.restart()
        self._seen.clear()
        self._renew()

    def notes(self) -> tuple[str, ...]:
        """Return a sentence if training has ended before its first round."""
        if not self.has_rounds or self.weights.num_rounds:
            return ()
        return (
            "DCS: training ended before the first round, and all weights are 1. Train for an epoch at least, or set "
            "update_every to fewer steps.",
        )

    def warn_without_rounds(self) -> None:
        """Say if training has ended before its first round."""
        for note in self.notes():
            warnings.warn(note, SpectraWarning, stacklevel=2)

    def _renew(self) -> None:
        if self._config.changes_weights and self._config.mode == "weight":
            self._factors = torch.tensor(self.weights.values, dtype=torch.float32, device=self._device)


def logged(done: WeightRound) -> dict[str, float]:
    """Return a round as numbers for a log.

    Args:
        done: The round.

    Returns:
        Numbers under names that begin with ``dcs/``.
    """
    numbers = {"eps": done.eps, "step_size": done.step_size, "ess": done.ess, "v_max": done.v_max, "top_share": done.top_share}
    numbers |= {"round": done.number, "seconds": done.seconds, "skipped": float(done.skipped is not None)}
    return {f"dcs/{name}": value for name, value in numbers.items()}


def _columns(seen: list[tuple[Tensor, Judged, int]]) -> Records:
    """Bring what was seen together: index, discordance, step, loss, predicted class."""
    if not seen:
        whole, number = np.zeros(0, dtype=np.int64), np.zeros(0)
        return whole, number, whole, number, whole
    index = torch.cat([index for index, _, _ in seen]).cpu().numpy()
    apart = torch.cat([judged.discordance for _, judged, _ in seen if judged.discordance is not None])
    loss = torch.cat([judged.task_losses for _, judged, _ in seen])
    predicted = torch.cat([judged.predicted for _, judged, _ in seen])
    step = np.repeat([step for _, _, step in seen], [len(index) for index, _, _ in seen])
    return index, apart.double().cpu().numpy(), step, loss.double().cpu().numpy(), predicted.cpu().numpy()
