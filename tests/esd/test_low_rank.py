import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from spectra import InputError, NonFiniteWeightsError
from spectra.esd.eigenvalues import spectrum
from spectra.esd.low_rank import low_rank_spectrum
from spectra.esd.spectrum import pool
from tests.strategies import low_rank_factors


def factors(rows, rank, cols, seed=0):
    rng = np.random.default_rng(seed)
    return rng.standard_normal((rows, rank)), rng.standard_normal((rank, cols))


def dense(left, right):
    """Second opinion: the singular values of the product itself, the largest of them that can differ from zero."""
    return np.sort(scipy.linalg.svdvals(left @ right) ** 2)[-min(*left.shape, *right.shape) :]


def test_orthogonal_factors_by_hand():
    left, right = np.eye(5)[:, :2], np.diag([3.0, 2.0]) @ np.eye(7)[:2]
    found = low_rank_spectrum(left, right)
    assert found.eigenvalues == pytest.approx([4.0, 9.0], rel=1e-15)
    assert (found.rank, found.rank_loss, found.method, found.precision) == (2, 3, "svd", "float64")


# H17 of the specification: relative 1e-8 against the dense matrix. An eigenvalue of the dense matrix is itself exact to
# eps * lambda_max only, hence the absolute part.
@given(low_rank_factors())
def test_eigenvalues_equal_those_of_the_product(pair):
    left, right = pair
    found, expected = low_rank_spectrum(left, right), dense(left, right)
    assert found.eigenvalues.shape == expected.shape
    bound = (np.linalg.norm(left) * np.linalg.norm(right)) ** 2
    np.testing.assert_allclose(found.eigenvalues, expected, rtol=1e-8, atol=1e-13 * bound)
    assert (np.diff(found.eigenvalues) >= 0.0).all()
    assert (found.eigenvalues >= 0.0).all()


@pytest.mark.parametrize("shape", [(300, 8, 200), (200, 1, 300), (40, 64, 30), (64, 64, 64)], ids=str)
def test_ranks_are_those_of_the_dense_matrix(shape):
    left, right = factors(*shape)
    product = left @ right
    found = low_rank_spectrum(left, right)
    np.testing.assert_allclose(found.eigenvalues, dense(left, right), rtol=1e-8)
    whole = spectrum(lambda start, stop: product[start:stop], product.shape, method="svd")
    assert (found.rank, found.rank_loss) == (whole.rank, whole.rank_loss)
    assert found.null_threshold == pytest.approx(whole.null_threshold, rel=1e-6)


@given(low_rank_factors(), st.integers(-200, 200))
def test_scaling_a_factor_by_a_power_of_two_scales_every_digit(pair, exponent):
    left, right = pair
    plain, scaled = low_rank_spectrum(left, right), low_rank_spectrum(np.ldexp(left, exponent), right)
    np.testing.assert_array_equal(scaled.eigenvalues, np.ldexp(plain.eigenvalues, 2 * exponent))
    assert scaled.rank == plain.rank


@given(low_rank_factors())
def test_the_transpose_has_the_same_eigenvalues(pair):
    left, right = pair
    bound = (np.linalg.norm(left) * np.linalg.norm(right)) ** 2
    found, turned = low_rank_spectrum(left, right), low_rank_spectrum(right.T, left.T)
    np.testing.assert_allclose(found.eigenvalues, turned.eigenvalues, rtol=1e-10, atol=1e-14 * bound)


def test_factors_of_opposite_scales_keep_their_digits():
    left, right = factors(60, 5, 40)
    scales = np.array([1e-150, 1e-60, 1.0, 1e60, 1e150])
    found = low_rank_spectrum(left * scales, right / scales[:, None])
    np.testing.assert_allclose(found.eigenvalues, low_rank_spectrum(left, right).eigenvalues, rtol=1e-13)
    assert found.rank == 5


def test_what_cancels_in_the_product_is_null():
    rng = np.random.default_rng(3)
    column, row = rng.standard_normal((50, 1)), rng.standard_normal((1, 40))
    found = low_rank_spectrum(np.hstack([column, column]), np.vstack([row, -row]))
    assert found.rank == 0
    assert found.eigenvalues[-1] <= found.null_threshold


def test_repeated_factors_lose_rank():
    left, right = factors(50, 3, 40)
    found = low_rank_spectrum(np.hstack([left, left]), np.vstack([right, right]))
    assert (found.rank, found.rank_loss, len(found.eigenvalues)) == (3, 37, 6)
    assert np.count_nonzero(found.eigenvalues > found.null_threshold) == 3


