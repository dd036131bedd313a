import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError, NonFiniteWeightsError, eigenvalues, fit_power_law
from spectra.esd.eigenvalues import spectrum
from spectra.esd.gram import block_rows
from spectra.esd.spectrum import pool
from tests.strategies import ALPHA_RTOL, matrices


def heavy_tailed(rows, cols, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, cols)) * (1.0 - rng.random(cols)) ** (-1.0 / 3.0)


def reader(matrix):
    return lambda start, stop: matrix[start:stop]


def test_a_diagonal_matrix_by_hand():
    assert eigenvalues(np.diag([3.0, 1.0, 2.0])).tolist() == [1.0, 4.0, 9.0]


# Second opinion: SciPy's singular values. The Gram route is exact to n * eps * lambda_max in each eigenvalue (module text).
@given(matrices(), st.sampled_from(["auto", "gram", "svd"]))
def test_eigenvalues_equal_scipys_singular_values_squared(matrix, method):
    expected = np.sort(scipy.linalg.svdvals(matrix) ** 2)
    got = eigenvalues(matrix, method=method)
    assert got.shape == (min(matrix.shape),)
    np.testing.assert_allclose(got, expected, rtol=0, atol=4 * max(matrix.shape) * np.finfo(float).eps * expected[-1])
    assert (got >= 0.0).all()
    assert (np.diff(got) >= 0.0).all()


@pytest.mark.parametrize("shape", [(300, 80), (80, 300), (120, 120)])
def test_the_route_does_not_change_alpha(shape):
    matrix = heavy_tailed(*shape)
    gram, svd = (fit_power_law(eigenvalues(matrix, method=m)) for m in ("gram", "svd"))
    assert gram.xmin_index == svd.xmin_index
    assert gram.alpha == pytest.approx(svd.alpha, rel=ALPHA_RTOL["float64"])


def test_float32_arithmetic_keeps_alpha():
    matrix = heavy_tailed(800, 200).astype(np.float32)
    double, single = fit_power_law(eigenvalues(matrix)), fit_power_law(eigenvalues(matrix, precision="float32"))
    assert single.alpha == pytest.approx(double.alpha, rel=ALPHA_RTOL["float32"])


@pytest.mark.parametrize("shape", [(100_000, 70), (70, 100_000)])
@pytest.mark.parametrize("method", ["gram", "svd"])
def test_a_matrix_of_several_blocks_equals_the_whole(shape, method):
    matrix = heavy_tailed(*shape).astype(np.float32)
    assert max(shape) > 2 * block_rows(min(shape)), "this matrix must not fit one block"
    blocked = spectrum(reader(matrix), shape, method=method).eigenvalues
    whole = np.sort(scipy.linalg.svdvals(matrix.astype(np.float64)) ** 2)
    np.testing.assert_allclose(blocked, whole, rtol=1e-11)


def test_only_a_block_of_a_tall_matrix_is_read_at_a_time():
    rows, cols = 250_000, 64
    largest = 0

    def read(start, stop):
        nonlocal largest
        largest = max(largest, stop - start)
        return np.random.default_rng(start).standard_normal((stop - start, cols), dtype=np.float32)

    assert spectrum(read, (rows, cols)).eigenvalues.shape == (cols,)
    assert largest == block_rows(cols)
    assert largest * cols * 8 <= 24 * 2**20


def test_a_rank_deficient_matrix_falls_back_to_singular_values():
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((60, 20)) @ rng.standard_normal((20, 40))
    found = spectrum(reader(matrix), matrix.shape)
    assert found.method == "svd"
    assert found.rank == np.linalg.matrix_rank(matrix) == 20
    assert found.rank_loss == 20
    assert np.count_nonzero(found.eigenvalues <= found.null_threshold) == 20


def test_a_matrix_of_full_rank_stays_on_the_gram_route():
    matrix = heavy_tailed(100, 30)
    found = spectrum(reader(matrix), matrix.shape)
    assert (found.method, found.rank, found.rank_loss) == ("gram", 30, 0)


