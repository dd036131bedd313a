"""Drawing the samples of an epoch with probabilities like their weights: the other use of sample weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from spectra.training.dcs.sample_weights import SampleWeights


class WeightedSampler(Sampler[int]):
    """As many draws as there are samples, with replacement.

    What is drawn depends on the weights, the seed, the number of finished rounds and the epoch alone: a run that is resumed in
    the middle of an epoch draws the same again, and one whose weights never change draws anew in each epoch.

    Args:
        weights: Of the samples; read when an epoch begins.
        seed: Of the draws.
    """

    def __init__(self, weights: SampleWeights, seed: int) -> None:
        self.weights = weights
        self.seed = seed
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch that is drawn, as a ``Trainer`` does when it begins.

        Args:
            epoch: Its number, from 0.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.weights.values)

    def __iter__(self) -> Iterator[int]:
        values = self.weights.values
        generator = np.random.default_rng((self.seed, self.weights.num_rounds, self.epoch))
        yield from generator.choice(len(values), size=len(values), p=values / values.sum()).tolist()
