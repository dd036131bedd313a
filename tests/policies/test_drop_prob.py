"""Drop probabilities from scores: the rules, the mean, channels, and what is refused (bar 12)."""

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from spectra.errors import InputError
from spectra.policies.drop_prob import DropRule, check_rates, guided_rates, is_rate, neuron_rates

RULES = [rule.value for rule in DropRule]
# Fishers span many decades, and frozen or dead sites score zero.
SCORES = st.one_of(st.just(0.0), st.floats(1e-30, 1e30))


@st.composite
def settings(draw):
    """Bounds of the rates that a float can tell apart."""
    p_lower, p_upper = sorted(draw(st.tuples(st.floats(0.0, 0.99), st.floats(0.0, 0.99))))
    return {"p_upper": p_upper, "p_lower": p_lower}


def by_site(values):
    return {f"layer.{place}": value for place, value in enumerate(values)}


def literal_rank_rates(scores, p_upper, p_lower):
    """Section B.2 site by site: the rank is the number of lower scores, and of equal ones before it."""
    values = list(scores.values())
    rates = {}
    for place, (name, score) in enumerate(scores.items()):
        rank = sum(other < score for other in values) + sum(other == score for other in values[:place])
        rates[name] = p_upper - (p_upper - p_lower) * rank / (len(values) - 1)
    return rates


@given(st.lists(SCORES, min_size=2, max_size=40), settings())
def test_the_rank_rule_is_the_formula_site_by_site(values, bounds):
    scores = by_site(values)
    # The order of operations differs: a few roundings of numbers below 1.
    assert guided_rates(scores, **bounds) == pytest.approx(literal_rank_rates(scores, **bounds), abs=1e-15)


def test_37_scores_give_the_published_steps():
    rates = guided_rates(by_site(np.random.default_rng(0).random(37)), p_upper=0.099)
    # 0.099/36 per step (section B.3); 1e-15: roundings of numbers below 0.1.
    assert sorted(rates.values()) == pytest.approx([0.00275 * step for step in range(37)], abs=1e-15)
    assert np.mean(list(rates.values())) == pytest.approx(0.0495, abs=1e-15)


def test_the_lowest_score_gets_exactly_the_upper_and_the_highest_exactly_the_lower():
    for rule in RULES:
        rates = guided_rates({"a": 3.0, "b": 0.5, "c": 7.0}, p_upper=0.1, p_lower=0.03, rule=rule)
        assert rates["b"] == 0.1
        assert rates["c"] == 0.03


@given(st.lists(SCORES, min_size=1, max_size=40), settings(), st.sampled_from(RULES), st.none() | st.floats(0.0, 0.3))
def test_a_higher_score_never_has_a_higher_rate(values, bounds, rule, mean_p):
    try:
        rates = guided_rates(by_site(values), **bounds, rule=rule, mean_p=mean_p)
    except InputError:  # a mean out of reach
        return
    in_order = np.array(list(rates.values()))[np.argsort(values, kind="stable")]
    assert (np.diff(in_order) <= 0.0).all()
    assert in_order.min() >= 0.0
    if mean_p is None:
        assert bounds["p_lower"] <= in_order.min() <= in_order.max() <= bounds["p_upper"]


@given(st.lists(SCORES, min_size=2, max_size=40, unique=True), st.randoms(use_true_random=False), st.sampled_from(RULES))
def test_the_order_of_the_sites_does_not_matter(values, random, rule):
    scores = by_site(values)
    shuffled = list(scores.items())
    random.shuffle(shuffled)
    assert guided_rates(dict(shuffled), rule=rule) == guided_rates(scores, rule=rule)


@given(st.lists(st.integers(0, 10**6), min_size=2, max_size=40))
def test_the_rank_rule_sees_only_the_order(values):
    # Increasing and exact on these integers, so that no two become equal and none change places.
    for increasing in (math.sqrt, lambda score: score**3 + 7.0, lambda score: 1e-12 * score):
        changed = by_site([increasing(value) for value in values])
        assert guided_rates(changed) == guided_rates(by_site(values))


@given(st.lists(SCORES, min_size=2, max_size=40), st.integers(-20, 20), st.sampled_from(RULES))
def test_the_unit_of_the_scores_does_not_matter(values, exponent, rule):
    scaled = guided_rates(by_site([value * 2.0**exponent for value in values]), rule=rule)
    # A power of two is exact for rank and linear; logarithms of up to 100 round by 1e-14, which a narrow spread magnifies.
    original = guided_rates(by_site(values), rule=rule)
    spread = math.log(max(values)) - math.log(min(filter(None, values))) if any(values) else 1.0
    if rule != "log" or spread > 1e-3:
        assert scaled == pytest.approx(original, abs=1e-10)


