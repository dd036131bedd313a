import numpy as np
import pytest
import torch

from spectra.sources.small_floats import FLOAT8_DTYPES, SCALE_DTYPE, values_of


@pytest.mark.parametrize("dtype", [*FLOAT8_DTYPES, SCALE_DTYPE])
def test_every_code_has_the_value_that_torch_gives_it(dtype):
    expected = torch.arange(256, dtype=torch.uint8).view(getattr(torch, dtype)).float().numpy()
    np.testing.assert_array_equal(values_of(dtype), expected)  # NaN where there is NaN
    numbers = ~np.isnan(expected)
    np.testing.assert_array_equal(np.signbit(values_of(dtype))[numbers], np.signbit(expected)[numbers])


def test_four_bits_hold_the_values_of_the_specification():
    positive = [0.0, 0.5, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0]
    np.testing.assert_array_equal(values_of("float4_e2m1fn"), positive + [-value for value in positive])


def test_the_tables_cannot_be_changed_by_accident():
    with pytest.raises(ValueError, match="read-only"):
        values_of("float8_e5m2")[0] = 1.0
