r"""Dropout on a linear model is an L2 penalty: the expected loss against its closed form.

.. math:: E|y - (X \circ m) w|^2 = |y - X w|^2 + \sum_j \frac{p_j}{1 - p_j} |x_j|^2 w_j^2
"""

import pytest
import torch

from spectra.training.gaussian import GaussianDropout
from spectra.training.neuron_dropout import channel_dropout

NUM_ROWS, NUM_INPUTS = 6, 5
NUM_REPEATS = 100_000  # 3,000,000 draws
CHANNEL_RATES = torch.tensor([0.0, 0.05, 0.1, 0.3, 0.6], dtype=torch.float64)
UNIFORM_RATES = torch.full((NUM_INPUTS,), 0.1, dtype=torch.float64)


def bernoulli_moments(p):
    """Second to fourth moments of m - 1, which is p / (1 - p) with probability 1 - p, and -1 otherwise."""
    kept = p / (1.0 - p)
    return tuple((1.0 - p) * kept**k + p * (-1.0) ** k for k in (2, 3, 4))


def normal_moments(p):
    """Of a normal variable with variance p / (1 - p)."""
    variance = p / (1.0 - p)
    return variance, torch.zeros_like(p), 3.0 * variance**2


def by_channel(x):
    return channel_dropout(x, CHANNEL_RATES, training=True)


@pytest.mark.parametrize(
    ("drop", "rates", "moments"),
    [
        (torch.nn.Dropout(0.1), UNIFORM_RATES, bernoulli_moments),
        (by_channel, CHANNEL_RATES, bernoulli_moments),
        (GaussianDropout(0.1), UNIFORM_RATES, normal_moments),
    ],
    ids=["torch's dropout", "channel dropout", "Gaussian dropout"],
)
def test_the_expected_loss_is_the_loss_plus_an_l2_penalty(drop, rates, moments):
    x, y, w, residual = problem()
    torch.manual_seed(1)
    losses = (y - drop(x.expand(NUM_REPEATS, -1, -1)) @ w).square().sum(dim=1)

    penalty = (rates / (1.0 - rates) * x.square().sum(dim=0) * w.square()).sum()
    expected = residual.square().sum() + penalty

    # With e = m - 1, a_nj = x_nj w_j and Z_n = sum_j a_nj e_nj the loss is sum_n (r_n - Z_n)^2. Rows are independent, and
    # Var (r - Z)^2 = E Z^4 - (E Z^2)^2 + 4 r^2 E Z^2 - 4 r E Z^3. Of independent centred e: E Z^2 = sum a^2 m2,
    # E Z^3 = sum a^3 m3, E Z^4 = sum a^4 m4 + 3 (sum a^2 m2)^2 - 3 sum (a^2 m2)^2.
    m2, m3, m4 = moments(rates)
    a = x * w
    second, third = (a**2 * m2).sum(dim=1), (a**3 * m3).sum(dim=1)
    fourth = (a**4 * m4).sum(dim=1) + 3.0 * second**2 - 3.0 * (a**2 * m2).square().sum(dim=1)
    variance = (fourth - second**2 + 4.0 * residual**2 * second - 4.0 * residual * third).sum()
    standard_error = float((variance / NUM_REPEATS).sqrt())

    assert abs(float(losses.mean() - expected)) <= 4.0 * standard_error
    assert float(penalty) > 20.0 * standard_error  # else the test could not see it
    # The derivation of the bound, checked against the draws: kurtosis is moderate, so that the sample's own value is near.
    assert float(losses.std()) / NUM_REPEATS**0.5 == pytest.approx(standard_error, rel=0.05)


def test_masks_shared_by_a_sequence_have_the_same_expectation():
    x, y, w, residual = problem()
    torch.manual_seed(2)
    dropped = channel_dropout(x.expand(NUM_REPEATS, -1, -1), CHANNEL_RATES, training=True, shared=True)
    losses = (y - dropped @ w).square().sum(dim=1)
    expected = residual.square().sum() + (CHANNEL_RATES / (1.0 - CHANNEL_RATES) * x.square().sum(dim=0) * w.square()).sum()
    # Rows share their masks: the standard error is estimated from the repeats, which do not.
    assert abs(float(losses.mean() - expected)) <= 4.0 * float(losses.std()) / NUM_REPEATS**0.5


def problem():
    generator = torch.Generator().manual_seed(0)
    x, w, noise = (
        torch.randn(shape, generator=generator, dtype=torch.float64)
        for shape in ((NUM_ROWS, NUM_INPUTS), (NUM_INPUTS,), (NUM_ROWS,))
    )
    y = x @ w + 0.5 * noise
    return x, y, w, y - x @ w