def test_equal_scores_keep_the_order_of_the_sites_under_rank_and_share_the_middle_otherwise():
    equal = {"a": 2.0, "b": 2.0, "c": 2.0}
    assert list(guided_rates(equal, p_upper=0.2).values()) == [0.2, 0.1, 0.0]
    for rule in ("linear", "log"):
        assert guided_rates(equal, p_upper=0.2, rule=rule) == dict.fromkeys(equal, 0.1)
    assert guided_rates(dict.fromkeys(equal, 0.0), p_upper=0.2, rule="log") == dict.fromkeys(equal, 0.1)


@pytest.mark.parametrize("rule", RULES)
def test_one_site_gets_the_middle(rule):
    assert guided_rates({"only": 5.0}, p_upper=0.3, p_lower=0.1, rule=rule)["only"] == pytest.approx(0.2, rel=1e-15)


def test_the_linear_rule_is_linear_in_the_score():
    assert guided_rates({"a": 1.0, "b": 3.0, "c": 5.0, "d": 2.0}, p_upper=0.4, rule="linear") == pytest.approx(
        {"a": 0.4, "b": 0.2, "c": 0.0, "d": 0.3}, abs=1e-16
    )


def test_the_log_rule_is_linear_in_the_logarithm_of_the_score_plus_the_smallest_positive_one():
    scores = {"a": 0.0, "b": 2.0, "c": 6.0, "d": 14.0}
    logs = {name: math.log2(score + 2.0) for name, score in scores.items()}
    assert logs == {"a": 1.0, "b": 2.0, "c": 3.0, "d": 4.0}
    rates = guided_rates(scores, p_upper=0.3, rule="log")
    assert rates == pytest.approx({"a": 0.3, "b": 0.2, "c": 0.1, "d": 0.0}, abs=1e-15)


def test_the_log_rule_holds_at_the_ends_of_float64():
    rates = guided_rates({"a": 0.0, "b": 5e-324, "c": 1.7e308}, rule="log")
    assert rates["a"] == 0.1
    assert rates["c"] == 0.0
    assert rates["a"] > rates["b"] > rates["c"]


def literal_scaling(rates, mean_p, p_cap):
    """The factor by bisection: the capped mean grows with it."""
    low, high = 0.0, 1e18
    for _ in range(200):
        factor = math.sqrt(low * high) if low else high / 2.0
        mean = math.fsum(min(rate * factor, p_cap) for rate in rates) / len(rates)
        low, high = (factor, high) if mean < mean_p else (low, factor)
    return [min(rate * high, p_cap) for rate in rates]


@given(
    st.lists(SCORES, min_size=1, max_size=40),
    st.floats(0.01, 0.9),
    st.floats(0.0, 1.0),
    st.sampled_from(RULES),
    st.floats(0.05, 0.95),
    st.floats(0.0, 1.0),
)
def test_a_mean_is_met_with_no_rate_above_the_cap(values, p_upper, lower_share, rule, p_cap, mean_share):
    scores, bounds = by_site(values), {"p_upper": p_upper, "p_lower": lower_share * p_upper, "rule": rule}
    plain = list(guided_rates(scores, **bounds).values())
    num_positive = sum(rate > 0.0 for rate in plain)
    mean_p = min(mean_share * p_cap * num_positive / len(plain), p_cap)
    if num_positive == 0:
        return
    rates = list(guided_rates(scores, **bounds, mean_p=mean_p, p_cap=p_cap).values())
    assert math.fsum(rates) / len(rates) == pytest.approx(mean_p, abs=1e-9)
    assert max(rates) <= p_cap
    assert all(new == 0.0 for old, new in zip(plain, rates, strict=True) if old == 0.0)


@pytest.mark.parametrize("mean_p", [0.01, 0.05, 0.15, 0.3, 0.4])
def test_a_mean_is_met_by_one_factor_below_the_cap(mean_p):
    scores = by_site(np.random.default_rng(1).random(9))
    plain = guided_rates(scores, p_upper=0.1, p_lower=0.01)
    rates = guided_rates(scores, p_upper=0.1, p_lower=0.01, mean_p=mean_p)
    # The bisection ends where neighbouring floats do.
    assert list(rates.values()) == pytest.approx(literal_scaling(list(plain.values()), mean_p, 0.5), rel=1e-12)


