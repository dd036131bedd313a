import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError, TooFewEigenvaluesError, fit_power_law
from spectra.esd.truncated_power_law import _bisect, _moments, _solve, fit_truncated_power_law, log_scaled_integral
from tests.data.samples import KINDS, sample
from tests.esd.demo_spectra import demo_spectra
from tests.strategies import spectra

FROZEN = json.loads((Path(__file__).parents[1] / "data" / "truncated_powerlaw_1_5.json").read_text())
LONG_TAILS = [(alpha, z) for alpha in (1.0, 1.3, 2.0, 2.7, 5.5, 40.0) for z in (1e-16, 1e-9, 1e-4, 0.1, 1.0, 12.0, 300.0, 1e5)]


def truncated_sample(alpha, rate, size, seed):
    """Exponential excesses over 1, thinned by the power: the law itself, by rejection (arXiv 0706.1062, appendix D)."""
    rng = np.random.default_rng(seed)
    found = np.empty(0)
    while len(found) < size:
        x = 1.0 + rng.exponential(1.0 / rate, 4 * size)
        found = np.concatenate([found, x[rng.random(len(x)) < x**-alpha]])
    return np.sort(found[:size])


def log_likelihood(values, xmin, alpha, rate):
    """By its definition, with mpmath's incomplete gamma function."""
    import mpmath

    tail = values[values >= xmin]
    normalizer = mpmath.mpf(rate) ** (1 - alpha) / mpmath.gammainc(1 - alpha, rate * xmin)
    return float(len(tail) * mpmath.log(normalizer)) - (alpha * np.log(tail) + rate * tail).sum()


@pytest.mark.parametrize(("alpha", "z"), LONG_TAILS)
def test_the_normalizer_equals_the_incomplete_gamma_function(alpha, z):
    import mpmath

    with mpmath.workdps(40):
        expected = mpmath.log(
            mpmath.exp(z) * mpmath.mpf(z) ** (mpmath.mpf(alpha) - 1) * mpmath.gammainc(1 - mpmath.mpf(alpha), z)
        )
    # 1e-12 of J is 1e-12 of its logarithm, absolute: the quadrature's error, measured at 1.2e-13.
    assert float(log_scaled_integral(alpha, z)) == pytest.approx(float(expected), abs=1e-12)


def test_the_normalizer_of_the_plain_power_law_is_closed_form():
    assert float(log_scaled_integral(3.5, 0.0)) == -math.log(2.5)


@pytest.mark.parametrize(("alpha", "z"), LONG_TAILS)
def test_the_moments_equal_their_recurrence(alpha, z):
    # J(a - 1, z) / J(a, z) is the mean of u; z J(a - 1, z) = 1 - (a - 1) J(a, z) by parts.
    import mpmath

    with mpmath.workdps(60):
        scaled = [mpmath.exp(z) * mpmath.expint(mpmath.mpf(alpha) - k, z) for k in range(3)]
        mean, square = scaled[1] / scaled[0], scaled[2] / scaled[0]
        variance = square - mean**2
    law = _moments(np.array([alpha]), np.array([z]))
    assert law.mean_excess[0] == pytest.approx(float(mean - 1), rel=1e-10)
    assert law.var_excess[0] == pytest.approx(float(variance), rel=1e-9)


@pytest.mark.parametrize("case", FROZEN["layers"], ids=lambda case: case["layer"].removesuffix(".weight"))
def test_the_demo_model_is_fitted_at_least_as_well_as_by_powerlaw_1_5(case, demo_folder):
    values = demo_spectra(demo_folder)[case["layer"]]
    assert np.log(values).sum() == pytest.approx(case["checksum"], rel=1e-9)
    assert_at_least_as_good(case, values)


@pytest.mark.parametrize("case", FROZEN["samples"], ids=lambda case: f"{case['kind']}-{case['size']}")
def test_samples_are_fitted_at_least_as_well_as_by_powerlaw_1_5(case):
    values = sample(case["kind"], case["size"], case["seed"])
    assert np.log(values).sum() == pytest.approx(case["checksum"], rel=1e-9), "the generator changed: refresh the frozen values"
    assert_at_least_as_good(case, values)


def assert_at_least_as_good(case, values):
    xmin = values[np.argmin(np.abs(values - case["xmin"]))]
    fit = fit_truncated_power_law(values, xmin)
    assert fit.num_tail == case["num_tail"]
    # Sums of up to 1e3 terms of size 1: 1e-9 is their rounding, in both programs.
    assert fit.log_likelihood >= case["loglikelihood"] - 1e-9
    # Nelder-Mead stops at 1e-4 in both parameters; where it found the maximum, so do we.
    if fit.log_likelihood - case["loglikelihood"] < 1e-7 and not fit.is_at_boundary:
        assert fit.alpha == pytest.approx(case["alpha"], abs=2e-3)
        assert fit.rate == pytest.approx(case["Lambda"], rel=2e-2)
        if case["D"] < 0.5:  # theirs is 1 or 0.5 where the incomplete gamma function underflowed
            assert fit.ks_distance == pytest.approx(case["D"], abs=2e-3)


