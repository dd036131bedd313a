import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from spectra import InputError
from spectra.esd.tracy_widom import largest_noise_eigenvalue, tw1_cdf, tw1_quantile


# Published: Johnstone (2001), table 1, for the probabilities of -3.90, -3.18, -2.78, -1.91, -1.27, -0.59, 0.45, 0.98, 2.02.
@pytest.mark.parametrize(
    ("s", "probability"),
    [
        (-3.90, 0.01), (-3.18, 0.05), (-2.78, 0.10), (-1.91, 0.3), (-1.27, 0.5), (-0.59, 0.7), (0.45, 0.90),
        (0.98, 0.95), (2.02, 0.99),
    ],
)  # fmt: skip
def test_quantiles_are_the_published_ones(s, probability):
    assert tw1_quantile(probability) == pytest.approx(s, abs=0.006)  # printed with two decimals


def test_moments_are_the_published_ones():
    # Bornemann (2010), arXiv 0904.1581: mean -1.2065335745820, variance 1.6077810345810. By parts, so that the distribution
    # function suffices: E X = b - int F, E X^2 = b^2 - 2 int s F over [a, b]; outside of [-8, 10] lies less than 1e-10.
    nodes, weights = np.polynomial.legendre.leggauss(50)
    s, weights = 1.0 + 9.0 * nodes, 9.0 * weights
    distribution = np.array([tw1_cdf(x) for x in s])
    mean = 10.0 - (weights * distribution).sum()
    second = 100.0 - 2.0 * (weights * s * distribution).sum()
    assert mean == pytest.approx(-1.2065335745820, abs=1e-9)
    assert second - mean**2 == pytest.approx(1.6077810345810, abs=1e-8)


@pytest.mark.parametrize("level", [0.90, 0.95, 0.99])
def test_stored_quantiles_are_those_of_the_determinant(level):
    assert tw1_cdf(tw1_quantile(level)) == pytest.approx(level, abs=1e-12)


@settings(max_examples=20, deadline=None)
@given(st.floats(1e-5, 1.0 - 1e-5))
def test_quantile_inverts_the_distribution_function(level):
    assert tw1_cdf(tw1_quantile(level)) == pytest.approx(level, abs=1e-12)


@pytest.mark.parametrize("level", [1e-10, 1e-6, 0.5, 0.999, 1.0 - 1e-6, 1.0 - 1e-10])
def test_quantile_agrees_with_the_shifted_gamma_approximation(level):
    # Chiani (2014), arXiv 1209.3394: k = 46.446, theta = 0.186054, shift 9.84801; made for the middle of the law.
    from scipy.special import gammaincinv

    approximation = gammaincinv(46.446, level) * 0.186054 - 9.84801
    assert tw1_quantile(level) == pytest.approx(approximation, abs=0.05 if level > 1e-3 else 1.0)


def test_largest_eigenvalues_of_noise_follow_the_law():
    # 300 draws, so the share below the 90 % quantile has a standard error of 1.7 %; 4 of them.
    rng = np.random.default_rng(0)
    below = 0
    for _ in range(300):
        noise = rng.standard_normal((80, 40))
        below += np.linalg.eigvalsh(noise.T @ noise)[-1] < largest_noise_eigenvalue((80, 40), 0.90)
    assert below / 300 == pytest.approx(0.90, abs=0.07)


def test_threshold_does_not_depend_on_the_order_of_the_sides():
    assert largest_noise_eigenvalue((80, 40), 0.99) == largest_noise_eigenvalue((40, 80), 0.99)


@pytest.mark.parametrize("level", [0.0, 1.0, -1.0, 1e-12, float("nan")])
def test_levels_without_a_quantile_are_refused(level):
    with pytest.raises(InputError, match="expected a probability"):
        tw1_quantile(level)


def test_the_usual_levels_do_not_import_scipy():
    code = (
        "import sys; from spectra.esd.tracy_widom import largest_noise_eigenvalue as f; f((9, 9), 0.99); "
        "sys.exit('scipy' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
