import json
import math

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.results.scores import Mean, Proportion

Z = 1.959963984540054  # the 97.5 % point of the normal distribution


@pytest.mark.parametrize(("count", "total"), [(417, 1319), (22, 112), (0, 20), (20, 20), (1, 1)])
def test_the_interval_is_wilsons(count, total):
    # Wilson (1927): the shares that lie Z of their own standard errors from the one that was found.
    low, high = Proportion(count, total).interval
    found = count / total
    for end, is_free in ((low, count > 0), (high, count < total)):
        distance = Z * math.sqrt(end * (1 - end) / total)
        assert not is_free or abs(found - end) == pytest.approx(distance, rel=1e-9)  # rounding of a quadratic equation
    assert low <= found <= high
    assert (low == 0.0) == (count == 0)


def test_standard_errors_are_those_of_the_published_sets():
    # The sizes of GSM8K's and of OpenFunctions' test sets, at three in ten: 1.3 and 4.3 points.
    assert Proportion(396, 1319).std_error == pytest.approx(0.0126, abs=5e-5)
    assert Proportion(34, 112).std_error == pytest.approx(0.0434, abs=5e-5)


def test_outcomes_are_counted():
    assert Proportion.of([True, False, True]) == Proportion(2, 3)


@pytest.mark.parametrize(("count", "total"), [(0, 0), (3, 2), (-1, 2)])
def test_what_is_no_proportion_is_refused(count, total):
    with pytest.raises(InputError, match=f"{count} of {total} is no proportion. Count at least one"):
        Proportion(count, total)


def test_a_proportion_says_all_in_one_line():
    assert str(Proportion(417, 1319)) == ("31.6% (417 of 1319; standard error 1.3 points, 95 % interval 29.2% to 34.2%)")
    assert list(Proportion(1, 4).to_dict()) == ["count", "total", "share", "std_error", "low", "high"]


def test_a_mean_has_the_error_of_its_spread():
    # Deviations 1, 0, 1: variance 2 / 2, over three values.
    assert Mean.of([1.0, 2.0, 3.0]) == Mean(2.0, pytest.approx(math.sqrt(1 / 3)))
    assert str(Mean.of([1.0, 2.0, 3.0])) == "2.000 ± 0.577"


def test_of_a_single_value_no_error_is_known():
    alone = Mean.of([0.5])
    assert (alone.value, str(alone)) == (0.5, "0.500")
    assert json.dumps(alone.to_dict(), allow_nan=False) == '{"value": 0.5, "std_error": null}'


def test_nothing_has_no_mean():
    with pytest.raises(InputError, match="there are no values to average"):
        Mean.of([])


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 300), st.integers(1, 300))
def test_more_items_of_the_same_share_narrow_the_interval(count, total):
    assume(count <= total)
    (low, high), (lower, upper) = Proportion(4 * count, 4 * total).interval, Proportion(count, total).interval
    assert lower <= low <= high <= upper
