"""Errors of regressions: the update is that of AdaBoost.R2, in each of its three forms."""

import math

import numpy as np
import pytest

from spectra.errors import InputError
from spectra.training.dcs.boosting import BoostingRule, boost
from spectra.training.dcs.relative_errors import relative_errors

FORMS = {"linear": lambda d: d, "square": lambda d: d * d, "exponential": lambda d: 1.0 - math.exp(-d)}


def adaboost_r2(weights, student, teacher, form):
    """AdaBoost.R2 (Drucker 1997, steps 4 to 7) as it is written: weights fall by beta^(1 - loss)."""
    errors = [abs(s - t) for s, t in zip(student, teacher, strict=True)]
    losses = [FORMS[form](error / max(errors)) for error in errors]
    mean = sum(w * loss for w, loss in zip(weights, losses, strict=True)) / sum(weights)
    beta = mean / (1.0 - mean)
    fallen = [w * beta ** (1.0 - loss) for w, loss in zip(weights, losses, strict=True)]
    return [w * len(weights) / sum(fallen) for w in fallen]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("seed", range(3))
def test_a_round_is_that_of_adaboost_r2(form, seed):
    rng = np.random.default_rng(seed)
    student, weights = rng.normal(size=50), rng.uniform(0.5, 1.5, 50)
    teacher = student + 0.3 * rng.normal(size=50)
    rule = BoostingRule(eta=1.0, alpha_max=math.inf, rho=0.0, v_min=0.0, v_max=math.inf)
    found = boost(weights, relative_errors(abs(student - teacher), form=form), rule)
    assert found.skipped is None
    # Same numbers in another order of operations.
    assert found.weights == pytest.approx(np.array(adaboost_r2(weights, student, teacher, form)), rel=1e-12)


def test_errors_above_the_quantile_count_as_1():
    found = relative_errors(np.arange(11.0), quantile=0.8)  # the quantile is 8
    assert found == pytest.approx(np.minimum(np.arange(11.0) / 8.0, 1.0))


def test_without_an_error_nothing_is_discordant():
    assert relative_errors(np.zeros(4)).tolist() == [0.0] * 4
    assert boost(np.ones(4), relative_errors(np.zeros(4)), BoostingRule()).skipped == "eps <= eps_min"


@pytest.mark.parametrize("form", FORMS)
def test_errors_that_are_not_finite_are_nan_and_do_not_set_the_scale(form):
    found = relative_errors([1.0, np.inf, 2.0, np.nan], form=form)
    assert np.isnan(found).tolist() == [False, True, False, True]
    assert found[0] == pytest.approx(FORMS[form](0.5))
    assert np.isnan(relative_errors([np.nan, np.nan])).all()


def test_tiny_errors_do_not_overflow():
    assert relative_errors([1e-310, 1e300], quantile=0.5)[1] == 1.0
    assert relative_errors([5e-324, 0.0]).tolist() == [1.0, 0.0]


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="error_form.*'cubic'"):
        relative_errors([1.0], form="cubic")
    with pytest.raises(InputError, match=r"error_quantile: expected a number in \(0, 1\], got 0.0"):
        relative_errors([1.0], quantile=0.0)
