import numpy as np
import pytest
from hypothesis import given, settings

from spectra import InputError, TooFewEigenvaluesError, fit_power_law
from spectra.esd.bootstrap import bootstrap_alpha, ks_pvalue
from tests.data.samples import sample
from tests.strategies import spectra


def pareto(alpha, size, seed):
    return np.random.default_rng(seed).random(size) ** (-1.0 / (alpha - 1.0))


def test_intervals_of_a_known_start_cover_the_true_exponent():
    # 80 samples: at a true coverage of 0.95, fewer than 68 hits happen once in 4000 such tests.
    hits = 0
    for seed in range(80):
        interval = bootstrap_alpha(pareto(2.5, 200, seed), xmin=1.0, num_samples=200, seed=seed)
        hits += interval.alpha_low <= 2.5 <= interval.alpha_high
    assert hits >= 68


def test_intervals_of_a_searched_start_cover_the_true_exponent():
    # The search is resampled, too, so the interval is wider than the standard error says.
    hits = 0
    for seed in range(40):
        values = pareto(2.5, 200, seed)
        interval = bootstrap_alpha(values, num_samples=100, seed=seed)
        hits += interval.alpha_low <= 2.5 <= interval.alpha_high
        assert interval.xmin_low <= interval.xmin_high
    assert hits >= 32


def test_the_interval_equals_that_of_a_plain_loop():
    values = sample("bulk_and_tail", 80, seed=1)
    interval = bootstrap_alpha(values, num_samples=50, level=0.9, seed=5)
    rng = np.random.default_rng(5)
    fits = [fit_power_law(values[rng.integers(0, 80, 80)]) for _ in range(50)]
    assert (interval.alpha_low, interval.alpha_high) == tuple(np.quantile([fit.alpha for fit in fits], [0.05, 0.95]))
    assert (interval.xmin_low, interval.xmin_high) == tuple(np.quantile([fit.xmin for fit in fits], [0.05, 0.95]))
    assert interval.alpha == fit_power_law(values).alpha


def test_the_width_is_that_of_the_standard_error():
    # For a known start the estimator is normal with (alpha - 1) / sqrt(n): 3.92 of these are the interval's width.
    values = pareto(3.0, 4000, seed=0)
    interval = bootstrap_alpha(values, xmin=1.0, seed=0)
    error = fit_power_law(values, 1.0).alpha_std_error
    assert interval.alpha_high - interval.alpha_low == pytest.approx(3.92 * error, rel=0.1)


@given(spectra(min_size=6, max_size=60))
@settings(max_examples=15)
def test_scaling_by_a_power_of_two_scales_only_the_interval_of_xmin(values):
    if values[0] == values[-1]:
        return
    a = bootstrap_alpha(values, num_samples=10, seed=1)
    b = bootstrap_alpha(values * 4.0, num_samples=10, seed=1)
    assert (a.alpha_low, a.alpha_high) == (b.alpha_low, b.alpha_high)
    assert 4.0 * a.xmin_low == pytest.approx(b.xmin_low, rel=1e-15)


def test_samples_without_two_different_values_are_counted():
    interval = bootstrap_alpha([1.0, 2.0], num_samples=200, seed=0)
    # Both draws alike: half of the samples; 200 fair coins stay within 60 to 140.
    assert 60 < interval.num_failed < 140
    assert interval.num_samples + interval.num_failed == 200
    assert interval.xmin_low == interval.xmin_high == 1.0


def test_further_arguments_reach_the_fit():
    values = sample("gaussian_matrix", 100, seed=0)
    interval = bootstrap_alpha(values, num_samples=20, seed=0, min_tail=50)
    assert interval.alpha == fit_power_law(values, min_tail=50).alpha
    assert interval.alpha_high < bootstrap_alpha(values, num_samples=20, seed=0).alpha_high


def test_a_seed_repeats_the_run_and_a_generator_continues():
    values = pareto(2.5, 60, seed=0)
    fit = fit_power_law(values)
    assert ks_pvalue(values, fit, num_samples=30, seed=4) == ks_pvalue(values, fit, num_samples=30, seed=4)
    rng = np.random.default_rng(4)
    assert bootstrap_alpha(values, num_samples=30, seed=rng) != bootstrap_alpha(values, num_samples=30, seed=rng)


def test_pvalues_of_true_power_laws_are_about_uniform():
    # 60 samples: mean 0.5 with standard error 0.037, share under 0.2 of 0.2 with 0.052; three of them, rounded up.
    found = []
    for seed in range(60):
        values = pareto(2.5, 80, seed)
        found.append(ks_pvalue(values, fit_power_law(values, 1.0), num_samples=60, seed=seed).pvalue)
    assert abs(np.mean(found) - 0.5) < 0.12
    assert 0.04 <= np.mean(np.array(found) < 0.2) <= 0.36


