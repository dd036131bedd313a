import numpy as np
import pytest

from spectra.whole_numbers import is_whole_number


@pytest.mark.parametrize("value", [0, -3, 2**70, np.int64(4), np.uint8(4)], ids=repr)
def test_whole_numbers_of_python_and_numpy_pass(value):
    assert is_whole_number(value)


@pytest.mark.parametrize("value", [1.0, np.float64(1.0), "1", None, True, np.True_, [1]], ids=repr)
def test_nothing_else_passes(value):
    assert not is_whole_number(value)


def test_the_least_is_among_them():
    assert is_whole_number(2, least=2)
    assert not is_whole_number(1, least=2)
