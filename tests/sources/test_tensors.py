import numpy as np
import pytest

from spectra.sources import StoredTensor


@pytest.mark.parametrize(("shape", "size"), [((), 1), ((7,), 7), ((3, 0, 5), 0), ((100_000, 125_000, 4), 50_000_000_000)])
def test_size_is_the_number_of_elements(shape, size):
    assert StoredTensor("a", shape, "float32", lambda start, stop: np.zeros(0)).size == size
