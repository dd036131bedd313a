import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.report.html.binned_spectra import MOST_BINS, MOST_POINTS, binned_spectra, binned_spectrum, ranks
from tests.layer_rows import row
from tests.reports import report_of

SPECTRA = st.integers(1, 400).flatmap(
    lambda size: st.tuples(st.just(size), st.integers(0, 2**32 - 1), st.floats(-12.0, 12.0), st.floats(0.0, 4.0))
)


def spectrum(size, seed, log_scale, spread):
    return np.sort(10.0 ** (log_scale + spread * np.random.default_rng(seed).standard_normal(size)))


@given(SPECTRA)
def test_every_eigenvalue_is_in_a_bin_or_counted_outside(drawn):
    values = spectrum(*drawn)
    found = binned_spectrum(values, row("fc", num_eigenvalues=len(values)))
    for bins in (found.log_bins, found.linear_bins):
        assert len(bins.counts) <= MOST_BINS
        assert sum(bins.counts) + bins.num_outside == len(values) == found.num_positive
        inside = np.count_nonzero((values >= bins.first) & (values <= bins.last))
        assert sum(bins.counts) == inside


@given(SPECTRA)
def test_log_bins_reach_the_largest_eigenvalue(drawn):
    values = spectrum(*drawn)
    bins = binned_spectrum(values, row("fc", num_eigenvalues=len(values))).log_bins
    assert bins.last >= values[-1]
    assert bins.num_outside == 0  # without a tail nothing is cut off


@given(SPECTRA)
def test_points_are_order_statistics_of_four_digits(drawn):
    values = spectrum(*drawn)
    found = binned_spectrum(values, row("fc", num_eigenvalues=len(values)))
    expected = [sorted(values.tolist(), reverse=True)[rank - 1] for rank in ranks(len(values))]
    np.testing.assert_allclose(found.values, expected, rtol=5.1e-4)


@pytest.mark.parametrize("size", [1, 2, MOST_POINTS, MOST_POINTS + 1, 5000, 65536])
def test_ranks_hold_the_largest_and_the_smallest(size):
    found = ranks(size)
    assert (found[0], found[-1]) == (1, size)
    assert len(found) <= MOST_POINTS
    assert found == sorted(set(found))


def test_bins_begin_two_decades_under_the_tail():
    values = np.geomspace(1e-8, 10.0, 300)
    layer = row("fc", 3.0, xmin=1.0, xmax=10.0, num_tail=30, num_eigenvalues=300)
    bins = binned_spectrum(values, layer).log_bins
    assert bins.first == pytest.approx(0.01, rel=1e-3)
    assert bins.num_outside == np.count_nonzero(values < bins.first)


def test_null_eigenvalues_are_left_out():
    report = report_of(["fc"], size=50)
    values = report.spectra["fc"]
    values[:5] = [0.0, 0.0, 1e-30, 1e-29, 1e-28]
    object.__setattr__(report.layers[0], "num_null", 5)
    [[num, *_]] = binned_spectra(report)["spectra"]
    assert num == 45


def test_a_layer_without_spectrum_is_none():
    report = report_of(["a", "b"])
    report.spectra.pop("a")
    found = binned_spectra(report)
    assert found["spectra"][0] is None
    assert set(found["ranks"]) == {"64"}
    assert math.isfinite(found["spectra"][1][1][0])
