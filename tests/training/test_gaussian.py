"""Gaussian dropout: its two moments, and that it is gone in evaluation and afterwards."""

import hypothesis.strategies as st
import pytest
import torch
from hypothesis import given, settings
from torch import nn

from spectra.errors import InputError
from spectra.training.gaussian import GaussianDropout, apply_gaussian, gaussian_dropout

NUM_DRAWS = 1_000_000


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


@pytest.mark.parametrize("p", [0.01, 0.1, 0.5, 0.9])
def test_noise_has_mean_one_and_the_variance_of_a_dropout_mask(p):
    noise = gaussian_dropout(torch.ones(NUM_DRAWS, dtype=torch.float64), p, training=True, generator=generator())
    variance = p / (1.0 - p)
    # Standard errors over n normal draws: of the mean sqrt(v / n), of the sample variance v sqrt(2 / (n - 1)).
    assert abs(noise.mean() - 1.0) <= 4.0 * (variance / NUM_DRAWS) ** 0.5
    assert abs(noise.var() - variance) <= 4.0 * variance * (2.0 / (NUM_DRAWS - 1)) ** 0.5


def test_evaluation_is_the_identity_and_does_not_switch_the_mode():
    layer, x = GaussianDropout(0.5).eval(), torch.randn(4, 3)
    assert layer(x) is x
    assert not layer.training


def test_training_is_not_the_identity():
    layer, x = GaussianDropout(0.5).train(), torch.randn(4, 3)
    assert not torch.equal(layer(x), x)


def test_a_probability_of_zero_is_the_identity():
    x = torch.randn(4, 3)
    assert gaussian_dropout(x, 0.0, training=True) is x


def test_the_layer_draws_from_torchs_generator_and_has_no_state():
    layer, x = GaussianDropout(0.1), torch.ones(20)
    torch.manual_seed(3)
    first = layer(x)
    torch.manual_seed(3)
    assert torch.equal(layer(x), first)
    assert not torch.equal(layer(x), first)
    assert layer.state_dict() == {}


def test_gradients_are_the_noise():
    x = torch.randn(6, 4, dtype=torch.float64, requires_grad=True)
    gaussian_dropout(x, 0.3, training=True, generator=generator()).sum().backward()
    noise = gaussian_dropout(torch.ones_like(x), 0.3, training=True, generator=generator())
    assert torch.equal(x.grad, noise)


@settings(max_examples=20)
@given(
    shape=st.lists(st.integers(0, 5), max_size=4),
    dtype=st.sampled_from([torch.float16, torch.bfloat16, torch.float32, torch.float64]),
    p=st.floats(0.0, 0.99),
)
def test_shape_and_dtype_stay(shape, dtype, p):
    y = gaussian_dropout(torch.ones(shape, dtype=dtype), p, training=True)
    assert (list(y.shape), y.dtype) == (shape, dtype)
    assert bool(y.isfinite().all())


@pytest.mark.parametrize("p", [1.0, -0.1, float("nan"), "0.1", None])
def test_unusable_probabilities_are_refused(p):
    message = r"expected a drop probability in \[0, 1\), got "
    with pytest.raises(InputError, match=f"drop_prob: {message}"):
        GaussianDropout(p)
    with pytest.raises(InputError, match=f"drop_prob: {message}"):
        gaussian_dropout(torch.ones(2), p, training=True)
    with pytest.raises(InputError, match=f"site '1': {message}"):
        apply_gaussian(nn.Sequential(nn.Linear(2, 2), nn.Dropout()), {"1": p})


def test_integers_are_refused():
    with pytest.raises(InputError, match=r"x: expected floating-point activations, got torch.int64"):
        gaussian_dropout(torch.ones(3, dtype=torch.int64), 0.1, training=True)


# Models.


@pytest.fixture
def model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(8, 8), nn.Dropout(0.5), nn.Linear(8, 8)).train()


def test_a_dropout_module_is_replaced_not_added_to(model):
    x = torch.randn(200, 8)
    with apply_gaussian(model, {"1": 0.1}):
        y = model[:2](x)
        assert model[1].p == 0.0
    assert bool((y != 0.0).all())
    ratio = (y / model[0](x)).detach()
    # 1600 draws: the sample variance within 4 standard errors of 1/9.
    assert abs(ratio.var() - 1.0 / 9.0) <= 4.0 / 9.0 * (2.0 / 1599) ** 0.5
    assert model[1].p == 0.5


def test_the_output_of_any_other_module_is_multiplied(model):
    x = torch.randn(4, 8)
    plain = model[0](x)
    with apply_gaussian(model, {"0": 0.1}):
        assert not torch.equal(model[0](x), plain)
    assert torch.equal(model[0](x), plain)


def test_evaluation_is_bit_identical_and_the_state_dict_keeps_its_keys(model):
    x, keys = torch.randn(4, 8), list(model.state_dict())
    expected = model.eval()(x)
    with apply_gaussian(model, {"0": 0.1, "1": 0.9}):
        assert torch.equal(model(x), expected)
        assert list(model.state_dict()) == keys
