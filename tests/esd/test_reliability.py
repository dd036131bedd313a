import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError, eigenvalues, farms_eigenvalues, fit_power_law
from spectra.esd.reliability import MIN_STANDARD_ERRORS, random_log_excess, reliability_notes, tail_excess
from tests.fixtures_htsr import ANSWERS
from tests.strategies import spectra


def judged(values, strategy="ks"):
    fit = fit_power_law(values, strategy)
    return fit, reliability_notes(np.sort(values), num_tail=fit.num_tail, ks_distance=fit.ks_distance)


# The integral itself, of the density of singular values on the quarter circle: no angle, no integration by parts.
# 1e-4: the table's own resolution, stated where it is made.
@pytest.mark.parametrize("share", [0.001, 0.01, 0.1, 0.25, 0.5])
def test_random_log_excess_is_the_integral_over_the_quarter_circle(share):
    from scipy.integrate import quad
    from scipy.optimize import brentq

    def density(sigma):
        return np.sqrt(4.0 - sigma**2) / np.pi

    edge = brentq(lambda low: quad(density, low, 2.0)[0] - share, 1e-3, 2.0 - 1e-9)
    expected = quad(lambda sigma: 2.0 * np.log(sigma / edge) * density(sigma), edge, 2.0)[0] / share
    assert random_log_excess(share) == pytest.approx(expected, rel=1e-4)


def test_random_log_excess_of_small_shares_is_that_of_a_square_root_edge():
    # Near the edge s = 4 u^3 / (3 pi) and ln(x / x_s) integrates to 2 u^2 / 5; the next term is 3/7 of u^2, 0.08 % here.
    share = 1e-4
    assert random_log_excess(share) == pytest.approx(0.4 * (0.75 * np.pi * share) ** (2 / 3), rel=2.5e-3)


