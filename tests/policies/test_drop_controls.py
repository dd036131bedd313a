"""Controls: what each keeps of the guided probabilities."""

import math
from collections import Counter

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from spectra.errors import InputError
from spectra.policies.drop_controls import CONTROLS, control_rates

RATES = {"a": 0.1, "b": 0.025, "c": 0.075, "d": 0.0}
ROLES = {"a": "attention_probs", "b": "mlp_output", "c": "attention_probs", "d": "embeddings"}


def rates_of(**options):
    values = st.lists(st.floats(0.0, 0.99), min_size=1, max_size=30, **options)
    return values.map(lambda values: {f"site.{place}": value for place, value in enumerate(values)})


def mean(rates):
    return math.fsum(rates.values()) / len(rates)


def test_every_control_on_four_sites():
    expected = {
        "guided": RATES,
        "uniform": dict.fromkeys(RATES, 0.1),
        "mean-matched": dict.fromkeys(RATES, 0.05),
        "per-type": {"a": 0.0875, "b": 0.025, "c": 0.0875, "d": 0.0},
        "reversed": {"a": 0.0, "b": 0.075, "c": 0.025, "d": 0.1},
        "none": dict.fromkeys(RATES, 0.0),
    }
    assert {*expected, "shuffled"} == set(CONTROLS)
    for control, rates in expected.items():
        # Means of a few numbers: one rounding.
        assert control_rates(RATES, control, roles=ROLES) == pytest.approx(rates, rel=1e-15)


@given(rates_of(), st.sampled_from(CONTROLS))
def test_every_control_has_the_same_sites_in_the_same_order(rates, control):
    assert list(control_rates(rates, control, roles=dict.fromkeys(rates, "other"))) == list(rates)


@given(rates_of(), st.integers(0, 2**32))
def test_shuffling_moves_the_rates_and_changes_none(rates, seed):
    shuffled = control_rates(rates, "shuffled", seed=seed)
    assert Counter(shuffled.values()) == Counter(rates.values())
    assert shuffled == control_rates(rates, "shuffled", seed=seed)


def test_other_seeds_shuffle_otherwise():
    rates = {f"site.{place}": place / 100.0 for place in range(37)}
    draws = {tuple(control_rates(rates, "shuffled", seed=seed).values()) for seed in range(5)}
    assert len(draws) == 5


def test_every_order_is_drawn_equally_often():
    rates = {"a": 0.1, "b": 0.2, "c": 0.3}
    orders = Counter(tuple(control_rates(rates, "shuffled", seed=seed).values()) for seed in range(1200))
    assert len(orders) == 6
    # Each of the 6 orders: mean 200, standard deviation sqrt(1200 * 5/36) = 12.9; five of them.
    assert all(abs(count - 200) < 65 for count in orders.values())


@given(rates_of(), st.sampled_from(["mean-matched", "per-type", "shuffled", "reversed"]))
def test_these_controls_keep_the_mean(rates, control):
    roles = {name: ("even", "odd")[place % 2] for place, name in enumerate(rates)}
    # Sums of up to 30 numbers below 1.
    assert mean(control_rates(rates, control, roles=roles)) == pytest.approx(mean(rates), abs=1e-14)


@given(rates_of(unique=True))
def test_reversing_twice_gives_back_what_was(rates):
    reversed_rates = control_rates(rates, "reversed")
    assert control_rates(reversed_rates, "reversed") == rates
    order = sorted(rates, key=rates.__getitem__)
    assert sorted(rates, key=reversed_rates.__getitem__) == order[::-1]


def test_uniform_takes_another_default():
    assert control_rates(RATES, "uniform", default=0.0495) == dict.fromkeys(RATES, 0.0495)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"control": "shuffle"}, "unknown control 'shuffle'. Did you mean 'shuffled'"),
        ({"control": "uniform", "default": 1.0}, r"default: expected a drop probability in \[0, 1\), got 1.0"),
        ({"control": "shuffled", "seed": -1}, "seed: expected a whole number of at least 0, got -1"),
        ({"control": "shuffled", "seed": 1.5}, "seed: expected a whole number of at least 0, got 1.5"),
        ({"control": None}, "unknown control None.*Known: guided, uniform"),
        ({"control": "per-type"}, "roles: 4 of 4 sites have none: 'a', 'b', 'c', 'd'. The control 'per-type' needs"),
        ({"control": "per-type", "roles": {"a": "other", "c": "other"}}, "2 of 4 sites have none: 'b', 'd'"),
        ({"control": "none", "rates": {"a": 1.0, "b": -1.0}}, r"2 of 2 are no drop probabilities .* 'a' \(1.0\), 'b' \(-1.0\)"),
        ({"control": "none", "rates": {}}, "rates: there is no site"),
    ],
    ids=str,
)
def test_a_control_that_cannot_be_made_is_refused(arguments, message):
    rates = arguments.pop("rates", RATES)
    with pytest.raises(InputError, match=message):
        control_rates(rates, **arguments)


def test_plain_numbers_come_back():
    rates = {"a": np.float64(0.1), "b": np.float64(0.2)}
    for control in CONTROLS:
        assert {type(rate) for rate in control_rates(rates, control, roles=dict.fromkeys(rates, "other")).values()} == {float}
