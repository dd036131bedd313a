"""AlphaDecay's multipliers, against its formula."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.policies.weight_decay import weight_decay_scales


@given(st.lists(st.integers(1_001, 20_000), min_size=2, max_size=20, unique=True), st.sampled_from([3.0, 5.0]))
def test_the_formula_holds_module_by_module(thousandths, s_max):
    alphas = [value / 1000 for value in thousandths]
    found = weight_decay_scales(dict(enumerate(alphas)), s_max=s_max)
    low, high = min(alphas), max(alphas)
    expected = [0.67 + (s_max - 0.67) * (alpha - low) / (high - low) for alpha in alphas]
    # Another order of operations.
    assert list(found.values()) == pytest.approx(expected, rel=1e-15)


def test_hand_values():
    # alphas 2, 3, 4, 5.5: places 0, 2/7, 4/7 and 1 between 0.67 and 3.
    found = weight_decay_scales({"a": 2.0, "b": 3.0, "c": 4.0, "d": 5.5})
    assert list(found.values()) == pytest.approx([0.67, 1.3357142857, 2.0014285714, 3.0], rel=1e-10)


def test_the_mean_decay_rises_by_construction():
    found = weight_decay_scales({"a": 2.0, "b": 3.0, "c": 4.0})
    assert sum(found.values()) / 3 == pytest.approx((0.67 + 3.0) / 2, rel=1e-15)


def test_equal_and_missing_scores_leave_the_decay_as_it_is():
    assert weight_decay_scales({"a": 3.0, "b": 3.0, "c": math.nan}) == {"a": 1.0, "b": 1.0, "c": 1.0}


def test_limits_in_the_wrong_order_are_refused():
    with pytest.raises(InputError, match="expected r_min <= r_max"):
        weight_decay_scales({"a": 2.0, "b": 3.0}, s_min=3.0, s_max=0.67)
