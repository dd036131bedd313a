"""A student that can memorize wrong labels: with the defaults many samples go on counting, with literal AdaBoost a few."""

import math
import warnings

import numpy as np
import pytest
import torch
from torch import nn

from spectra.errors import SpectraWarning
from spectra.training.dcs.boosting import BoostingRule
from spectra.training.dcs.discordances import discordance
from spectra.training.dcs.losses import classification_losses, combine, distillation_losses, weighted_mean
from spectra.training.dcs.sample_weights import SampleWeights

NUM_SAMPLES, NUM_EPOCHS = 200, 40


def noisy_labels(seed):
    """Three clouds that overlap, and one label in ten wrong."""
    rng = np.random.default_rng(seed)
    labels = rng.integers(0, 3, NUM_SAMPLES)
    inputs = 0.6 * rng.normal(size=(3, 10))[labels] + rng.normal(size=(NUM_SAMPLES, 10))
    wrong = rng.choice(NUM_SAMPLES, NUM_SAMPLES // 10, replace=False)
    labels[wrong] = (labels[wrong] + rng.integers(1, 3, len(wrong))) % 3
    return torch.tensor(inputs, dtype=torch.float32), torch.tensor(labels)


def network(seed):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Linear(10, 64), nn.ReLU(), nn.Linear(64, 3))


def train(net, inputs, labels, *, teacher=None, weights=None):
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-2)
    generator = torch.Generator().manual_seed(0)
    for epoch in range(NUM_EPOCHS):
        for batch in torch.randperm(NUM_SAMPLES, generator=generator).split(50):
            logits = net(inputs[batch])
            losses = classification_losses(logits, labels[batch])
            if teacher is not None:
                losses = combine(losses, distillation_losses(logits, teacher[batch], 2.0), 0.5)
            of_batch = torch.ones(len(batch)) if weights is None else torch.from_numpy(weights.values[batch.numpy()])
            optimizer.zero_grad()
            weighted_mean(losses, of_batch).backward()
            optimizer.step()
        if weights is not None:
            apart = discordance(net(inputs), teacher, labels, "argmax")
            weights.record(np.arange(NUM_SAMPLES), apart.numpy(), epoch)
            weights.update(epoch)
    return net


@pytest.fixture(scope="module", params=range(3), ids=lambda seed: f"seed {seed}")
def taught(request):
    inputs, labels = noisy_labels(request.param)
    teacher = train(network(100 + request.param), inputs, labels)(inputs).detach()
    return request.param, inputs, labels, teacher


def student_of(taught, rule, **options):
    seed, inputs, labels, teacher = taught
    weights = SampleWeights(NUM_SAMPLES, rule, **options)
    train(network(seed), inputs, labels, teacher=teacher, weights=weights)
    return weights


def test_with_the_defaults_more_than_half_of_the_samples_count_throughout(taught):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights = student_of(taught, BoostingRule(num_classes=3))
    assert min(each.ess for each in weights.rounds) > 0.5
    assert max(each.v_max for each in weights.rounds) <= 4.0
    assert sum(each.skipped is None for each in weights.rounds) > NUM_EPOCHS / 2


def test_with_literal_adaboost_a_few_samples_take_the_weight_and_a_warning_says_so(taught):
    rule = BoostingRule(eta=1.0, rho=0.0, alpha_max=math.inf, v_min=0.0, v_max=math.inf, num_classes=3)
    with pytest.warns(SpectraWarning, match="Raise rho, lower alpha_max, or clip with v_min and v_max"):
        weights = student_of(taught, rule, warmup_rounds=0)
    assert weights.rounds[-1].ess < 0.1
    assert weights.rounds[-1].v_max > 20.0
