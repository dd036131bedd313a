"""Boosting: AdaBoost's own guarantees without limits, and mean, bounds and reasons to skip with them."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from spectra.errors import InputError, SpectraWarning
from spectra.training.dcs.boosting import (
    BoostingRule,
    boost,
    counted_discordance,
    effective_sample_share,
    project,
    step_size,
    top_share,
    weighted_discordance,
)

# AdaBoost as published: no limit on steps or weights, no forgetting.
UNRESTRICTED = BoostingRule(eta=1.0, alpha_max=math.inf, rho=0.0, v_min=0.0, v_max=math.inf)


def of_classes(num_classes, **changes):
    return dataclasses.replace(UNRESTRICTED, num_classes=num_classes, **changes)


def random_round(seed, num=40, least=0.05):
    """Weights with mean 1 and a discordance that some samples have."""
    rng = np.random.default_rng(seed)
    weights = rng.uniform(least, 3.0, num)
    apart = rng.random(num) < rng.uniform(0.05, 0.45)
    apart[:2] = True, False
    return weights / weights.mean(), apart.astype(float)


@st.composite
def weights_and_bounds(draw):
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    num = draw(st.integers(1, 60))
    weights = np.exp(draw(st.floats(0.0, 8.0)) * rng.standard_normal(num))
    if draw(st.booleans()):
        weights[rng.random(num) < 0.5] = draw(st.sampled_from([0.0, 1.0]))
    if not weights.any():
        weights[0] = 1.0
    v_min = draw(st.sampled_from([0.0, 0.25, 0.9, 1.0]))
    v_max = draw(st.sampled_from([1.0, 1.01, 1.5, 4.0, math.inf]))
    return weights, v_min, v_max


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize(("num_classes", "expected"), [(2, 0.5), (5, 0.8), (None, 0.5)], ids=str)
def test_without_limits_the_discordant_samples_end_with_the_mass_of_adaboost(num_classes, expected, seed):
    weights, apart = random_round(seed)
    found = boost(weights, apart, of_classes(num_classes)).weights
    # AdaBoost.M1: half; SAMME: (C - 1) / C. A few roundings of 40 terms.
    assert (found * apart).sum() / found.sum() == pytest.approx(expected, abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_without_limits_concordant_samples_keep_their_mutual_ratios(seed):
    weights, apart = random_round(seed)
    found = boost(weights, apart, of_classes(3)).weights
    kept = found[apart == 0.0] / weights[apart == 0.0]
    assert kept == pytest.approx(np.full(len(kept), kept[0]), rel=1e-14)


@given(st.integers(0, 10_000), st.sampled_from([2, 3, 10]))
def test_a_round_is_its_formula_in_a_loop(seed, num_classes):
    weights, apart = random_round(seed)
    apart *= np.random.default_rng(seed).random(len(apart))
    rule = BoostingRule(v_min=0.0, v_max=math.inf, num_classes=num_classes)
    total = sum(weights)
    eps = sum(v * d / total for v, d in zip(weights, apart, strict=True))
    step = min(1.0, 0.5 * (math.log((1 - eps) / eps) + math.log(num_classes - 1)))
    raised = [(0.7 * v + 0.3) * math.exp(step * d) for v, d in zip(weights, apart, strict=True)]
    found = boost(weights, apart, rule)
    assert (found.eps, found.step_size, found.skipped) == (pytest.approx(eps, rel=1e-13), pytest.approx(step, rel=1e-12), None)
    assert found.weights == pytest.approx(np.array(raised) / np.mean(raised), rel=1e-12)


@given(weights_and_bounds())
def test_projected_weights_have_mean_1_within_the_bounds(case):
    weights, v_min, v_max = case
    found = project(weights, v_min, v_max)
    assert found.sum() == pytest.approx(len(weights), rel=1e-9)
    assert found.min() >= v_min - 1e-9
    assert found.max() <= v_max + 1e-9


@given(weights_and_bounds())
def test_projection_keeps_the_order_and_the_ratios_between_the_bounds(case):
    weights, v_min, v_max = case
    found = project(weights, v_min, v_max)
    order = np.argsort(weights)
    assert (np.diff(found[order]) >= -1e-12).all()  # roundings of equal ones
    if v_min == 0.0 and v_max == math.inf:
        assert found == pytest.approx(weights / weights.mean(), rel=1e-14)


@given(st.integers(0, 10_000))
def test_projection_is_clipping_and_dividing_in_turn_where_that_settles(seed):
    rng = np.random.default_rng(seed)
    weights = np.exp(rng.standard_normal(50))
    expected = weights
    for _ in range(50):
        expected = np.clip(expected, 0.25, 4.0)
        expected = expected / expected.mean()
        if expected.min() >= 0.25 - 1e-9 and expected.max() <= 4.0 + 1e-9:
            break
    assert project(weights, 0.25, 4.0).tolist() == expected.tolist()


def test_narrow_bounds_that_turns_do_not_settle_are_met_by_one_factor():
    rng = np.random.default_rng(0)
    small = np.arange(400) < 8
    weights = np.where(small, rng.uniform(0.3, 0.4, 400), rng.uniform(1.01, 1.05, 400))
    found = project(weights, 0.25, 1.005)
    assert found.mean() == pytest.approx(1.0, abs=1e-14)
    assert (found[~small] == 1.005).all()
    ratios = found[small] / weights[small]
    assert ratios == pytest.approx(np.full(8, (400 - 392 * 1.005) / weights[small].sum()), rel=1e-10)  # a small difference


@given(
    st.integers(0, 10_000),
    st.sampled_from([0.1, 0.5, 1.0, 50.0]),
    st.sampled_from([0.5, 1.0, math.inf]),
    st.sampled_from([0.0, 0.3, 1.0]),
    st.sampled_from([(0.0, math.inf), (0.25, 4.0), (0.9, 1.1)]),
)
def test_rounds_in_a_row_keep_sum_and_bounds_whatever_the_rule(seed, eta, alpha_max, rho, bounds):
    rng = np.random.default_rng(seed)
    rule = BoostingRule(eta=eta, alpha_max=alpha_max, rho=rho, v_min=bounds[0], v_max=bounds[1], num_classes=3)
    weights = np.ones(30)
    for _ in range(6):
        seen = rng.random(30) < 0.5 if rng.random() < 0.5 else None
        weights = boost(weights, rng.random(30) * (rng.random(30) < 0.3), rule, seen=seen).weights
        assert weights.sum() == pytest.approx(30.0, rel=1e-9)
        assert weights.min() >= bounds[0] - 1e-9
        assert weights.max() <= bounds[1] + 1e-9


def test_eta_0_never_changes_a_weight():
    weights, apart = random_round(0)
    found = boost(weights, apart, BoostingRule(eta=0.0, rho=0.3, v_min=0.9, v_max=1.1, num_classes=2))
    assert found.weights.tolist() == weights.tolist()
    assert (found.step_size, found.skipped) == (0.0, "eta = 0")
    assert found.eps == pytest.approx((weights * apart).sum() / weights.sum(), rel=1e-14)


def test_without_discordance_uniform_weights_stay_as_they_are():
    found = boost(np.ones(7), np.zeros(7), BoostingRule(num_classes=2))
    assert found.weights.tolist() == [1.0] * 7
    assert found.skipped == "eps <= eps_min"


@pytest.mark.parametrize(
    ("rule", "num_apart", "skipped"),
    [
        (BoostingRule(num_classes=2), 5, "eps >= eps_max"),
        (BoostingRule(num_classes=2), 4, None),
        (BoostingRule(num_classes=None), 5, "eps >= eps_max"),
        (BoostingRule(num_classes=5), 8, "eps >= eps_max"),
        (BoostingRule(num_classes=5), 7, None),
        (BoostingRule(num_classes=5, eps_max=0.6), 6, "eps >= eps_max"),
        (BoostingRule(num_classes=2, eps_max=0.9), 5, "eps >= eps_max"),  # chance holds as well
        (BoostingRule(num_classes=2, eps_min=0.2), 2, "eps <= eps_min"),
        (BoostingRule(num_classes=2), 10, "eps >= eps_max"),
    ],
)
def test_a_round_is_skipped_outside_the_limits_of_eps(rule, num_apart, skipped):
    apart = np.arange(10) < num_apart
    found = boost(np.ones(10), apart, rule)
    assert found.skipped == skipped
    assert (found.weights == 1.0).all() == (skipped is not None)
    assert (found.step_size == 0.0) == (skipped is not None)


def test_only_samples_that_were_seen_count_and_take_the_step():
    weights, apart = random_round(3)
    seen = np.arange(40) < 20
    rule = BoostingRule(v_min=0.0, v_max=math.inf, num_classes=2)
    found = boost(weights, apart, rule, seen=seen)
    alone = boost(weights[:20], apart[:20], rule)
    assert (found.eps, found.step_size) == (alone.eps, alone.step_size)
    raised = np.concatenate([(0.7 * weights[:20] + 0.3) * np.exp(alone.step_size * apart[:20]), weights[20:]])
    assert found.weights == pytest.approx(raised / raised.mean(), rel=1e-14)


def test_a_round_in_which_nothing_was_seen_is_skipped():
    found = boost(np.ones(3), np.ones(3), BoostingRule(), seen=np.zeros(3, dtype=bool))
    assert math.isnan(found.eps)
    assert (found.skipped, found.weights.tolist()) == ("nothing seen", [1.0] * 3)


def test_discordances_that_are_not_finite_count_as_1_and_are_named():
    apart = np.zeros(30)
    apart[[2, 4, 6, 8, 10, 12]] = [np.nan, np.inf, -np.inf, np.nan, np.nan, np.nan]
    with pytest.warns(SpectraWarning, match=r"not finite for 6 of 30 samples \(2, 4, 6, 8, 10 \.\.\.\); it counts as 1"):
        found = boost(np.ones(30), apart, BoostingRule(num_classes=2))
    expected = boost(np.ones(30), (apart != 0.0).astype(float), BoostingRule(num_classes=2))
    assert found.weights.tolist() == expected.weights.tolist()
    assert found.eps == expected.eps == 0.2


def test_huge_steps_neither_overflow_nor_give_nan():
    apart = np.zeros(1000)
    apart[0] = 1.0
    found = boost(np.ones(1000), apart, of_classes(2, eta=1e6)).weights
    assert np.isfinite(found).all()
    assert found.sum() == pytest.approx(1000.0, rel=1e-12)
    assert found[0] == pytest.approx(1000.0, rel=1e-12)


def test_arguments_are_left_alone():
    weights, apart = random_round(1)
    kept = weights.copy(), apart.copy()
    boost(weights, apart, BoostingRule())
    project(weights, 0.9, 1.1)
    assert (weights.tolist(), apart.tolist()) == (kept[0].tolist(), kept[1].tolist())


def test_the_step_is_adaboosts_up_to_its_limit():
    assert step_size(0.1, eta=1.0, alpha_max=math.inf, num_classes=2) == pytest.approx(math.log(9.0), rel=1e-15)
    assert step_size(0.1, eta=1.0, alpha_max=math.inf, num_classes=None) == pytest.approx(math.log(9.0), rel=1e-15)
    assert step_size(0.5, eta=0.5, alpha_max=math.inf, num_classes=4) == pytest.approx(0.5 * math.log(3.0), rel=1e-15)
    assert step_size(0.01, eta=0.5, alpha_max=1.0, num_classes=2) == 1.0


def test_shares_are_those_of_closed_forms():
    assert effective_sample_share(np.ones(9)) == 1.0
    assert effective_sample_share([4.0, 0.0, 0.0, 0.0]) == 0.25
    assert effective_sample_share([3.0, 1.0]) == pytest.approx(16 / (2 * 10))
    assert effective_sample_share([1e300, 1e300, 0.0]) == pytest.approx(2 / 3)
    assert top_share(np.ones(200)) == pytest.approx(2 / 200)
    assert top_share([1.0, 2.0, 5.0]) == 5 / 8  # at least one sample
    assert top_share(np.arange(1.0, 11.0), 0.3) == pytest.approx((8 + 9 + 10) / 55)
    assert top_share([1.0, 3.0], 1.0) == 1.0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"eta": -0.1}, r"eta: expected a number of at least 0, got -0.1"),
        ({"eta": math.inf}, r"eta: expected a number of at least 0, got inf"),
        ({"alpha_max": 0.0}, r"alpha_max: expected a number above 0, got 0.0; eta=0 keeps weights as they are"),
        ({"alpha_max": math.nan}, r"alpha_max: expected a number above 0, got nan"),
        ({"rho": 1.5}, r"rho: expected a number in \[0, 1\], got 1.5"),
        ({"v_min": 1.5}, r"v_min: expected a number in \[0, 1\], got 1.5"),
        ({"v_max": 0.5}, r"v_max: expected a number of at least 1, got 0.5"),
        ({"v_max": "4"}, r"v_max: expected a number of at least 1, got '4'"),
        ({"eps_min": 0.6, "eps_max": 0.5}, r"eps_min, eps_max: expected eps_min < eps_max <= 1, got 0.6 and 0.5"),
        ({"eps_max": 1.5}, r"eps_min, eps_max: expected eps_min < eps_max <= 1, got 0.0 and 1.5"),
        ({"num_classes": 1}, r"num_classes: expected a whole number of at least 2, or None for regressions, got 1"),
        ({"eta": -1, "rho": -1}, r"eta: .* got -1; rho: .* got -1"),
    ],
)
def test_rules_that_cannot_be_are_refused(changes, message):
    with pytest.raises(InputError, match=message):
        BoostingRule(**changes)


@pytest.mark.parametrize("weights", [[1.0, -1.0], [1.0, np.nan], [0.0, 0.0], [[1.0]], []], ids=str)
def test_weights_that_cannot_be_are_refused(weights):
    with pytest.raises(InputError, match="weights: expected a vector of finite numbers of at least 0, and one above"):
        project(weights, 0.25, 4.0)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match=r"v_min, v_max: expected 0 <= v_min <= 1 <= v_max, got 1.2 and 4.0: the mean is 1"):
        project([1.0], 1.2, 4.0)
    with pytest.raises(InputError, match=r"eps: expected a weighted discordance between 0 and 1, got 1.0. Skip such a round"):
        step_size(1.0, eta=1.0, alpha_max=1.0, num_classes=2)
    with pytest.raises(InputError, match=r"discordance: expected one number for each of 3 weights, got shape \(2,\)"):
        boost(np.ones(3), np.ones(2), BoostingRule())
    with pytest.raises(InputError, match=r"discordance: expected numbers in \[0, 1\], got 1.5 for sample 1"):
        counted_discordance([0.0, 1.5])
    with pytest.raises(InputError, match=r"seen: expected 2 of True and False, got int64 of shape \(2,\)"):
        weighted_discordance(np.ones(2), np.ones(2), np.array([0, 1]))
