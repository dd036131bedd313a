import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra import InputError
from spectra.esd.marchenko_pastur import bulk_cdf, bulk_density, bulk_edges, bulk_median, fit_marchenko_pastur

RATIOS = [1, 2, 4, 10]


def noise_spectrum(large, small, rng):
    """Eigenvalues of a Gaussian matrix without drawing it: the bidiagonal model of Dumitriu and Edelman (2002)."""
    from scipy.linalg import eigvalsh_tridiagonal

    diagonal = np.sqrt(rng.chisquare(np.arange(large, large - small, -1)))
    below = np.sqrt(rng.chisquare(np.arange(small - 1, 0, -1)))
    squares = diagonal**2 + np.append(0.0, below**2)
    return np.maximum(eigvalsh_tridiagonal(squares, diagonal[:-1] * below), 0.0)


def spiked_spectrum(large, small, strength, rng, num_spikes=20):
    """Eigenvalues of unit noise plus that many singular values, in units of the smallest one that stands out."""
    left = np.linalg.qr(rng.standard_normal((large, num_spikes)))[0]
    right = np.linalg.qr(rng.standard_normal((small, num_spikes)))[0]
    matrix = rng.standard_normal((large, small)) + strength * (large * small) ** 0.25 * left @ right.T
    return np.linalg.eigvalsh(matrix.T @ matrix)


# The law: against quadrature and published values.
@pytest.mark.parametrize("gamma", [1.0, 0.999, 0.5, 0.1, 0.0126, 1e-4])
def test_distribution_function_is_the_integral_of_the_density(gamma):
    from scipy.integrate import quad

    low, high = bulk_edges(gamma)
    for share in (0.1, 0.5, 0.9):
        x = low + share * (high - low)
        # Over the root of x, so that the pole at zero of square matrices is none.
        area, _ = quad(lambda r: 2.0 * r * float(bulk_density(r * r, gamma)), math.sqrt(low), math.sqrt(x), limit=500)
        assert float(bulk_cdf(x, gamma)) == pytest.approx(area, abs=1e-7)


def test_quarter_circle_is_the_square_case():
    # Of singular values s on [0, 2]: F(s) = (s sqrt(4 - s^2) / 2 + 2 arcsin(s / 2)) / pi.
    s = np.linspace(0.0, 2.0, 101)
    expected = (s * np.sqrt(4.0 - s**2) / 2.0 + 2.0 * np.arcsin(s / 2.0)) / math.pi
    np.testing.assert_allclose(bulk_cdf(s**2, 1.0), expected, atol=1e-14)


@given(st.floats(1e-4, 1.0))
def test_distribution_function_rises_from_zero_to_one(gamma):
    low, high = bulk_edges(gamma)
    values = bulk_cdf(np.linspace(low - 0.1, high + 0.1, 200), gamma)
    assert values[0] == pytest.approx(0.0, abs=1e-11)
    assert values[-1] == pytest.approx(1.0, abs=1e-11)
    assert np.diff(values).min() > -1e-11


@given(st.floats(1e-5, 1.0))
def test_median_halves_the_law(gamma):
    assert float(bulk_cdf(bulk_median(gamma), gamma)) == pytest.approx(0.5, abs=1e-10)


def test_median_of_the_square_case_is_the_published_one():
    # Gavish and Donoho (2014), arXiv 1305.5870: the threshold for unknown noise is (4 / sqrt 3) / sqrt(median) = 2.858.
    assert 4.0 / math.sqrt(3.0) / math.sqrt(bulk_median(1.0)) == pytest.approx(2.858, abs=5e-4)


def test_density_is_zero_outside_its_edges():
    assert bulk_density([-1.0, 0.0, 5.0], 1.0).tolist() == [0.0, 0.0, 0.0]


# H12.
@pytest.mark.parametrize("ratio", RATIOS)
def test_noise_gives_its_own_variance_and_edges(ratio):
    rng = np.random.default_rng(ratio)
    fits = [fit_marchenko_pastur(9.0 * noise_spectrum(400 * ratio, 400, rng), (400 * ratio, 400)) for _ in range(10)]
    for fit in fits:
        assert fit.sigma == pytest.approx(3.0, rel=0.01)
        assert fit.sigma_rescaled == pytest.approx(1.0, rel=0.01)
        assert fit.lambda_plus == pytest.approx(9.0 * 400 * ratio * (1.0 + ratio**-0.5) ** 2, rel=0.02)
        assert fit.is_reliable
    assert np.mean([fit.sigma for fit in fits]) == pytest.approx(3.0, rel=0.003)


