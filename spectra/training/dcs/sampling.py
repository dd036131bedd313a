"""Drawing the samples of an epoch with probabilities like their weights: the other use of sample weights."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from torch.utils.data import Sampler

from spectra.training.dcs.sample_weights import SampleWeights


class WeightedSampler(Sampler[int]):
    """As many draws as there are samples, with replacement.

    What is drawn depends on the weights, the seed and the number of finished rounds alone: a run that is resumed in the middle
    of an epoch draws the same again.

    Args:
        weights: Of the samples; read when an epoch begins.
        seed: Of the draws.
    """

    def __init__(self, weights: SampleWeights, seed: int) -> None:
        self.weights = weights
        self.seed = seed

    def __len__(self) -> int:
        return len(self.weights.values)

    def __iter__(self) -> Iterator[int]:
        values = self.weights.values
        generator = np.random.default_rng((self.seed, self.weights.num_rounds))
        yield from generator.choice(len(values), size=len(values), p=values / values.sum()).tolist()