def test_pvalues_of_searched_true_power_laws_seldom_speak_against_them():
    # Bulk and tail, as the method is made for: at most 0.1 of them under 0.1; 40 samples, three standard errors above.
    rng = np.random.default_rng(0)
    found = []
    for seed in range(40):
        values = np.concatenate([0.2 + 0.8 * rng.random(60), pareto(2.5, 60, 1000 + seed)])
        found.append(ks_pvalue(values, fit_power_law(values), num_samples=40, seed=seed).pvalue)
    assert np.mean(np.array(found) <= 0.1) <= 0.25


@pytest.mark.parametrize("name", ["exponential", "lognormal"])
def test_other_laws_are_found_out(name):
    for seed in range(5):
        rng = np.random.default_rng(seed)
        values = 1.0 + rng.exponential(size=300) if name == "exponential" else 1.0 + np.exp(0.5 * rng.standard_normal(300))
        result = ks_pvalue(values, fit_power_law(values, 1.0), num_samples=60, seed=seed)
        assert not result.is_plausible, seed


def test_the_samples_come_from_the_fitted_law_and_the_bulk():
    # With every distance counted, p is the share of replica distances above the fit's own: by a plain loop.
    values = sample("bulk_and_tail", 120, seed=2)
    fit = fit_power_law(values)
    rng, num_far = np.random.default_rng(3), 0
    below = values[values < fit.xmin]
    for _ in range(40):
        size = rng.binomial(120, fit.num_tail / 120)
        tail = fit.xmin * (1.0 - rng.random(size)) ** (-1.0 / (fit.alpha - 1.0))
        num_far += fit_power_law(np.concatenate([below[rng.integers(0, len(below), 120 - size)], tail])).ks_distance >= (
            fit.ks_distance
        )
    result = ks_pvalue(values, fit, num_samples=40, seed=3)
    assert result.pvalue == num_far / 40
    assert result.std_error == pytest.approx(np.sqrt(result.pvalue * (1 - result.pvalue) / 40))


def test_a_spectrum_with_null_values_is_judged_without_them():
    values = pareto(2.5, 80, seed=1)
    padded = np.concatenate([np.zeros(20), values])
    one, other = (ks_pvalue(v, fit_power_law(v), num_samples=20, seed=0) for v in (values, padded))
    assert one == other


def test_to_dict_has_every_field():
    values = pareto(2.5, 40, seed=0)
    assert "is_plausible" in ks_pvalue(values, fit_power_law(values), num_samples=3, seed=0).to_dict()
    assert "xmin_high" in bootstrap_alpha(values, num_samples=3, seed=0).to_dict()


def test_what_does_not_belong_together_is_refused():
    values = pareto(2.5, 60, seed=0)
    with pytest.raises(InputError, match="Pass the spectrum that was fitted"):
        ks_pvalue(values[:-1], fit_power_law(values), seed=0)
    with pytest.raises(InputError, match="Pass the spectrum that was fitted"):
        ks_pvalue(values / 1e6, fit_power_law(values), seed=0)
    clipped = fit_power_law(sample("gaussian_matrix", 257, seed=1), "clip")
    with pytest.raises(InputError, match="were clipped"):
        ks_pvalue(sample("gaussian_matrix", 257, seed=1), clipped, seed=0)


def test_arguments_out_of_range_are_refused():
    values = pareto(2.5, 60, seed=0)
    with pytest.raises(InputError, match="level"):
        bootstrap_alpha(values, level=1.0, seed=0)
    with pytest.raises(InputError, match="num_samples"):
        bootstrap_alpha(values, num_samples=0, seed=0)
    with pytest.raises(InputError, match="num_samples"):
        ks_pvalue(values, fit_power_law(values), num_samples=0, seed=0)
    with pytest.raises(TooFewEigenvaluesError, match="positive eigenvalues equal"):
        bootstrap_alpha([2.0, 2.0, 2.0], seed=0)


@pytest.mark.parametrize("seed", [-1, "seed", 1.5], ids=str)
def test_a_seed_that_is_none_is_refused(seed):
    values = np.arange(1.0, 60.0)
    with pytest.raises(InputError, match="seed: expected a whole number"):
        bootstrap_alpha(values, seed=seed, num_samples=2)


def test_a_number_of_samples_is_whole():
    with pytest.raises(InputError, match=r"num_samples: expected a whole number of at least 1, got 2\.5"):
        bootstrap_alpha(np.arange(1.0, 60.0), seed=0, num_samples=2.5)