# H12: at most 3 % flagged at the 99 % level, of 200.
@pytest.mark.parametrize("ratio", RATIOS)
def test_noise_has_no_spikes(ratio):
    rng = np.random.default_rng(10 + ratio)
    flagged = 0
    for _ in range(200):
        fit = fit_marchenko_pastur(noise_spectrum(400 * ratio, 400, rng), (400, 400 * ratio))
        flagged += fit.num_spikes > 0
    assert flagged <= 6


# H12: 20 spikes of 2 and 4 times the smallest strength that stands out, in 400 columns.
@pytest.mark.parametrize("strength", [2.0, 4.0])
@pytest.mark.parametrize("ratio", RATIOS)
def test_planted_spikes_are_found_and_hardly_move_sigma(ratio, strength):
    values = spiked_spectrum(400 * ratio, 400, strength, np.random.default_rng(ratio))
    fit = fit_marchenko_pastur(values, (400 * ratio, 400))
    assert fit.num_spikes == 20
    # The specification asks for 5 %. Mean of ten draws: within 0.6 %; one draw of a square matrix: 1.2 %.
    assert fit.sigma == pytest.approx(1.0, rel=0.015)
    assert fit.is_reliable
    assert fit.ks_distance >= 20 / 400


def test_a_low_tw_level_flags_as_much_noise_as_it_says():
    rng = np.random.default_rng(0)
    flagged = sum(
        fit_marchenko_pastur(noise_spectrum(400, 200, rng), (400, 200), tw_level=0.5).num_spikes > 0 for _ in range(300)
    )
    assert flagged / 300 == pytest.approx(0.5, abs=0.12)  # 4 standard errors


def test_level_holds_for_all_pooled_matrices_together():
    rng = np.random.default_rng(0)
    pooled = [np.concatenate([noise_spectrum(200, 100, rng) for _ in range(9)]) for _ in range(100)]
    fits = [fit_marchenko_pastur(values, (200, 100), num_matrices=9, tw_level=0.9) for values in pooled]
    assert sum(fit.num_spikes > 0 for fit in fits) <= 22  # 10 expected, 4 standard errors more
    assert np.mean([fit.sigma for fit in fits]) == pytest.approx(1.0, rel=2e-3)


def test_a_median_of_pooled_matrices_takes_each_ones_share_of_the_spikes():
    rng = np.random.default_rng(1)
    values = np.concatenate([spiked_spectrum(200, 200, 4.0, rng, num_spikes=10) for _ in range(4)])
    fit = fit_marchenko_pastur(values, (200, 200), num_matrices=4)
    assert fit.num_spikes == 40
    assert fit.sigma == pytest.approx(1.0, rel=0.015)  # 2.7 % off if the spikes' rows and columns stayed in


def test_soft_rank_is_the_edge_over_the_largest_eigenvalue():
    values = spiked_spectrum(400, 200, 4.0, np.random.default_rng(3))
    fit = fit_marchenko_pastur(values, (400, 200))
    assert fit.soft_rank == pytest.approx(fit.lambda_plus / values[-1], rel=1e-14)


def test_numbers_of_a_fit_belong_together():
    values = 7.0 * noise_spectrum(300, 100, np.random.default_rng(5))
    fit = fit_marchenko_pastur(values, (300, 100))
    assert fit.scale == pytest.approx(math.sqrt(100 / values.sum()), rel=1e-14)
    assert fit.sigma_rescaled == pytest.approx(fit.sigma * math.sqrt(300) * fit.scale, rel=1e-14)
    assert fit.lambda_minus == pytest.approx(300 * fit.sigma**2 * (1.0 - math.sqrt(1 / 3)) ** 2, rel=1e-13)
    # ks_distance against a plain loop over both sides of every step.
    fitted = bulk_cdf(values / (300 * fit.sigma**2), 1 / 3)
    distance = max(max(abs(f - i / 100), abs(f - (i + 1) / 100)) for i, f in enumerate(fitted))
    assert fit.ks_distance == pytest.approx(distance, abs=1e-13)
    assert fit.bulk_ks_distance == pytest.approx(distance, abs=1e-13)


@settings(max_examples=30)
@given(st.integers(2, 40), st.integers(1, 4), st.integers(-240, 240), st.integers(0, 2**32 - 1))
def test_powers_of_four_scale_exactly(small, ratio, exponent, seed):
    values = noise_spectrum(small * ratio, small, np.random.default_rng(seed))
    fit, scaled = (fit_marchenko_pastur(v, (small, small * ratio)) for v in (values, np.ldexp(values, 2 * exponent)))
    assert scaled.num_spikes == fit.num_spikes
    np.testing.assert_equal(scaled.soft_rank, fit.soft_rank)
    np.testing.assert_equal(scaled.sigma, math.ldexp(fit.sigma, exponent))
    np.testing.assert_equal(scaled.lambda_plus, math.ldexp(fit.lambda_plus, 2 * exponent))


