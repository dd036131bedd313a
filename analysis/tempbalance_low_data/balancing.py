"""What is compared: the policy, the score of every block, and the control whose multipliers are given to other blocks."""

from __future__ import annotations

import numpy as np
from torch import nn
from torch.optim import Optimizer

import spectra
from spectra.policies.learning_rate import ScalePolicy, UnitScales, unit_scales
from spectra.policies.presets import scale_policy
from spectra.training.lr_scale import OptimizerScale
from spectra.training.parameter_groups import parameter_units, split_parameter_groups

PRESET = "recommended"


def policy_of(strength: float) -> ScalePolicy:
    """Return the policy with one strength above and below the mean."""
    return scale_policy(PRESET, s_below=strength, s_above=strength)


def measured(model: nn.Module, policy: ScalePolicy) -> UnitScales:
    """Measure the encoder's blocks as TempBalance does, by the functions that it is made of."""
    report = spectra.analyze(model, include=["*.encoder.layer.*"], workers=1, **policy.analysis)
    return unit_scales(report.layers, policy)


def block_scores(model: nn.Module) -> dict[str, float]:
    """Return the mean alpha of every block."""
    return {unit: round(score, 5) for unit, score in measured(model, policy_of(1.0)).scores.items()}


class Shuffled:
    """TempBalance with every multiplier given to another block: as uneven, but not by the spectra.

    Blocks stand in a circle in an order that the seed draws, and each gets the multiplier of the one before it.

    Args:
        model: That is trained.
        optimizer: Of its parameters; its groups are split.
        policy: As for TempBalance.
        interval: Steps between measurements.
        seed: Of the circle.

    Attributes:
        scales: Multiplier of each block.
    """

    def __init__(self, model: nn.Module, optimizer: Optimizer, policy: ScalePolicy, *, interval: int, seed: int) -> None:
        self._model, self._policy, self._interval = model, policy, interval
        first = measured(model, policy)
        split_parameter_groups(optimizer, model, parameter_units(model, first.members))
        self._controller = OptimizerScale(optimizer)
        circle = np.random.default_rng(seed).permutation(list(first.members)).tolist()
        self._gets_from = dict(zip(circle, circle[-1:] + circle[:-1], strict=True))
        self._num_steps = 0
        self._set(first)

    def step(self) -> None:
        """Count an optimizer step, and measure where that is due."""
        self._num_steps += 1
        if self._num_steps % self._interval == 0:
            self._set(measured(self._model, self._policy))

    def _set(self, found: UnitScales) -> None:
        self.scales = {unit: found.scales[self._gets_from[unit]] for unit in found.members}
        self._controller.set(self.scales)
