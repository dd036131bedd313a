import contextlib
import io
import json
import warnings
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError, TooFewEigenvaluesError, fit_power_law
from spectra.esd.power_law import parse_xmin
from tests.data.samples import CASES, sample
from tests.fixtures_htsr import ANSWERS
from tests.strategies import spectra

FROZEN = json.loads((Path(__file__).parents[1] / "data" / "powerlaw_1_5.json").read_text())["cases"]


def named(case):
    return f"{case['kind']}-{case['size']}"


# Known answers: the published digits are those of an independent script; 1e-12 leaves room for the order of summation.
@pytest.mark.parametrize("name", ANSWERS)
def test_closed_form_spectra_give_the_published_answers(name):
    make, alpha, index, xmin, distance, sigma, tail, *_ = ANSWERS[name]
    fit = fit_power_law(make())
    assert (fit.xmin_index, fit.num_tail) == (index, tail)
    assert fit.alpha == pytest.approx(alpha, rel=1e-12)
    assert fit.xmin == pytest.approx(xmin, rel=1e-12)
    assert fit.alpha_std_error == pytest.approx(sigma, rel=1e-12)
    assert fit.ks_distance == pytest.approx(distance, abs=1e-12)


@pytest.mark.parametrize("name", ANSWERS)
def test_median_and_hill_give_the_published_answers(name):
    make, *_, median, hill, _ = ANSWERS[name]
    assert fit_power_law(make(), "median").alpha == pytest.approx(median, rel=1e-12)
    assert fit_power_law(make(), "hill").alpha == pytest.approx(hill, rel=1e-12)


# H1, H2: powerlaw 1.5, frozen.
@pytest.mark.parametrize("case", FROZEN, ids=named)
def test_fit_equals_powerlaw_1_5(case):
    data = sample(case["kind"], case["size"], case["seed"])
    assert np.log(data).sum() == pytest.approx(case["checksum"], rel=1e-9), "the generator changed: refresh the frozen values"
    fit = fit_power_law(data)
    assert fit.xmin_index == np.argmin(np.abs(data - case["xmin"]))
    assert fit.alpha == pytest.approx(case["alpha"], rel=1e-12)
    assert fit.alpha_std_error == pytest.approx(case["sigma"], rel=1e-12)
    assert fit.ks_distance == pytest.approx(case["D"], abs=1e-12)


# H3: powerlaw 2.x, live, with its range of alpha opened; it never tries the two largest values as xmin. Its time grows with
# the square of the size: larger samples are those of powerlaw 1.5, above.
@pytest.mark.parametrize("case", [case for case in CASES if case["size"] <= 2000], ids=named)
def test_fit_equals_powerlaw_2_with_its_range_opened(case):
    import powerlaw

    data = sample(**case)
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        theirs = powerlaw.Fit(data, parameter_ranges={"alpha": [1.0, None]}, verbose=False)
    fit = fit_power_law(data)
    if fit.num_tail < 3:
        pytest.skip("powerlaw 2 does not try the two largest values")
    assert fit.xmin_index == np.argmin(np.abs(data - theirs.xmin))
    assert fit.alpha == pytest.approx(theirs.alpha, rel=1e-12)
    assert fit.alpha_std_error == pytest.approx(theirs.sigma, rel=1e-12)
    assert fit.ks_distance == pytest.approx(theirs.D, abs=1e-12)


def test_alpha_above_three_is_not_capped_as_in_powerlaw_2():
    # powerlaw 2.0 with default options answers 2.99623 at index 116 here.
    fit = fit_power_law(ANSWERS["B"][0]())
    assert fit.alpha > 3.0
    assert fit.xmin_index == 149


# H11: convergence on samples with a known exponent; 20 seeds, 3 standard errors.
@pytest.mark.parametrize("alpha", [2.0, 2.5, 3.0, 4.0])
def test_exponent_of_pareto_samples_is_recovered(alpha):
    known, searched = [], []
    for seed in range(20):
        data = (1.0 - np.random.default_rng(seed).random(5000)) ** (-1.0 / (alpha - 1.0))
        known.append(fit_power_law(data, 1.0).alpha)
        searched.append(fit_power_law(data).alpha)
    standard_error = (alpha - 1.0) / np.sqrt(5000 * 20)
    assert abs(np.mean(known) - alpha) < 3.0 * standard_error
    assert np.mean(searched) == pytest.approx(alpha, rel=0.05)


