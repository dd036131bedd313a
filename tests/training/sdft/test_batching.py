"""Which requests are answered together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError
from spectra.training.sdft.batching import plan_batches


def test_the_longest_come_first_and_equal_ones_in_order():
    assert plan_batches([3, 9, 3, 5, 9], 2) == ((1, 4), (3, 0), (2,))


def test_requests_change_places_within_a_window_only():
    assert plan_batches([1, 2, 3, 4, 5, 6], 2, window=1) == ((1, 0), (3, 2), (5, 4))


def test_unknown_lengths_keep_the_order():
    assert plan_batches([0] * 5, 2) == ((0, 1), (2, 3), (4,))


def test_nothing_makes_no_batches():
    assert plan_batches([], 8) == ()


@given(st.lists(st.integers(0, 30), max_size=40), st.integers(1, 5), st.integers(1, 4))
def test_every_request_is_in_one_batch_and_batches_are_sorted_by_length(lengths, batch_size, window):
    batches = plan_batches(lengths, batch_size, window)
    flat = [index for batch in batches for index in batch]
    assert sorted(flat) == list(range(len(lengths)))
    assert max(map(len, batches), default=0) <= batch_size
    for start in range(0, len(flat), window * batch_size):
        inside = flat[start : start + window * batch_size]
        assert [lengths[index] for index in inside] == sorted((lengths[index] for index in inside), reverse=True)


@pytest.mark.parametrize(("batch_size", "window"), [(0, 1), (1, 0)])
def test_batches_of_nothing_are_refused(batch_size, window):
    with pytest.raises(InputError, match=f"expected at least 1, got {batch_size} and {window}"):
        plan_batches([1], batch_size, window)