def test_a_mean_at_the_very_limit_puts_all_at_the_cap():
    scores = by_site(range(7))
    rates = guided_rates(scores, p_upper=0.1, p_lower=0.003, mean_p=0.3, p_cap=0.3)
    assert set(rates.values()) == {0.3}
    # The highest score has rate 0 and stays there: six of seven at the cap.
    at_limit = guided_rates(scores, mean_p=0.3 * 6 / 7, p_cap=0.3)
    assert list(at_limit.values()) == pytest.approx([0.3] * 6 + [0.0], rel=1e-14)


def test_a_mean_of_zero_turns_all_off():
    assert guided_rates({"a": 1.0, "b": 2.0}, mean_p=0.0) == {"a": 0.0, "b": 0.0}


@given(st.lists(SCORES, min_size=1, max_size=40), settings(), st.sampled_from(RULES))
def test_channels_get_the_rates_that_sites_of_these_scores_would(values, bounds, rule):
    rates = neuron_rates(np.array(values), **bounds, rule=rule)
    assert rates.dtype == np.float64
    assert rates.tolist() == list(guided_rates(by_site(values), **bounds, rule=rule).values())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"p_lower": 0.2}, "expected 0 <= p_lower <= p_upper < 1, got p_lower 0.2 and p_upper 0.1"),
        ({"p_upper": 1.0}, "p_upper < 1, got p_lower 0.0 and p_upper 1.0"),
        ({"p_lower": -0.1}, "0 <= p_lower"),
        ({"p_upper": math.nan}, "p_upper nan"),
        ({"rule": "ranks"}, "unknown rule 'ranks'. Did you mean 'rank'. Known: rank, linear, log"),
        ({"mean_p": 0.6}, r"mean_p: expected a number in \[0, p_cap\], p_cap being 0.5, got 0.6"),
        ({"mean_p": -0.1}, "mean_p: expected a number"),
        ({"mean_p": math.nan}, "mean_p: expected a number"),
        ({"p_cap": 1.0}, r"p_cap: expected a number in \(0, 1\), got 1.0"),
        ({"p_cap": None}, r"p_cap: expected a number in \(0, 1\), got None"),
        ({"mean_p": "0.1"}, r"mean_p: expected a number in \[0, p_cap\], p_cap being 0.5, got '0.1'"),
        ({"p_upper": None}, "p_upper < 1, got p_lower 0.0 and p_upper None"),
        ({"rule": None}, "unknown rule None. Known: rank, linear, log"),
        ({"mean_p": 0.4}, "mean_p 0.4 cannot be reached: 1 of 2 sites have probability 0, .* the mean is 0.25. Lower mean_p"),
        ({"mean_p": 0.1, "p_upper": 0.0}, "cannot be reached: 2 of 2 sites have probability 0"),
    ],
    ids=str,
)
def test_rates_that_cannot_be_made_are_refused(arguments, message):
    with pytest.raises(InputError, match=message):
        guided_rates({"a": 1.0, "b": 2.0}, **arguments)


def test_all_sites_without_a_usable_score_are_named_at_once():
    scores = {"a": math.nan, "b": 1.0, "c": -2.0, "d": math.inf}
    message = r"3 of 4 sites have no finite score of at least 0: 'a' \(nan\), 'c' \(-2.0\), 'd' \(inf\). Exclude them"
    with pytest.raises(InputError, match=message):
        guided_rates(scores)


def test_of_many_faulty_channels_the_first_are_named():
    with pytest.raises(InputError, match=r"1 of 3 channels have no finite score of at least 0: 1 \(nan\)\. Measure"):
        neuron_rates([1.0, math.nan, 2.0])
    with pytest.raises(InputError, match=r"30 of 30 channels .* 9 \(nan\) and 20 more"):
        neuron_rates(np.full(30, np.nan))


def test_no_score_at_all_is_refused():
    with pytest.raises(InputError, match="there is no site"):
        guided_rates({})
    with pytest.raises(InputError, match="there is no channel"):
        neuron_rates([])
    with pytest.raises(InputError, match=r"one number per channel, got shape \(2, 3\)"):
        neuron_rates(np.ones((2, 3)))


@pytest.mark.parametrize("value", [1.0, -0.1, math.nan, math.inf, 10**400, True, "0.1", None], ids=str)
def test_what_is_no_drop_probability_is_known(value):
    assert not is_rate(value)
    with pytest.raises(InputError, match=r"rates: 1 of 2 are no drop probabilities in \[0, 1\): 'a' \("):
        check_rates({"a": value, "b": 0.5})


@pytest.mark.parametrize("value", [0, 0.0, 0.999, np.float32(0.5), np.int64(0)], ids=repr)
def test_a_drop_probability_is_any_number_from_zero_to_below_one(value):
    assert is_rate(value)