@given(spectra(), st.integers(-20, 20))
def test_scaling_by_a_power_of_two_scales_only_xmin(values, exponent):
    factor = 2.0**exponent
    if values[0] == values[-1]:
        return
    fit, scaled = fit_power_law(values), fit_power_law(values * factor)
    assert scaled.alpha == fit.alpha
    assert scaled.ks_distance == fit.ks_distance
    assert scaled.xmin == fit.xmin * factor


@given(spectra(min_size=3), st.integers(0, 2**32 - 1))
def test_order_of_the_eigenvalues_does_not_matter(values, seed):
    if values[0] == values[-1]:
        return
    shuffled = np.random.default_rng(seed).permutation(values)
    assert fit_power_law(shuffled) == fit_power_law(values)


@given(spectra(min_size=3), st.integers(0, 30))
def test_zeros_are_left_out_and_counted(values, num_zeros):
    if values[0] == values[-1]:
        return
    fit, padded = fit_power_law(values), fit_power_law(np.concatenate([np.zeros(num_zeros), values]))
    assert padded.alpha == fit.alpha
    assert padded.num_null == num_zeros
    assert padded.xmin_index == fit.xmin_index + num_zeros


@given(spectra(min_size=3))
def test_distance_is_between_zero_and_one_and_the_tail_is_counted(values):
    if values[0] == values[-1]:
        return
    fit = fit_power_law(values)
    assert 0.0 <= fit.ks_distance <= 1.0
    assert fit.alpha > 1.0
    assert fit.num_tail == np.count_nonzero(values >= fit.xmin)


def test_repeated_values_follow_powerlaws_rule():
    # Every value twice: the fraction strictly below a value counts, and each value is one candidate. By hand: for the
    # candidate x_i, k = 2 (m - i), alpha = 1 + k / (2 sum ln(x_j / x_i)), F_emp(x_j) = 2 (j - i) / k.
    distinct = ANSWERS["B"][0]()[::4]
    doubled = np.sort(np.concatenate([distinct, distinct]))
    best = None
    for i in range(len(distinct) - 1):
        tail = distinct[i:]
        alpha = 1.0 + len(tail) / np.log(tail / tail[0]).sum()
        fitted = 1.0 - (tail / tail[0]) ** (1.0 - alpha)
        distance = np.abs(fitted - np.arange(len(tail)) / len(tail)).max()
        best = min(best or (2.0,), (distance, i, alpha))
    fit = fit_power_law(doubled)
    assert fit.xmin == distinct[best[1]]
    assert fit.alpha == pytest.approx(best[2], rel=1e-12)
    assert fit.ks_distance == pytest.approx(best[0], abs=1e-12)


def test_a_fixed_xmin_is_used_as_it_is():
    values = ANSWERS["A"][0]()
    fit = fit_power_law(values, 2.0)
    tail = values[values >= 2.0]
    assert fit.alpha == pytest.approx(1.0 + len(tail) / np.log(tail / 2.0).sum(), rel=1e-14)
    assert fit.xmin == 2.0
    assert fit.num_tail == len(tail)


@pytest.mark.parametrize("xmin", [1e-190, "median", "hill", "ks"])
def test_a_spectrum_wider_than_a_float64_ratio_is_fitted(xmin):
    # 401 decades in equal steps: over the tail ln(x / xmin) is uniform on [0, L], its mean L / 2 to one part in its size.
    values = np.logspace(-200.0, 200.0, 4001)
    fit = fit_power_law(values, xmin)
    expected = 1.0 + 2.0 / np.log(10.0) / (200.0 - np.log10(fit.xmin))
    assert fit.alpha == pytest.approx(expected, rel=1e-5)
    assert 0.0 < fit.ks_distance < 1.0


@pytest.mark.parametrize("num_tail", [40, 0.2])
def test_fixed_takes_a_number_of_values_or_a_fraction(num_tail):
    values = ANSWERS["A"][0]()
    fit = fit_power_law(values, "fixed", num_tail=num_tail)
    assert fit.num_tail == 40
    assert fit.xmin == np.sort(values)[-40]