def test_the_log_likelihood_is_that_of_the_definition():
    values = truncated_sample(1.6, 0.1, 400, seed=3)
    fit = fit_truncated_power_law(values, 1.5)
    assert not fit.is_at_boundary
    assert fit.log_likelihood == pytest.approx(log_likelihood(values, fit.xmin, fit.alpha, fit.rate), rel=1e-11)
    for alpha, rate in [(1.02, 1.0), (0.98, 1.0), (1.0, 1.05), (1.0, 0.95), (1.03, 1.03)]:
        assert log_likelihood(values, fit.xmin, fit.alpha * alpha, fit.rate * rate) < fit.log_likelihood


def test_the_maximum_equals_a_general_optimisers():
    from scipy.optimize import minimize

    for seed in range(8):
        values = sample(KINDS[seed % len(KINDS)], 150, seed)
        fit = fit_truncated_power_law(values, float(values[60]))
        tail = values[60:] / values[60]
        mean_log, mean_excess = np.log(tail).mean(), (tail - 1.0).mean()

        def loss(p, mean_log=mean_log, mean_excess=mean_excess):
            return p[0] * mean_log + p[1] * mean_excess + float(log_scaled_integral(p[0], p[1]))

        best = minimize(loss, (1.5, 0.1), bounds=[(1.0, 200.0), (1e-12, None)], method="L-BFGS-B", tol=1e-14)
        ours = loss((fit.alpha, fit.rate * fit.xmin))
        assert ours <= best.fun + 1e-12, seed
        assert ours == pytest.approx(best.fun, abs=1e-6), seed


def test_known_parameters_are_recovered():
    # Consistency: 20 samples of 4000, mean within 3 standard errors of the mean.
    fits = [fit_truncated_power_law(truncated_sample(1.8, 0.05, 4000, seed), 1.0) for seed in range(20)]
    for name, true in (("alpha", 1.8), ("rate", 0.05)):
        found = np.array([getattr(fit, name) for fit in fits])
        assert abs(found.mean() - true) < 3.0 * found.std(ddof=1) / math.sqrt(20), name


def test_a_pareto_law_needs_no_cutoff():
    # Quantiles: their mean falls short of the law's, so the fit finds a cutoff, but one that adds next to nothing.
    values = (1.0 - (np.arange(1000) + 0.5) / 1000) ** (-1.0 / 2.5)
    assert fit_truncated_power_law(values, 1.0).log_likelihood_ratio < 1.0
    # With one more large value the mean exceeds the law's: the boundary, and the plain power law.
    longer = np.append(values, 300.0)
    fit, plain = fit_truncated_power_law(longer, 1.0), fit_power_law(longer, 1.0)
    assert (fit.rate, fit.is_at_boundary, fit.log_likelihood_ratio) == (0.0, True, 0.0)
    assert fit.alpha == pytest.approx(plain.alpha, rel=1e-14)
    assert fit.ks_distance == pytest.approx(plain.ks_distance, abs=1e-13)
    assert not fit.is_reliable
    assert "no cutoff" in str(fit)


def test_no_cutoff_gains_exactly_nothing():
    # Of these seeds nine have no cutoff; five of them once gained a rounding error of 1e-14, over which comparisons failed.
    fits = [fit_truncated_power_law(1.0 + np.random.default_rng(seed).pareto(2.5, 73), 1.0) for seed in range(30)]
    gains = [fit.log_likelihood_ratio for fit in fits if fit.rate == 0.0]
    assert gains == [0.0] * 9


def test_an_exponential_tail_is_at_the_other_boundary():
    values = 1.0 + np.random.default_rng(1).exponential(1.0, 500)
    fit = fit_truncated_power_law(values, 1.0)
    assert (fit.alpha, fit.is_at_boundary, fit.is_reliable) == (1.0, True, False)
    assert "alpha at its bound" in fit.notes[-1]
    # With alpha given, the best rate balances the means: E[u] = 1 / (z e^z E_1(z)).
    from scipy.special import exp1

    z = fit.rate
    assert 1.0 / (z * math.exp(z) * exp1(z)) == pytest.approx(values.mean(), rel=1e-10)


@given(spectra(min_size=5), st.integers(-20, 20))
def test_scaling_scales_xmin_and_the_rate(values, exponent):
    if values[0] == values[-1]:
        return
    factor = 2.0**exponent
    fit, scaled = fit_truncated_power_law(values), fit_truncated_power_law(values * factor)
    assert (scaled.alpha, scaled.ks_distance) == (fit.alpha, fit.ks_distance)
    assert (scaled.rate, scaled.xmin) == (fit.rate / factor, fit.xmin * factor)


