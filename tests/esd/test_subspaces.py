import numpy as np
import pytest
import scipy.linalg
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError, NonFiniteWeightsError
from spectra.esd import subspaces
from spectra.esd.intruders import new_directions
from spectra.esd.low_rank import low_rank_vectors
from spectra.esd.subspaces import SingularBasis, principal_angles
from tests.strategies import low_rank_factors, matrices


def basis_of(matrix, *, known=None):
    return SingularBasis(lambda start, stop: matrix[start:stop], matrix.shape, known=known)


def spiked(rows, cols, seed=0):
    """Noise and ten well separated directions."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((side, 10)))[0] for side in (rows, cols))
    return rng.standard_normal((rows, cols)) / np.sqrt(rows) + left @ np.diag(np.arange(14.0, 4.0, -1.0)) @ right.T


def by_svd(matrix, k):
    left, values, right = np.linalg.svd(matrix.astype(np.float64), full_matrices=False)
    return left[:, :k], values[:k], right[:k].T


def same_span(first, second):
    return np.linalg.norm(first - second @ (second.T @ first), 2)


# Sides of 600 take Lanczos' method with a known spectrum, LAPACK without; 80 always LAPACK.
@pytest.mark.parametrize("shape", [(80, 50), (50, 80), (700, 600), (600, 700)])
@pytest.mark.parametrize("is_known", [True, False], ids=["spectrum known", "not known"])
def test_leading_vectors_are_those_of_the_svd(shape, is_known):
    matrix = spiked(*shape)
    known = np.linalg.svd(matrix, compute_uv=False)[::-1] ** 2
    found = basis_of(matrix, known=known if is_known else None).leading(10)
    left, values, right = by_svd(matrix, 10)
    # Errors of a vector: n eps / gap of the squared values, relative to the largest: 600 * 2e-16 / 0.05.
    np.testing.assert_allclose(found.values, values, rtol=1e-11)
    np.testing.assert_allclose(np.abs(np.sum(found.left * left, axis=0)), 1.0, rtol=1e-11)
    np.testing.assert_allclose(np.abs(np.sum(found.right * right, axis=0)), 1.0, rtol=1e-11)
    np.testing.assert_allclose(found.left * found.values @ found.right.T, left * values @ right.T, atol=1e-9)


def test_a_spectrum_of_another_matrix_changes_nothing():
    matrix = spiked(620, 600)
    wrong = np.linspace(1.0, 2.0, 600)
    np.testing.assert_array_equal(basis_of(matrix, known=wrong).leading(3).left, basis_of(matrix).leading(3).left)
    np.testing.assert_array_equal(basis_of(matrix, known=wrong[:7]).leading(3).left, basis_of(matrix).leading(3).left)


def test_lanczos_is_used_where_it_is_right_and_repeats_its_digits(monkeypatch):
    matrix = spiked(600, 600)
    known = np.linalg.svd(matrix, compute_uv=False)[::-1] ** 2
    first, second = (basis_of(matrix, known=known).leading(5) for _ in range(2))
    np.testing.assert_array_equal(first.left, second.left)

    def unexpected(*_, **__):
        raise AssertionError("LAPACK was called")

    monkeypatch.setattr(scipy.linalg, "eigh", unexpected)
    assert basis_of(matrix, known=known).leading(5).values[0] == pytest.approx(14.0, rel=0.05)  # noise adds a little


@pytest.mark.parametrize("k", [60, 64, 200])
def test_more_directions_than_lanczos_vectors_are_usually_kept(k):
    matrix = np.diag(np.arange(600.0, 0.0, -1.0))
    found = basis_of(matrix, known=np.arange(1.0, 601.0) ** 2).leading(k)
    np.testing.assert_allclose(found.values, np.arange(600.0, 600.0 - k, -1.0), rtol=1e-12)


def test_repeated_values_are_not_missed():
    # The identity: Lanczos' method restarts from another vector for each copy.
    found = basis_of(np.eye(600), known=np.ones(600)).leading(4)
    np.testing.assert_allclose(found.values, 1.0, rtol=1e-12)
    np.testing.assert_allclose(found.left.T @ found.left, np.eye(4), atol=1e-12)


def test_a_matrix_of_low_rank_has_no_more_vectors_than_that():
    rng = np.random.default_rng(1)
    matrix = rng.standard_normal((30, 2)) @ rng.standard_normal((2, 40))
    assert basis_of(matrix).leading(10).left.shape == (30, 2)
    empty = basis_of(np.zeros((6, 4))).leading(3)
    assert (empty.left.shape, empty.values.shape, empty.right.shape) == ((6, 0), (0,), (4, 0))
    np.testing.assert_array_equal(basis_of(np.zeros((6, 4))).largest_cosines(np.eye(6)[:, :2], "left"), 0.0)


def test_numbers_whose_squares_leave_the_range_have_vectors():
    matrix = spiked(40, 30)
    plain, large = basis_of(matrix).leading(4), basis_of(matrix * 2.0**600).leading(4)
    np.testing.assert_allclose(large.values, plain.values * 2.0**600, rtol=1e-13)
    assert same_span(large.left, plain.left) < 1e-12


@pytest.mark.parametrize("ask", [lambda basis: basis.leading(2), lambda basis: basis.largest_cosines(np.eye(6), "left")])
def test_nan_is_refused(ask):
    matrix = np.ones((6, 5))
    matrix[2, 3] = np.nan
    with pytest.raises(NonFiniteWeightsError, match="NaN"):
        ask(basis_of(matrix))


@given(matrices(max_side=25), st.integers(0, 2**32 - 1))
def test_largest_cosines_are_those_of_a_plain_loop(matrix, seed):
    rng = np.random.default_rng(seed)
    left, values, right = np.linalg.svd(matrix, full_matrices=False)
    kept = values**2 > min(matrix.shape) * np.finfo(float).eps * values[0] ** 2
    for side, known in (("left", left[:, kept]), ("right", right[kept].T)):
        vectors = np.linalg.qr(rng.standard_normal((len(known), min(3, len(known)))))[0]
        expected = [max(abs(float(v @ u)) for u in known.T) for v in vectors.T]
        # Vectors of small values are exact to eps * largest / value: up to 1e-8 for the smallest the Gram matrix tells apart.
        np.testing.assert_allclose(basis_of(matrix).largest_cosines(vectors, side), expected, atol=1e-6)


@given(st.integers(2, 30), st.integers(1, 6), st.integers(1, 6), st.floats(0.0, 16.0), st.integers(0, 2**32 - 1))
def test_angles_are_those_of_scipy(length, p, q, digits, seed):
    rng = np.random.default_rng(seed)
    first = np.linalg.qr(rng.standard_normal((length, min(p, length))))[0]
    near = first @ rng.standard_normal((first.shape[1], first.shape[1])) + 10.0**-digits * rng.standard_normal(first.shape)
    for second in (np.linalg.qr(near)[0], np.linalg.qr(rng.standard_normal((length, min(q, length))))[0]):
        expected = np.sort(scipy.linalg.subspace_angles(first, second))
        # scipy 1.17 takes some angles of almost zero by their cosine, which is good to the root of eps: 2e-8.
        np.testing.assert_allclose(principal_angles(first, second), expected, atol=5e-8)
        np.testing.assert_allclose(principal_angles(second, first), expected, atol=5e-8)


def test_small_angles_keep_their_digits():
    for angle in (1e-3, 1e-8, 1e-14):
        turned = np.array([[np.cos(angle)], [np.sin(angle)], [0.0]])
        assert principal_angles(np.eye(3)[:, :1], turned)[0] == pytest.approx(angle, rel=1e-12)
    assert principal_angles(np.eye(3)[:, :1], np.eye(3)[:, 1:2])[0] == np.pi / 2


def test_vectors_of_different_length_have_no_angles():
    with pytest.raises(InputError, match=r"vectors of equal length, got shapes \(3, 3\) and \(4, 4\)"):
        principal_angles(np.eye(3), np.eye(4))


@given(low_rank_factors(), st.integers(1, 5))
def test_vectors_of_a_product_make_its_best_approximation(factors, k):
    left, right = factors
    found, dense = low_rank_vectors(left, right, k), left @ right
    assert len(found.values) <= k
    np.testing.assert_allclose(found.left.T @ found.left, np.eye(len(found.values)), atol=1e-12)
    np.testing.assert_allclose(found.right.T @ found.right, np.eye(len(found.values)), atol=1e-12)
    _, values, _ = by_svd(dense, k)
    scale = values[0] if values[0] else 1.0
    np.testing.assert_allclose(found.values / scale, values[: len(found.values)] / scale, atol=1e-11)
    np.testing.assert_allclose(
        np.linalg.norm(dense - (found.left * found.values) @ found.right.T, 2) / scale,
        np.append(np.linalg.svd(dense, compute_uv=False), np.zeros(k))[k] / scale,
        atol=1e-11,
    )


def test_a_product_of_nothing_has_no_vectors():
    found = low_rank_vectors(np.zeros((5, 0)), np.zeros((0, 3)), 2)
    assert (found.left.shape, found.right.shape) == ((5, 0), (3, 0))
    assert len(low_rank_vectors(np.zeros((5, 2)), np.ones((2, 3)), 2).values) == 0


def test_factors_that_do_not_fit_have_no_vectors():
    with pytest.raises(InputError, match="cannot be multiplied"):
        low_rank_vectors(np.ones((5, 2)), np.ones((3, 4)), 1)


def intruders_by_loop(base, other, k, threshold):
    """The definition of arXiv 2410.21228, word by word."""
    before, after = np.linalg.svd(base)[0], np.linalg.svd(other)[0]
    found = {}
    for i in range(k):
        similarity = max(abs(float(after[:, i] @ before[:, j])) for j in range(min(base.shape)))
        if similarity < threshold:
            found[i] = similarity
    return found


@pytest.mark.parametrize("shape", [(40, 60), (60, 40), (50, 50)])
@pytest.mark.parametrize("threshold", [0.3, 0.5, 0.9])
def test_intruders_are_those_of_a_plain_loop(shape, threshold):
    rng = np.random.default_rng(3)
    base = spiked(*shape)
    left, right = (np.linalg.qr(rng.standard_normal((side, 2)))[0] for side in shape)
    other = base + 30.0 * left @ right.T  # above all of the base's: the two leading vectors are new
    basis = basis_of(base)
    found = new_directions(basis_of(other).leading(6).left, basis, basis.leading(6).left, threshold=threshold)
    expected = intruders_by_loop(base, other, 6, threshold)
    assert found == pytest.approx(expected, rel=1e-9)
    assert expected or threshold == 0.3


def test_all_vectors_of_the_base_are_computed_only_where_they_are_needed(monkeypatch):
    base, calls = basis_of(spiked(50, 50)), []
    monkeypatch.setattr(subspaces.SingularBasis, "largest_cosines", lambda *_: calls.append(1))
    leading = base.leading(5).left
    assert new_directions(leading, base, leading, threshold=0.5) == {}
    plane = (leading[:, :4] @ np.full((4, 1), 0.5)) * np.sqrt(1.0 - 1e-6)  # half along each of four: nothing is left
    assert new_directions(plane, base, leading, threshold=0.6) == {0: pytest.approx(0.5, rel=1e-6)}
    assert calls == []