def test_min_tail_restricts_the_search():
    values = ANSWERS["C"][0]()
    assert fit_power_law(values).num_tail == 37
    assert fit_power_law(values, min_tail=60).num_tail >= 60


def test_bias_correction_is_the_smaller_numerator():
    values = ANSWERS["A"][0]()
    plain, corrected = fit_power_law(values, 2.0), fit_power_law(values, 2.0, bias_correction=True)
    assert corrected.alpha - 1.0 == pytest.approx((plain.alpha - 1.0) * (plain.num_tail - 1) / plain.num_tail, rel=1e-14)


def test_a_torch_tensor_is_accepted():
    import torch

    values = ANSWERS["A"][0]()
    assert fit_power_law(torch.from_numpy(values)) == fit_power_law(values)


def test_a_short_or_distant_tail_is_called_doubtful():
    assert fit_power_law(ANSWERS["A"][0]()).is_reliable
    short = fit_power_law(ANSWERS["B"][0](), "fixed", num_tail=5)
    assert not short.is_reliable
    assert "5 tail values" in str(short)
    assert fit_power_law(ANSWERS["C"][0]()).notes == ("random-like tail, z -0.1 < 2",)  # the quarter circle itself
    uniform = fit_power_law(np.linspace(1e-6, 1.0, 400), "median")
    assert any("KS distance" in note for note in uniform.notes)


def test_to_dict_has_every_field():
    content = fit_power_law(ANSWERS["A"][0]()).to_dict()
    assert content["strategy"] == "ks"
    assert content["notes"] == ()


@pytest.mark.parametrize(
    ("values", "arguments", "error", "message"),
    [
        ([1.0, -2.0, 3.0], {}, InputError, r"index 1 is -2\.0"),
        ([1.0, np.nan], {}, InputError, "index 1 is nan"),
        ([1.0, np.inf], {}, InputError, "index 1 is inf"),
        ([[1.0, 2.0]], {}, InputError, r"expected shape \(n,\), got \(1, 2\)"),
        ([], {}, TooFewEigenvaluesError, "at least 2 positive eigenvalues, got 0"),
        ([0.0, 0.0, 1.0], {}, TooFewEigenvaluesError, "got 1"),
        ([2.0, 2.0, 2.0], {}, TooFewEigenvaluesError, "all 3 positive eigenvalues equal 2"),
        ([1.0, 2.0, 3.0], {"xmin": "medain"}, InputError, "unknown xmin strategy 'medain'. Did you mean 'median'"),
        ([1.0, 2.0, 3.0], {"xmin": -1.0}, InputError, "positive number"),
        ([1.0, 2.0, 3.0], {"xmin": "fixed"}, InputError, "needs num_tail"),
        ([1.0, 2.0, 3.0], {"xmin": "fixed", "num_tail": 9}, TooFewEigenvaluesError, "needs more than the 3 positive"),
        ([1.0, 2.0, 3.0], {"xmin": "fixed", "num_tail": np.nan}, InputError, "a fraction in"),
        ([1.0, 2.0, 3.0], {"xmin": None}, InputError, "unknown xmin strategy None"),
        ([1.0, 2.0, 3.0], {"xmin": 2.5}, TooFewEigenvaluesError, "1 eigenvalues at or above xmin"),
        ([1.0, 2.0, 2.0], {"xmin": 2.0}, TooFewEigenvaluesError, "all 2 tail values equal"),
        ([1.0, 2.0, 3.0], {"xmin": "median", "xmin_pos": 1.0}, InputError, "xmin_pos"),
        ([1.0, 2.0, 3.0], {"xmin": "hill", "num_tail": 3}, TooFewEigenvaluesError, "one below them"),
        ([1.0, 2.0, 3.0], {"min_tail": 1}, InputError, "min_tail"),
        ([1.0, 2.0, 2.0], {"min_tail": 4}, TooFewEigenvaluesError, "at least 4"),
    ],
)
def test_what_cannot_be_fitted_is_refused_with_the_reason(values, arguments, error, message):
    with pytest.raises(error, match=message):
        fit_power_law(values, **arguments)


def test_xmin_is_parsed_from_text():
    assert parse_xmin("0.5") == 0.5
    assert parse_xmin("median") == "median"