def test_gram_alone_and_float32_admit_that_they_cannot_tell_the_rank():
    rng = np.random.default_rng(2)
    matrix = rng.standard_normal((50, 10)) @ rng.standard_normal((10, 30))
    assert spectrum(reader(matrix), matrix.shape, method="gram").rank is None
    single = spectrum(reader(matrix), matrix.shape, precision="float32")
    assert (single.method, single.rank) == ("gram", None)
    assert spectrum(reader(matrix), matrix.shape, precision="float32", method="svd").rank == 10


@given(matrices(), st.sampled_from([1e-6, 1e-3, 1.0, 1e3, 1e6]))
def test_scaling_the_matrix_scales_the_eigenvalues(matrix, factor):
    plain, scaled = eigenvalues(matrix), eigenvalues(matrix * factor)
    np.testing.assert_allclose(scaled, plain * factor**2, rtol=1e-8, atol=1e-13 * scaled[-1])


@pytest.mark.parametrize("factor", [1e-152, 1e-145, 1e140])
@pytest.mark.parametrize("method", ["gram", "svd"])
def test_squares_beyond_the_range_of_float64_are_rescaled(factor, method):
    matrix = heavy_tailed(50, 20)
    values = eigenvalues(matrix * factor, method=method)
    np.testing.assert_allclose(values, eigenvalues(matrix) * factor * factor, rtol=1e-10)


def test_tiny_weights_in_float32_are_rescaled():
    matrix = (heavy_tailed(200, 50) * 1e-25).astype(np.float32)
    single = eigenvalues(matrix, precision="float32")
    np.testing.assert_allclose(single[25:], eigenvalues(matrix)[25:], rtol=1e-4)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("method", ["auto", "gram", "svd"])
def test_nonfinite_entries_are_refused_and_counted(bad, method):
    matrix = np.ones((6, 4))
    matrix[2, 1] = bad
    with pytest.raises(NonFiniteWeightsError, match="1 NaN" if np.isnan(bad) else "1 infinite"):
        eigenvalues(matrix, method=method)


@pytest.mark.parametrize("shape", [(0, 5), (5, 0)])
def test_an_empty_matrix_has_no_eigenvalues(shape):
    assert eigenvalues(np.empty(shape)).shape == (0,)


@pytest.mark.parametrize("shape", [(1, 7), (7, 1)])
def test_a_vector_has_its_squared_length(shape):
    vector = np.arange(1.0, 8.0).reshape(shape)
    assert eigenvalues(vector) == pytest.approx([140.0], rel=1e-14)


def test_a_zero_matrix_has_rank_zero():
    found = spectrum(reader(np.zeros((9, 4))), (9, 4))
    assert found.eigenvalues.tolist() == [0.0] * 4
    assert (found.rank, found.rank_loss) == (0, 4)


def test_torch_tensors_of_any_float_dtype_are_accepted():
    import torch

    matrix = torch.from_numpy(heavy_tailed(20, 10))
    np.testing.assert_array_equal(eigenvalues(matrix), eigenvalues(matrix.numpy()))
    low = matrix.to(torch.bfloat16)
    np.testing.assert_array_equal(eigenvalues(low.requires_grad_()), eigenvalues(low.detach().float().numpy()))


def test_integers_are_taken_as_numbers():
    assert eigenvalues([[3, 0], [0, 4]]).tolist() == [9.0, 16.0]


@pytest.mark.parametrize(
    ("matrix", "arguments", "message"),
    [
        (np.ones(3), {}, r"got \(3,\)"),
        (np.ones((2, 2)), {"precision": "float16"}, "unknown precision 'float16'. Did you mean"),
        (np.ones((2, 2)), {"method": "qr"}, "unknown method 'qr'"),
    ],
)
def test_arguments_that_cannot_be_used_are_refused(matrix, arguments, message):
    with pytest.raises(InputError, match=message):
        eigenvalues(matrix, **arguments)