@given(spectra(min_size=3))
def test_the_bounds_hold_and_the_cutoff_never_hurts(values):
    if values[0] == values[-1]:
        return
    fit, plain = fit_truncated_power_law(values), fit_power_law(values)
    assert 1.0 <= fit.alpha <= plain.alpha * (1.0 + 1e-12)
    assert fit.rate >= 0.0
    assert fit.log_likelihood_ratio >= 0.0
    assert 0.0 <= fit.ks_distance <= 1.0


def test_bisection_agrees_with_newtons_method():
    found = []
    for seed in range(30):
        tail = truncated_sample(1.5 + seed / 20, 0.02 * (1 + seed), 200, seed)
        found.append((np.log(tail).mean(), (tail - 1.0).mean(), tail[-1] - 1.0))
    mean_log, mean_excess, largest = np.array(found).T
    alphas, rates = _solve(mean_log, mean_excess, largest)
    inside = (alphas > 1.0) & (rates > 0.0)
    assert np.count_nonzero(inside) >= 15
    slow, log_rates = _bisect(mean_log[inside], mean_excess[inside], np.full(np.count_nonzero(inside), -60.0))
    np.testing.assert_allclose(slow, alphas[inside], rtol=1e-9)
    np.testing.assert_allclose(np.exp(log_rates), rates[inside], rtol=1e-8)


def test_narrow_steep_tails_are_solved_too():
    # Nearly collinear statistics, where Newton's method gives up at times: the equations hold at what is returned.
    rng = np.random.default_rng(7)
    for _ in range(300):
        tail = rng.random(int(rng.integers(20, 400))) ** (-1.0 / rng.uniform(20.0, 300.0))
        means = np.array([np.log(tail).mean()]), np.array([(tail - 1.0).mean()])
        alphas, rates = _solve(*means, np.array([tail.max() - 1.0]))
        if rates[0] > 0.0 and alphas[0] > 1.0:
            law = _moments(alphas, rates)
            assert law.mean_log[0] == pytest.approx(means[0][0], rel=1e-8)
            assert law.mean_excess[0] == pytest.approx(means[1][0], rel=1e-8)


@pytest.mark.parametrize("kind", KINDS)
def test_the_searched_start_is_the_exhaustive_one(kind):
    values = sample(kind, 60, seed=9)
    fit = fit_truncated_power_law(values, search_xmin=True)
    each = [fit_truncated_power_law(values, float(x)) for x in values[:-1]]
    best = min(each, key=lambda other: other.ks_distance)
    assert fit.ks_distance == pytest.approx(best.ks_distance, abs=1e-9)
    assert fit.xmin == best.xmin


def test_ties_count_once_and_in_full():
    values = np.repeat(sample("lognormal", 40, seed=2), 3)
    fit = fit_truncated_power_law(values, float(values[30]))
    single = fit_truncated_power_law(values[::3], float(values[30]))
    assert fit.alpha == pytest.approx(single.alpha, rel=1e-9)
    assert fit.ks_distance == pytest.approx(single.ks_distance, abs=1e-12)
    assert fit_truncated_power_law(values, search_xmin=True).xmin in values


def test_the_peak_is_a_start():
    values = sample("bulk_and_tail", 300, seed=0)
    assert fit_truncated_power_law(values, "peak").xmin == fit_power_law(values, "peak").xmin


def test_null_eigenvalues_are_left_out():
    values = sample("pareto", 100, seed=0)
    assert fit_truncated_power_law(np.concatenate([np.zeros(9), values])).alpha == fit_truncated_power_law(values).alpha


def test_to_dict_has_every_field():
    content = fit_truncated_power_law(sample("pareto", 100, seed=0)).to_dict()
    assert {"alpha", "rate", "xmin", "log_likelihood_ratio", "is_at_boundary"} <= set(content)


@pytest.mark.parametrize(
    ("values", "xmin", "error", "message"),
    [
        ([1.0, np.nan], "ks", InputError, "index 1 is nan"),
        ([1.0, 2.0, 3.0], "clip", InputError, "starts at one of 'ks'"),
        ([1.0, 2.0, 3.0], "kss", InputError, "unknown xmin strategy"),
        ([2.0, 2.0, 2.0], "ks", TooFewEigenvaluesError, "all 3 positive eigenvalues equal"),
        ([1.0, 2.0, 3.0], 2.5, TooFewEigenvaluesError, "1 eigenvalues at or above"),
        ([1e-200, 1.0, 2.0], 1e-200, InputError, "more than 100 decades"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_the_reason(values, xmin, error, message):
    with pytest.raises(error, match=message):
        fit_truncated_power_law(values, xmin)