@pytest.mark.parametrize(("side", "tolerance"), [(200, 0.05), (800, 0.0125)])
def test_random_log_excess_is_what_a_square_gaussian_matrix_has(side, tolerance):
    # Eigenvalues of a random matrix are rigid: the mean over a quarter of them deviates by order 1/n, 10/n at most here.
    values = eigenvalues(np.random.default_rng(0).standard_normal((side, side)))
    tail = values[-side // 4 :]
    assert np.log(tail / tail[0]).mean() == pytest.approx(random_log_excess(0.25), rel=tolerance)


def test_excess_of_a_closed_form_spectrum_equals_a_plain_loop():
    values = ANSWERS["A"][0]()  # 200 quantiles of a Pareto law; a quarter is 50 of them
    total = 0.0
    for value in values[150:]:
        total += np.log(value / values[150])
    assert tail_excess(values, 200) == pytest.approx((total / 50 / 0.40605681 - 1.0) * np.sqrt(50), rel=1e-5)


def test_an_ideal_random_spectrum_has_no_excess():
    values = ANSWERS["C"][0]()  # quarter circle; the quantiles end half a step before the edge, and so a little early
    assert tail_excess(values, 37) == pytest.approx(0.0, abs=0.2)
    assert tail_excess(values, 192) == pytest.approx(0.0, abs=0.2)


def test_excess_of_pareto_samples_grows_as_the_square_root_of_their_number():
    # With xi = 1 / (alpha - 1): z = sqrt(k) (xi / H0 - 1) + noise of standard deviation xi / H0; 5 of them allowed.
    for size in (400, 6400):
        values = np.sort((1.0 - np.random.default_rng(1).random(size)) ** -1.0)
        scale = 1.0 / random_log_excess(0.25)
        assert tail_excess(values, size) == pytest.approx(np.sqrt(size / 4) * (scale - 1.0), abs=5.0 * scale)


@given(spectra(), st.floats(1e-200, 1e200), st.data())
def test_scaling_changes_nothing(values, factor, data):
    size = data.draw(st.integers(1, len(values)))
    # The logarithms of a scaled spectrum are rounded at up to 460: 1e-13 absolute, against an H0 of 0.007 or more.
    assert tail_excess(values * factor, size) == pytest.approx(tail_excess(values, size), rel=1e-9, abs=1e-8)


@given(spectra(min_size=40), st.data())
def test_beyond_a_quarter_the_length_of_the_tail_does_not_matter(values, data):
    size = data.draw(st.integers(-(-len(values) // 4), len(values)))
    assert tail_excess(values, size) == tail_excess(values, len(values))


@given(spectra(min_size=10))
def test_stretching_the_logarithms_raises_the_excess(values):
    stretched = values[-1] * (values / values[-1]) ** 1.5
    assert tail_excess(stretched, len(values)) >= tail_excess(values, len(values))


@pytest.mark.parametrize("strategy", ["ks", "median", "hill"])
@pytest.mark.parametrize("shape", [(32, 32), (64, 64), (96, 48), (256, 256), (512, 64)])
def test_gaussian_matrices_are_not_called_reliable(shape, strategy):
    # analysis/fit_quality: none of 2240 Gaussian matrices. 20 here; one may pass, as the study cannot exclude 0.2 %.
    rng = np.random.default_rng(7)
    found = [judged(eigenvalues(rng.standard_normal(shape)), strategy)[1] for _ in range(20)]
    assert sum(not notes for notes in found) <= 1


@pytest.mark.parametrize("alpha", [2.0, 3.0])
def test_a_heavy_tail_beyond_the_noise_is_called_reliable(alpha):
    rng = np.random.default_rng(3)
    reliable = 0
    for _ in range(10):
        left, right = (np.linalg.qr(rng.standard_normal((256, 40)))[0] for _ in range(2))
        strengths = 32.0 * (1.0 - rng.random(40)) ** (-0.5 / (alpha - 1.0))  # singular values; 32 is the edge of the noise
        values = eigenvalues(rng.standard_normal((256, 256)) + (left * strengths) @ right.T)
        reliable += not judged(values)[1]
    assert reliable >= 9


def test_a_tail_half_way_between_is_called_reliable_when_it_is_two_standard_errors_longer():
    h0 = random_log_excess(0.25)
    for excess, expected in ((1.9, False), (2.1, True)):
        mean = h0 * (1.0 + excess / np.sqrt(100))
        # 100 tail values whose logarithms rise evenly from 0 to twice the mean, above 300 others.
        values = np.exp(np.concatenate([np.linspace(-9.0, -0.1, 300), np.linspace(0.0, 2.0 * mean, 100)]))
        assert tail_excess(values, 100) == pytest.approx(excess, abs=1e-9)
        assert (reliability_notes(values, num_tail=100, ks_distance=0.1) == []) is expected


def test_a_power_law_down_to_the_smallest_value_is_reliable():
    fit, notes = judged(ANSWERS["A"][0]())
    assert fit.num_tail == 200
    assert notes == []


def test_each_condition_has_its_note():
    values = ANSWERS["A"][0]()
    assert reliability_notes(values, num_tail=200, ks_distance=0.2) == ["KS distance 0.200 > 0.15"]
    assert reliability_notes(values, num_tail=200, ks_distance=np.nan) == ["KS distance nan > 0.15"]
    assert reliability_notes(values, num_tail=9, ks_distance=0.1) == ["only 9 tail values"]
    narrow = np.linspace(0.9, 1.0, 200)
    (note,) = reliability_notes(narrow, num_tail=50, ks_distance=0.1)
    assert note == f"random-like tail, z -6.9 < {MIN_STANDARD_ERRORS:.0f}"


@pytest.mark.parametrize("values", [[1.0, 2.0], [1.0, 1.0], [5e-324, 1.7e308], [1.0, 1.0, 1.0, 1.0, 2.0]], ids=str)
def test_degenerate_spectra_are_refused_and_not_misjudged(values):
    assert "only 2 tail values" in reliability_notes(np.array(values), num_tail=2, ks_distance=0.0)
    assert np.isfinite(tail_excess(np.array(values), 2))


def test_a_tail_of_equal_values_has_none_of_the_length_of_a_random_one():
    assert tail_excess(np.concatenate([np.linspace(0.1, 0.9, 75), np.ones(25)]), 25) == -5.0


@pytest.mark.parametrize("num_tail", [0, 4])
def test_a_tail_that_is_not_there_is_refused(num_tail):
    with pytest.raises(InputError, match=f"num_tail: expected 1 to 3, the number of values, got {num_tail}"):
        tail_excess(np.array([1.0, 2.0, 3.0]), num_tail)


@pytest.mark.parametrize("share", [0.0, 0.51, np.nan])
def test_a_share_outside_the_table_is_refused(share):
    with pytest.raises(InputError, match="share: expected a number in"):
        random_log_excess(share)


# The study's conditions on spectra it did not have: many small matrices pooled. The ends of their spectra are no tail.
@pytest.mark.parametrize(("side", "number"), [(2, 500), (4, 288), (16, 288), (64, 128)])
def test_pooled_noise_is_not_called_reliable(side, number):
    rng = np.random.default_rng(side)
    without = 0
    for _ in range(10):
        values = np.linalg.svd(rng.standard_normal((number, side, side)), compute_uv=False).ravel() ** 2
        fit = fit_power_law(values, num_matrices=number)
        assert not fit.is_reliable
        assert (f"{fit.num_tail} tail values of {number} matrices" in str(fit)) == (fit.num_tail < number)
        without += fit_power_law(values).is_reliable
    assert without > 0  # else the condition would not be needed


@pytest.mark.parametrize("windows_per_side", [None, 9])
def test_windows_of_noise_are_not_called_reliable(windows_per_side):
    for seed in range(4):
        noise = np.random.default_rng(seed).standard_normal((256, 256))
        found = farms_eigenvalues(noise, window_rows=64, windows_per_side=windows_per_side)
        assert not fit_power_law(found.eigenvalues, num_matrices=found.num_windows).is_reliable


def test_a_tail_that_every_matrix_has_is_reliable_when_pooled():
    rng = np.random.default_rng(0)
    pareto = (1.0 - rng.random((9, 64))) ** (-1.0 / 1.2)  # alpha 2.2
    fit = fit_power_law(pareto.ravel(), num_matrices=9)
    assert fit.is_reliable
    assert fit == fit_power_law(pareto.ravel())  # nothing else depends on it


def test_a_number_of_matrices_below_one_is_refused():
    with pytest.raises(InputError, match="num_matrices: expected at least 1, got 0"):
        fit_power_law([1.0, 2.0, 3.0], num_matrices=0)