def test_an_untrained_adapter_has_zero_eigenvalues():
    found = low_rank_spectrum(np.zeros((30, 4)), np.random.default_rng(0).standard_normal((4, 20)))
    assert found.eigenvalues.tolist() == [0.0] * 4
    assert (found.rank, found.rank_loss, found.null_threshold) == (0, 20, 0.0)


@pytest.mark.parametrize("shape", [(0, 2, 5), (5, 0, 5), (5, 2, 0)], ids=str)
def test_empty_factors_have_no_eigenvalues(shape):
    found = low_rank_spectrum(*factors(*shape))
    assert (len(found.eigenvalues), found.rank, found.rank_loss) == (0, 0, min(shape[0], shape[2]))


def test_float32_arithmetic_keeps_six_digits():
    left, right = factors(400, 16, 300)
    single = low_rank_spectrum(left, right, precision="float32")
    assert single.precision == "float32"
    # eps of float32 is 1.2e-7; the factors are well conditioned, so that a few of them are lost.
    np.testing.assert_allclose(single.eigenvalues, low_rank_spectrum(left, right).eigenvalues, rtol=5e-6)


def test_a_convolution_has_the_spectra_of_its_kernel_positions():
    rng = np.random.default_rng(5)
    left, kernel = rng.standard_normal((24, 4)), rng.standard_normal((4, 16, 3, 3))
    weight = np.einsum("or,rixy->oixy", left, kernel)
    found = [low_rank_spectrum(left, kernel[:, :, p // 3, p % 3]) for p in range(9)]
    for position in range(9):
        expected = np.sort(scipy.linalg.svdvals(weight[:, :, position // 3, position % 3]) ** 2)[-4:]
        np.testing.assert_allclose(found[position].eigenvalues, expected, rtol=1e-8)
    pooled = pool(found, 24)
    assert (len(pooled.eigenvalues), pooled.rank, pooled.rank_loss) == (36, 36, 9 * 12)


def test_a_kernel_position_may_be_zero():
    left, right = np.ones((6, 2)), np.zeros((2, 5, 4))
    right[:, :, 1] = 1.0
    found = [low_rank_spectrum(left, right[:, :, p]) for p in range(4)]
    assert [position.rank for position in found] == [0, 1, 0, 0]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("which", ["left", "right"])
def test_a_factor_that_is_not_finite_is_refused(which, value):
    left, right = factors(6, 2, 5)
    (left if which == "left" else right)[1, 1] = value
    with pytest.raises(NonFiniteWeightsError, match=f"factor '{which}' holds . NaN and . infinite values; repair or exclude"):
        low_rank_spectrum(left, right)


# At 5e-155 the smaller eigenvalue is subnormal and the larger one is not.
@pytest.mark.parametrize("scale", [1e-170, 5e-155, 1e170])
def test_squares_outside_the_range_of_float64_are_refused(scale):
    left, right = factors(6, 2, 5)
    with pytest.raises(NonFiniteWeightsError, match="leave the range of float64; rescale or exclude the layer"):
        low_rank_spectrum(left * scale, right)


@pytest.mark.parametrize(
    ("left", "right", "options", "message"),
    [
        (np.ones((3, 2)), np.ones((3, 4)), {}, r"left \(3, 2\) and right \(3, 4\) cannot be multiplied"),
        (np.ones(3), np.ones((3, 4)), {}, r"left: expected a real matrix, got shape \(3,\)"),
        (np.ones((3, 2)), np.ones((2, 4), complex), {}, "right: expected a real matrix, got shape .* and dtype complex128"),
        (np.ones((3, 2)), np.ones((2, 4)), {"precision": "float16"}, "unknown precision 'float16'. Known: float64, float32"),
    ],
    ids=["inner sides", "vector", "complex", "precision"],
)
def test_what_cannot_be_multiplied_is_refused(left, right, options, message):
    with pytest.raises(InputError, match=message):
        low_rank_spectrum(left, right, **options)


def test_the_product_is_never_formed(monkeypatch):
    largest = 0
    real_qr = np.linalg.qr

    def watched(matrix, *args, **kwargs):
        nonlocal largest
        largest = max(largest, matrix.size)
        return real_qr(matrix, *args, **kwargs)

    monkeypatch.setattr(np.linalg, "qr", watched)
    left, right = np.ones((200_000, 2)), np.ones((2, 200_000))  # their product would take 298 GiB
    assert low_rank_spectrum(left, right).eigenvalues[-1] == pytest.approx((2.0 * 200_000) ** 2, rel=1e-12)
    assert largest == 400_000