@settings(max_examples=30)
@given(st.integers(2, 40), st.integers(1, 4), st.integers(0, 2**32 - 1), st.sampled_from(["quantile", "kde", "kde_compat"]))
def test_neither_order_nor_orientation_matters(small, ratio, seed, method):
    rng = np.random.default_rng(seed)
    values = noise_spectrum(small * ratio, small, rng)
    fit = fit_marchenko_pastur(values, (small, small * ratio), method=method)
    other = fit_marchenko_pastur(rng.permutation(values), (small * ratio, small), method=method)
    assert str(other) == str(fit)  # also where both are NaN
    assert (fit.num_spikes is None) == math.isnan(fit.sigma)
    if fit.num_spikes is not None:
        assert fit.lambda_minus <= fit.lambda_plus <= fit.spike_threshold or ratio * small < 3
        assert 0.0 <= fit.ks_distance <= 1.0


@pytest.mark.parametrize(
    ("values", "shape", "reason"),
    [
        ([0.0] * 6, (6, 6), "all eigenvalues are zero"),
        ([3.0], (1, 50), "a vector has no bulk"),
        ([4.0], (1, 1), "a vector has no bulk"),
        ([0.0] * 5 + [1.0, 2.0, 3.0], (8, 8), "half of the eigenvalues are zero"),
        (2.0 ** np.arange(60), (200, 60), "more than half of the eigenvalues lie above"),
    ],
)
def test_without_a_bulk_there_are_no_numbers_but_a_reason(values, shape, reason):
    fit = fit_marchenko_pastur(values, shape)
    assert math.isnan(fit.sigma)
    assert math.isnan(fit.lambda_plus)
    assert fit.num_spikes is None
    assert not fit.is_reliable
    assert reason in str(fit)


def test_constant_spectra_are_called_doubtful():
    fit = fit_marchenko_pastur([2.0] * 64, (64, 64))
    assert not fit.is_reliable
    assert "not Marchenko-Pastur" in str(fit)


def test_short_spectra_are_called_doubtful():
    fit = fit_marchenko_pastur(noise_spectrum(30, 20, np.random.default_rng(0)), (30, 20))
    assert "only 20 eigenvalues" in fit.notes


@pytest.mark.parametrize("scale", [1e-300, 1e300])
def test_huge_and_tiny_spectra_are_fitted(scale):
    fit = fit_marchenko_pastur(scale * noise_spectrum(100, 100, np.random.default_rng(0)), (100, 100))
    assert fit.sigma == pytest.approx(math.sqrt(scale), rel=0.02)


def test_a_torch_tensor_is_accepted():
    import torch

    values = noise_spectrum(60, 60, np.random.default_rng(0))
    assert fit_marchenko_pastur(torch.from_numpy(values), (60, 60)) == fit_marchenko_pastur(values, (60, 60))


def test_to_dict_has_every_field():
    content = fit_marchenko_pastur(noise_spectrum(60, 60, np.random.default_rng(0)), (60, 60)).to_dict()
    assert content["method"] == "quantile"
    assert content["notes"] == ()


@pytest.mark.parametrize(
    ("values", "shape", "arguments", "message"),
    [
        ([1.0, -1.0], (2, 2), {}, "index 1 is -1.0"),
        ([1.0, np.nan], (2, 2), {}, "index 1 is nan"),
        ([1.0, 2.0, 3.0], (2, 2), {}, "have 2, got 3"),
        ([1.0, 2.0, 3.0], (2, 2), {"num_matrices": 2}, "have 4, got 3"),
        ([1.0], (0, 2), {}, "a matrix with rows"),
        ([1.0], (1, 2), {"num_matrices": 0}, "at least one"),
        ([1.0, 2.0], (2, 2), {"method": "quantil"}, "Did you mean 'quantile'"),
        ([1.0, 2.0], (2, 2), {"tw_level": 1.0}, "a probability in"),
        ([1.0, 2.0], (2, 2), {"tw_level": "99"}, 'or "ww"'),
        ([1.0, 2.0], (2, 2), {"tw_level": np.nan}, "a probability in"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_the_reason(values, shape, arguments, message):
    with pytest.raises(InputError, match=message):
        fit_marchenko_pastur(values, shape, **arguments)
