import math

import numpy as np
import pytest
from hypothesis import given

from spectra.esd.norms import log10_alpha_norm, norm_metrics, spectral_entropy
from tests.fixtures_htsr import ANSWERS
from tests.strategies import matrices, spectra


@pytest.mark.parametrize("name", ANSWERS)
def test_stable_rank_of_the_closed_form_spectra(name):
    make, *_, stable_rank = ANSWERS[name]
    assert norm_metrics(np.sort(make())).stable_rank == pytest.approx(stable_rank, rel=1e-12)


@given(matrices())
def test_norms_equal_those_of_numpy(matrix):
    values = np.sort(np.linalg.svd(matrix, compute_uv=False) ** 2)
    metrics = norm_metrics(values)
    assert metrics.frobenius_norm == pytest.approx(np.linalg.norm(matrix), rel=1e-12)
    assert metrics.spectral_norm == pytest.approx(np.linalg.norm(matrix, 2), rel=1e-12)
    assert 1.0 - 1e-12 <= metrics.stable_rank <= len(values) + 1e-9


def test_a_diagonal_matrix_by_hand():
    metrics = norm_metrics(np.array([1.0, 4.0, 9.0]))
    assert (metrics.lambda_max, metrics.spectral_norm, metrics.sv_min) == (9.0, 3.0, 1.0)
    assert (metrics.sum_eigenvalues, metrics.stable_rank) == (14.0, 14.0 / 9.0)
    assert metrics.log10_lambda_max == pytest.approx(math.log10(9.0))


def test_a_zero_spectrum_has_no_logarithms():
    metrics = norm_metrics(np.zeros(4))
    assert math.isnan(metrics.log10_lambda_max)
    assert math.isnan(metrics.stable_rank)
    assert metrics.weak_rank_loss == 4


@given(spectra())
def test_alpha_norm_equals_the_plain_sum(values):
    assert log10_alpha_norm(values, 2.5) == pytest.approx(math.log10((values**2.5).sum()), rel=1e-10, abs=1e-12)


def test_alpha_norm_does_not_overflow():
    # sum = 1e400 + 2^200 in exact arithmetic
    assert log10_alpha_norm(np.array([2.0, 100.0]), 200.0) == pytest.approx(400.0, rel=1e-14)
    assert math.isnan(log10_alpha_norm(np.zeros(3), 2.0))


def test_entropy_of_a_flat_spectrum_is_one_and_of_rank_one_zero():
    assert spectral_entropy(np.ones(7), 7) == pytest.approx(1.0, rel=1e-14)
    assert spectral_entropy(np.array([0.0, 0.0, 5.0]), 1) == 0.0


def test_entropy_equals_scipys():
    from scipy.stats import entropy

    values = np.array([0.0, 0.5, 1.0, 3.0])
    assert spectral_entropy(values, 3) == pytest.approx(entropy(values / values.sum()) / math.log(3), rel=1e-14)