# Scales: 60 x 40 weights at which float32, their squares or the eigenvalues' digits leave the range of the format.
@pytest.mark.parametrize("method", ["auto", "gram", "svd"])
@pytest.mark.parametrize(("precision", "rtol"), [("float64", 1e-12), ("float32", 1e-5)])
@pytest.mark.parametrize("scale", [1e-150, 1e-100, 1e-45, 1e-25, 1e25, 1e100, 1e150])
def test_any_scale_keeps_the_digits(scale, precision, rtol, method):
    matrix = np.random.default_rng(0).standard_normal((60, 40))
    expected = np.linalg.svd(matrix, compute_uv=False)[::-1] ** 2
    found = eigenvalues(matrix * scale, precision=precision, method=method)
    np.testing.assert_allclose(found / scale / scale, expected, atol=rtol * expected[-1], rtol=0.0)


@pytest.mark.parametrize("method", ["gram", "svd"])
@pytest.mark.parametrize("precision", ["float64", "float32"])
@pytest.mark.parametrize("scale", [1e-310, 1e-160, 2e-155, 5e152, 1e160])
def test_eigenvalues_that_would_lose_digits_are_refused(scale, precision, method):
    # At 2e-155 only the smaller eigenvalues are subnormal; at 5e152 only their sum is infinite.
    matrix = np.random.default_rng(0).standard_normal((60, 40)) * scale
    with pytest.raises(NonFiniteWeightsError, match="leave the range of float64"):
        eigenvalues(matrix, precision=precision, method=method)


def test_pooling_sorts_and_judges_ranks():
    matrices = [np.diag([1.0, 2.0]), np.diag([3.0, 0.0])]
    pooled = pool([spectrum(reader(m), m.shape) for m in matrices], large=2)
    assert pooled.eigenvalues.tolist() == [0.0, 1.0, 4.0, 9.0]
    assert (pooled.rank, pooled.rank_loss, pooled.method) == (3, 1, "svd")


def test_complex_matrices_are_refused():
    with pytest.raises(InputError, match="expected real numbers, got dtype complex128"):
        eigenvalues(np.ones((2, 2), dtype=complex))


def test_small_matrices_decomposed_together_keep_every_digit():
    from spectra.esd.eigenvalues import spectra_together

    matrices = [heavy_tailed(60 + i, 40, seed=i) for i in range(30)]
    together = list(spectra_together((reader(m), m.shape) for m in matrices))
    for matrix, found in zip(matrices, together, strict=True):
        np.testing.assert_array_equal(found.eigenvalues, eigenvalues(matrix))


def test_what_is_wrong_with_one_matrix_of_a_stack_stays_with_it():
    from spectra.esd.eigenvalues import spectra_together

    good, bad = heavy_tailed(60, 40), np.full((60, 40), np.nan)
    first, second, third = spectra_together((reader(m), m.shape) for m in (good, bad, good))
    assert isinstance(second, NonFiniteWeightsError)
    np.testing.assert_array_equal(first.eigenvalues, third.eigenvalues)


# Zeros, and what is nearly so


@pytest.mark.parametrize("shape", [(700, 600), (600, 2500), (9, 4)], ids=str)
@pytest.mark.parametrize("precision", ["float64", "float32"])
def test_a_zero_matrix_has_eigenvalues_that_are_exactly_zero_and_no_rank(shape, precision):
    found = spectrum(lambda start, stop: np.zeros(shape)[start:stop], shape, precision=precision)
    np.testing.assert_array_equal(found.eigenvalues, np.zeros(min(shape)))
    assert (found.rank, found.rank_loss, found.method) == (0, min(shape), "gram")


def test_a_matrix_whose_squares_vanish_is_no_zero_matrix():
    matrix = np.zeros((600, 550))
    matrix[3, 4] = 1e-170  # its square, 1e-340, is under the smallest number of float64
    with pytest.raises(NonFiniteWeightsError, match="leave the range of float64"):
        eigenvalues(matrix)
