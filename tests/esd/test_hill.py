import numpy as np
import pytest

from spectra import TooFewEigenvaluesError
from spectra.esd.hill import alpha_hill
from tests.fixtures_htsr import ANSWERS


@pytest.mark.parametrize("name", ANSWERS)
def test_closed_form_spectra_give_the_published_answers(name):
    make, *_, hill, _ = ANSWERS[name]
    assert alpha_hill(np.sort(make())) == pytest.approx(hill, rel=1e-12)


def test_estimate_equals_a_plain_loop():
    values = np.sort(np.random.default_rng(0).pareto(2.0, 101) + 1.0)
    total = 0.0
    for i in range(1, 31):
        total += np.log(values[-i] / values[-31])
    assert alpha_hill(values, 30) == pytest.approx(1.0 + 30 / total, rel=1e-13)


def test_a_tail_wider_than_a_float64_ratio_has_an_exponent():
    # 601 decades in equal steps: the mean of ln(x / threshold) is half of the tail's width, and half a step more.
    values = np.logspace(-300.0, 300.0, 601)
    assert alpha_hill(values, 600) == pytest.approx(1.0 + 1.0 / (np.log(10.0) * 300.5), rel=1e-12)


def test_a_constant_tail_has_no_exponent():
    assert np.isnan(alpha_hill(np.ones(10)))


@pytest.mark.parametrize("k", [0, 10])
def test_a_tail_without_threshold_is_refused(k):
    with pytest.raises(TooFewEigenvaluesError, match="Hill estimator needs"):
        alpha_hill(np.arange(1.0, 11.0), k)
