"""Whole numbers that add up."""

from fractions import Fraction

from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.training.pruning.counts import whole_counts

layers = st.lists(st.tuples(st.integers(1, 10**7), st.floats(0, 1)), min_size=1, max_size=8)


@given(layers)
@settings(deadline=None, max_examples=50)
def test_the_total_is_the_nearest_whole_number_and_every_layer_within_one_of_its_share(given_layers):
    sizes = {str(number): size for number, (size, _) in enumerate(given_layers)}
    shares = {str(number): share for number, (_, share) in enumerate(given_layers)}
    counts = whole_counts(sizes, shares)
    exact = {name: Fraction(shares[name]) * size for name, size in sizes.items()}
    # Half a weight, and what floating-point products lose of 8 layers of up to 10 million weights: below 1e-8.
    assert abs(sum(counts.values()) - sum(exact.values())) <= Fraction(1, 2) + Fraction(1, 10**8)
    assert all(abs(counts[name] - exact[name]) <= 1 for name in sizes)
    assert all(0 <= counts[name] <= size for name, size in sizes.items())


def test_what_is_missing_goes_to_the_largest_rest_and_then_to_the_first():
    assert whole_counts({"a": 10, "b": 10, "c": 10}, {"a": 0.12, "b": 0.19, "c": 0.19}) == {"a": 1, "b": 2, "c": 2}
    assert whole_counts({"a": 3, "b": 3, "c": 3}, {"a": 0.5, "b": 0.5, "c": 0.5}) == {"a": 2, "b": 1, "c": 1}


def test_a_share_that_is_a_whole_number_stays_one():
    assert whole_counts({"a": 100, "b": 7}, {"a": 0.29, "b": 0.0}) == {"a": 29, "b": 0}
