import numpy as np
import pytest

from spectra.errors import NonFiniteWeightsError
from spectra.esd.gram import block_rows, blocks_of, check_finite, pieces_of, safe_gram, scale_of, transposed_reader


def reader(matrix):
    return lambda start, stop: matrix[start:stop]


def tall(small, rows):
    return np.random.default_rng(0).standard_normal((rows, small))


@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_the_product_of_blocks_is_that_of_the_whole(precision):
    small = 1000
    matrix = tall(small, 2 * block_rows(small) + 7)
    gram, scale = safe_gram(reader(matrix), len(matrix), small, precision)
    assert (gram.dtype, scale) == (precision, 1.0)
    expected = matrix.T @ matrix
    # A few roundings of the largest sums, which stand on the diagonal; sums of blocks are added in another order.
    np.testing.assert_allclose(gram, expected, rtol=0, atol=20 * np.finfo(precision).eps * expected.max())


@pytest.mark.parametrize("exponent", [-600, 600])
def test_the_scale_is_a_power_of_two_and_loses_no_digit(exponent):
    matrix = tall(20, 50)
    gram, scale = safe_gram(reader(matrix * 2.0**exponent), 50, 20, "float64")
    back = 2.0**exponent * scale
    assert np.frexp(scale)[0] == 0.5
    assert np.array_equal(gram / back**2, safe_gram(reader(matrix), 50, 20, "float64")[0])


def test_the_largest_entry_comes_between_a_half_and_one():
    matrix = tall(20, 50) * 1e-200
    assert 0.5 <= np.abs(matrix * scale_of(reader(matrix), 50, 20)).max() < 1.0
    assert scale_of(reader(np.zeros((50, 20))), 50, 20) == 1.0


def test_blocks_of_a_wide_matrix_are_its_columns():
    wide = tall(100_000, 40).astype(np.float32)
    blocks = list(blocks_of(transposed_reader(wide), 100_000, 40, "float64", 1.0))
    assert [len(block) for block in blocks[:-1]] == [block_rows(40)] * (len(blocks) - 1)
    assert len(blocks) > 1
    assert np.array_equal(np.concatenate(blocks), wide.T)


def test_what_is_no_number_is_counted():
    check_finite(np.ones(3))
    with pytest.raises(NonFiniteWeightsError, match="at least 1 NaN and 2 infinite values; repair or exclude the layer"):
        check_finite(np.array([np.nan, np.inf, 1.0, -np.inf]))


@pytest.mark.parametrize("shape", [(5, 7), (3, 10**6), (10**6, 3), (2000, 4500), (0, 4), (4, 0)])
def test_pieces_are_all_rows_once_read_in_few_blocks(shape):
    reads = []

    def read(start, stop):
        reads.append(stop - start)
        return np.broadcast_to(np.arange(start, stop)[:, None], (stop - start, shape[1]))

    rows = [int(row[0]) for piece in pieces_of(read, shape) for row in piece]
    assert rows == (list(range(shape[0])) if shape[1] else [])
    # As large as blocks of the Gram matrix: no more of them, but for the last.
    numbers = block_rows(max(min(shape), 1)) * min(shape)
    assert all(count == 1 or count * shape[1] <= numbers for count in reads)
    assert len(reads) <= 1 + 2 * shape[0] * shape[1] // max(numbers, 1)


def test_pieces_stay_in_the_cache():
    matrix = np.zeros((3000, 5000), dtype=np.float32)
    assert max(piece.size for piece in pieces_of(lambda start, stop: matrix[start:stop], matrix.shape)) <= 2**17
