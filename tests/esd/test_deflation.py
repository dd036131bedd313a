from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra.esd import deflation
from spectra.esd.deflation import deflated_spectrum
from spectra.esd.eigenvalues import spectrum
from spectra.esd.subspaces import SingularBasis

EPS = np.finfo(np.float64).eps
SHAPES = [(560, 560), (700, 560), (560, 700)]  # sides above 512: smaller ones are left to LAPACK


def planted(shape, values, noise, seed=0):
    """Directions with these singular values, and noise of about that norm."""
    rng = np.random.default_rng(seed)
    left, right = (np.linalg.qr(rng.standard_normal((side, len(values))))[0] for side in shape)
    return (left * values) @ right.T + noise * rng.standard_normal(shape) / np.sqrt(4.0 * max(shape))


def deflated(matrix):
    basis = SingularBasis(lambda start, stop: matrix[start:stop], matrix.shape)
    gram, scale = basis.gram
    return deflated_spectrum(basis, np.linalg.eigvalsh(gram) / scale / scale)


def require_lapacks_values(found, matrix, *, noise=0.0):
    """Absolute round-off of both, what the coupling is let through with, and the Gram matrix of the rest."""
    expected = np.linalg.svd(matrix, compute_uv=False)[::-1]
    singular = np.sqrt(found.eigenvalues)
    kept = expected > max(matrix.shape) * EPS * expected[-1]
    of_gram = min(matrix.shape) * EPS * noise**2 / np.maximum(expected, np.finfo(float).tiny)
    allowed = 100.0 * EPS * expected[-1] + 1e-9 * expected + of_gram
    assert (np.abs(singular - expected) <= allowed)[kept].all()
    assert (found.rank, found.rank_loss) == (kept.sum(), len(expected) - kept.sum())


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("rank", [1, 8, 64])
def test_low_rank_and_rounding_noise_have_the_values_of_lapack(shape, rank):
    matrix = planted(shape, np.ones(rank), 1e-7)
    found = deflated(matrix)
    assert found.method == "gram"
    require_lapacks_values(found, matrix, noise=1e-7)


def test_leading_values_over_four_decades_take_two_deflations(monkeypatch):
    matrix, parts = planted((560, 560), np.logspace(0, -4, 40), 1e-7), []
    real = deflation._leading_part
    monkeypatch.setattr(deflation, "_leading_part", lambda basis, count: parts.append(count) or real(basis, count))
    found = deflated(matrix)
    assert (found.method, parts) == ("gram", [30, 10])  # down to a thousandth, which is the 30th of 40
    require_lapacks_values(found, matrix, noise=1e-7)


def test_exact_low_rank_over_ten_decades_has_its_rank():
    matrix = planted((560, 560), np.logspace(0, -10, 21), 0.0)
    found = deflated(matrix)
    assert (found.method, found.rank) == ("gram", 21)
    np.testing.assert_allclose(np.sqrt(found.eigenvalues[-21:]), np.logspace(-10, 0, 21), rtol=1e-5, atol=100 * EPS)


def test_a_smooth_spectrum_over_twelve_decades_is_left_to_lapack():
    matrix = planted((560, 600), np.logspace(0, -12, 560), 0.0)
    found, exact = deflated(matrix), spectrum(lambda start, stop: matrix[start:stop], matrix.shape, method="svd")
    assert (found.method, found.rank) == ("svd", exact.rank)
    np.testing.assert_array_equal(found.eigenvalues, exact.eigenvalues)


def test_parts_that_are_coupled_are_left_to_lapack(monkeypatch):
    matrix = planted((560, 560), np.ones(3), 1e-7)
    monkeypatch.setattr(deflation, "_COUPLING", 0.0)
    assert deflated(matrix).method == "svd"


def test_a_small_matrix_and_a_zero_one_have_spectra():
    assert deflated(planted((60, 40), np.ones(2), 1e-9)).method == "svd"
    assert (deflated(np.zeros((600, 560))).rank, deflated(np.zeros((6, 5))).rank) == (0, 0)


def test_a_scale_by_a_power_of_two_scales_the_values():
    matrix = planted((560, 560), np.ones(4), 1e-7)
    plain, large = deflated(matrix), deflated(matrix * 2.0**500)
    np.testing.assert_allclose(large.eigenvalues / 2.0**1000, plain.eigenvalues, rtol=1e-6)
    assert large.rank == plain.rank == 560


@given(
    st.tuples(st.integers(40, 60), st.integers(40, 60)),
    st.lists(st.floats(-2.0, 0.0), min_size=1, max_size=4),
    st.floats(-13.0, -8.0),
    st.integers(0, 2**32 - 1),
)
@settings(max_examples=30)
def test_every_nearly_low_rank_matrix_has_the_values_of_lapack(shape, logs, log_noise, seed):
    values, noise = 10.0 ** np.array([*logs, 0.0]), 10.0**log_noise
    matrix = planted(shape, values, noise, seed)
    with mock.patch.object(deflation, "SMALL_SIDE", 8):  # so that small ones take the same way
        require_lapacks_values(deflated(matrix), matrix, noise=noise)
