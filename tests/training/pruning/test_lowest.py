"""Exactly as many as asked for, the first of equal ones."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.training.pruning.lowest import lowest


def by_sorting(scores, count):
    """The same by a stable sort of each row."""
    expected = np.zeros(scores.shape, dtype=bool)
    for row, order in enumerate(np.argsort(scores, axis=1, kind="stable")):
        expected[row, order[:count]] = True
    return expected


# Few different values, so that there are many ties.
rows_of_ties = st.integers(1, 4).flatmap(
    lambda rows: st.integers(1, 12).flatmap(
        lambda length: st.lists(st.lists(st.integers(0, 3), min_size=length, max_size=length), min_size=rows, max_size=rows)
    )
)


@given(rows_of_ties, st.floats(0, 1))
@settings(deadline=None, max_examples=50)
def test_the_lowest_are_those_of_a_stable_sort(rows, share):
    scores = np.array(rows, dtype=np.float32)
    count = round(share * scores.shape[1])
    np.testing.assert_array_equal(lowest(torch.from_numpy(scores), count).numpy(), by_sorting(scores, count))


@pytest.mark.parametrize("count", [0, 5])
def test_none_and_all_can_be_asked_for(count):
    assert lowest(torch.ones(2, 5), count).sum() == 2 * count


def test_no_rows_have_no_lowest():
    assert lowest(torch.ones(0, 5), 2).shape == (0, 5)
