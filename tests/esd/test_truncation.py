import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError, NonFiniteWeightsError
from spectra.esd.gram import block_rows
from spectra.esd.truncation import decompose, project, truncated
from tests.strategies import matrices


def by_scipy(matrix, kept):
    left, values, right = scipy.linalg.svd(matrix, full_matrices=False)
    chosen = np.zeros_like(values)
    chosen[kept] = values[kept]
    return left * chosen @ right


def gaussian(rows, cols, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, cols))


# Both are backward stable: errors of a few (rows + cols) * eps of the largest singular value, where the gap at the cut is
# not smaller than that; Gaussian matrices have gaps of about 1 / n.
@pytest.mark.parametrize("shape", [(40, 40), (90, 30), (30, 90), (50, 1), (1, 50), (1, 1)])
@pytest.mark.parametrize("kept", [slice(1), slice(5), slice(29), slice(0), slice(1, None), slice(20, None), slice(3, 7)])
def test_truncation_equals_scipys(shape, kept):
    matrix = gaussian(*shape)
    np.testing.assert_allclose(truncated(matrix, kept), by_scipy(matrix, kept), rtol=0, atol=1e-11)


@given(matrices(), st.integers(0, 40))
def test_error_is_the_norm_of_what_was_left_out(matrix, num_kept):
    # Eckart-Young: no matrix of this rank is nearer, whatever was chosen among equal singular values.
    values = np.sort(scipy.linalg.svdvals(matrix))[::-1]
    error = scipy.linalg.svdvals(matrix - truncated(matrix, slice(num_kept)))
    bound = 20 * max(matrix.shape) * np.finfo(float).eps * values[0]
    assert np.linalg.norm(error) == pytest.approx(np.linalg.norm(values[num_kept:]), rel=1e-10, abs=bound)
    assert error[0] == pytest.approx(values[num_kept] if num_kept < len(values) else 0.0, rel=1e-10, abs=bound)


@given(matrices(), st.integers(0, 40))
def test_what_is_kept_and_what_is_removed_add_up(matrix, number):
    total = truncated(matrix, slice(number)) + truncated(matrix, slice(number, None))
    np.testing.assert_allclose(total, matrix, rtol=0, atol=1e-13 * np.linalg.norm(matrix))


@given(matrices(), st.integers(1, 40))
def test_truncating_twice_is_truncating_once(matrix, number):
    once = truncated(matrix, slice(number))
    np.testing.assert_allclose(truncated(once, slice(number)), once, rtol=0, atol=1e-12 * np.linalg.norm(matrix))


@given(matrices(), st.integers(1, 40), st.integers(-300, 300))
def test_a_power_of_two_passes_through(matrix, number, exponent):
    plain, scaled = truncated(matrix, slice(number)), truncated(matrix * 2.0**exponent, slice(number))
    np.testing.assert_allclose(scaled / 2.0**exponent, plain, rtol=0, atol=1e-12 * np.linalg.norm(matrix))


@pytest.mark.parametrize("shape", [(120_000, 60), (60, 120_000)])
def test_matrices_of_several_blocks_equal_the_whole(shape):
    assert max(shape) > 2 * block_rows(60)
    matrix = gaussian(*shape)
    result = matrix.copy()
    values, vectors = decompose(result)
    project(result, vectors, slice(10))
    # The Gram matrix as reference: Gaussian, so that its condition number, 1.1, costs no digits.
    small = matrix.T @ matrix if shape[0] > shape[1] else matrix @ matrix.T
    squares, basis = np.linalg.eigh(small)
    np.testing.assert_allclose(values**2, squares[::-1], rtol=1e-12)
    projector = basis[:, -10:] @ basis[:, -10:].T
    np.testing.assert_allclose(result, matrix @ projector if shape[0] > shape[1] else projector @ matrix, rtol=0, atol=1e-9)


def test_exact_ties_and_equal_matrices_are_cut_to_the_number_asked_for():
    result = truncated(np.eye(6), slice(2))
    np.testing.assert_allclose(np.linalg.svd(result, compute_uv=False), [1, 1, 0, 0, 0, 0], atol=1e-14)
    np.testing.assert_allclose(truncated(np.full((5, 4), 3.0), slice(1)), 3.0, rtol=1e-14)


def test_zeros_stay_zeros_and_empty_stays_empty():
    assert not truncated(np.zeros((4, 3)), slice(2)).any()
    assert truncated(np.zeros((0, 3)), slice(2)).shape == (0, 3)


def test_the_input_is_left_as_it_was():
    matrix = gaussian(8, 5)
    before = matrix.copy()
    truncated(matrix, slice(2))
    np.testing.assert_array_equal(matrix, before)


@pytest.mark.parametrize("wrong", [np.zeros(3), np.zeros((2, 2), complex), np.array([["a"]])])
def test_what_is_no_real_matrix_is_refused(wrong):
    with pytest.raises(InputError, match=r"expected real numbers of shape \(rows, cols\)"):
        truncated(wrong, slice(1))


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_refused(bad):
    with pytest.raises(NonFiniteWeightsError, match="NaN or infinite"):
        truncated([[1.0, bad]], slice(1))
