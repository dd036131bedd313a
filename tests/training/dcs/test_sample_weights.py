"""What is recorded of samples becomes rounds, weights and a history; and a run that stopped goes on the same."""

import json
import math
import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from safetensors.numpy import load, save

from spectra.errors import InputError, ResultsError, SpectraWarning
from spectra.training.dcs.boosting import BoostingRule, boost, effective_sample_share, top_share
from spectra.training.dcs.relative_errors import relative_errors
from spectra.training.dcs.sample_weights import SampleWeights

RULE = BoostingRule(num_classes=2)
UNRESTRICTED = BoostingRule(eta=1.0, alpha_max=math.inf, rho=0.0, v_min=0.0, v_max=math.inf, num_classes=2)


def trained(num_samples=12, num_rounds=3, *, seed=0, **options):
    """Weights after a few rounds, with half of another one recorded."""
    rng = np.random.default_rng(seed)
    weights = SampleWeights(num_samples, RULE, **options)
    for step in range(num_rounds):
        weights.record(np.arange(num_samples), rng.random(num_samples) * 0.6, step, loss=rng.random(num_samples))
        weights.update(step)
    weights.record(np.arange(num_samples // 2), rng.random(num_samples // 2), num_rounds, predicted=3)
    return weights


def same(one, other):
    """Whether two states are the same to the last bit."""
    texts = one["meta"] == other["meta"]
    return texts and all(value.tobytes() == other[name].tobytes() for name, value in one.items() if name != "meta")


def test_a_round_boosts_with_what_was_recorded():
    rng = np.random.default_rng(0)
    apart, losses, predicted = rng.random(10) * 0.7, rng.random(10), rng.integers(0, 2, 10)
    weights = SampleWeights(10, RULE, warmup_rounds=0)
    order = rng.permutation(10)
    for part in np.array_split(order, 4):
        weights.record(part, apart[part], 7, loss=losses[part], predicted=predicted[part])
    found, expected = weights.update(7), boost(np.ones(10), apart, RULE)
    assert weights.values.tolist() == expected.weights.tolist()
    assert (found.number, found.step, found.skipped, found.num_seen) == (0, 7, None, 10)
    assert (found.eps, found.step_size) == (expected.eps, expected.step_size)
    assert (found.ess, found.top_share) == (effective_sample_share(weights.values), top_share(weights.values))
    assert found.v_max == weights.values.max()
    history = weights.history()
    assert history.weights.tolist() == weights.values.tolist()
    assert history.weights_by_round[0].tolist() == weights.values.astype(np.float32).tolist()
    assert history.discordance_by_round[0].tolist() == apart.astype(np.float32).tolist()
    assert history.losses_by_round[0].tolist() == losses.astype(np.float32).tolist()
    assert history.predicted_by_round[0].tolist() == predicted.tolist()
    assert weights.rounds == [found] == list(history.rounds)


def test_rounds_of_the_warmup_are_recorded_and_change_nothing():
    weights = SampleWeights(4, RULE, warmup_rounds=2)
    for step in range(3):
        weights.record(np.arange(4), [1.0, 0.0, 0.0, 0.0], step)
        weights.update(step)
    assert [(each.skipped, each.eps) for each in weights.rounds] == [("warmup", 0.25), ("warmup", 0.25), (None, 0.25)]
    assert (weights.history().weights_by_round[:2] == 1.0).all()
    assert weights.values[0] > 1.0


def test_samples_that_were_not_seen_keep_their_discordance_which_is_0_at_first():
    weights = SampleWeights(4, RULE, warmup_rounds=0)
    weights.record([1, 2], [1.0, 0.5], 0)
    weights.update(0)
    assert weights.rounds[-1].eps == pytest.approx(1.5 / 4)
    assert np.isnan(weights.history().discordance_by_round[0]).tolist() == [True, False, False, True]
    before = weights.values.copy()
    weights.record([3], [0.25], 1)
    found = weights.update(1)
    assert found.eps == pytest.approx((before * [0.0, 1.0, 0.5, 0.25]).sum() / 4, rel=1e-14)
    assert found.num_seen == 1
    assert weights.history().discordance_by_round[1, 1:].tolist() == [1.0, 0.5, 0.25]


def test_a_later_step_wins_and_of_one_step_in_one_call_the_first():
    weights = SampleWeights(3, RULE)
    weights.record([0, 1, 0, 1, 0], [0.1, 0.2, 0.3, 0.4, 0.5], [4, 9, 6, 9, 6])
    index, apart, step, _, _ = weights.pending()
    assert (index.tolist(), apart.tolist(), step.tolist()) == ([0, 1], [0.3, 0.2], [6, 9])
    weights.record([0, 1], [0.7, 0.8], [5, 9])  # earlier: left out; the same step: takes its place
    assert weights.pending()[1].tolist() == [0.3, 0.8]


def test_processes_that_exchange_their_records_agree():
    # Sample 2 was seen by both: at step 5 by the first one, at step 6 by the second; sample 3 at step 6 by both.
    of_process = [([0, 2, 3], [0.1, 0.2, 0.3], [5, 5, 6]), ([1, 2, 3], [0.4, 0.5, 0.6], [5, 6, 6])]
    processes = []
    for records in of_process:
        weights = SampleWeights(4, RULE, warmup_rounds=0)
        weights.record(*records)
        processes.append(weights)
    gathered = [np.concatenate(parts) for parts in zip(*(each.pending() for each in processes), strict=True)]
    for weights in processes:
        index, apart, step, loss, predicted = gathered
        weights.record(index, apart, step, loss=loss, predicted=predicted)
        assert weights.pending()[1].tolist() == [0.1, 0.4, 0.5, 0.3]
        weights.update(6)
    assert processes[0].values.tolist() == processes[1].values.tolist()


def test_updates_of_what_was_seen_leave_the_rest_out():
    weights = SampleWeights(6, RULE, warmup_rounds=0)
    weights.record(np.arange(6), [0.0] * 6, 0)
    weights.update_seen(0)
    weights.record([0, 1, 2], [1.0, 0.0, 0.0], 1)
    found = weights.update_seen(1)
    expected = boost(np.ones(6), [1.0, 0, 0, 0, 0, 0], RULE, seen=np.arange(6) < 3)
    assert weights.values.tolist() == expected.weights.tolist()
    assert (found.eps, found.num_seen) == (pytest.approx(1 / 3), 3)


def test_updates_of_what_was_seen_keep_a_row_of_history_for_each_pass():
    weights = SampleWeights(6, RULE, warmup_rounds=0)
    for step in range(10):  # each sees a third
        weights.record([step * 2 % 6, (step * 2 + 1) % 6], [1.0, 0.0], step)
        weights.update_seen(step)
    assert weights.num_rounds == 10
    history = weights.history()
    assert [each.number for each in history.rounds] == [2, 5, 8]
    assert history.weights_by_round.shape == (3, 6)


def test_nothing_recorded_is_a_round_that_says_so():
    weights = SampleWeights(3, RULE, warmup_rounds=0)
    assert [weights.update(0).skipped, weights.update_seen(0).skipped] == ["nothing seen", "nothing seen"]
    assert weights.values.tolist() == [1.0] * 3
    assert math.isnan(weights.rounds[0].eps)
    assert len(weights.history().rounds) == 1
    assert SampleWeights(3, RULE).history().weights_by_round.shape == (0, 3)


@pytest.mark.parametrize("form", ["linear", "square", "exponential"])
def test_errors_of_regressions_become_discordances_when_the_round_ends(form):
    errors = np.array([0.5, 3.0, 0.0, 1.0, 0.2, 0.1])
    rule = BoostingRule()
    weights = SampleWeights(6, rule, warmup_rounds=0, error_form=form, error_quantile=0.9)
    weights.record(np.arange(6), errors, 0)
    weights.update(0)
    apart = relative_errors(errors, form=form, quantile=0.9)
    assert weights.values.tolist() == boost(np.ones(6), apart, rule).weights.tolist()
    assert weights.history().discordance_by_round[0] == pytest.approx(apart, rel=1e-7)  # float32
    weights.record([3, 4], [4.0, 1.0], 1)  # only what was seen sets the scale
    seen = weights.values.copy()
    weights.update_seen(1)
    of_seen = np.zeros(6)
    of_seen[[3, 4]] = relative_errors([4.0, 1.0], form=form, quantile=0.9)
    expected = boost(seen, of_seen, rule, seen=np.isin(np.arange(6), [3, 4]))
    assert weights.values.tolist() == expected.weights.tolist()


def test_discordances_that_are_not_finite_count_as_1_in_history_too():
    weights = SampleWeights(5, RULE, warmup_rounds=0)
    weights.record([0, 1, 2, 3], [math.nan, 0.0, math.inf, 0.0], 0)
    with pytest.warns(SpectraWarning, match=r"not finite for 2 of 5 samples \(0, 2\)"):
        weights.update(0)
    assert weights.history().discordance_by_round[0, :4].tolist() == [1.0, 0.0, 1.0, 0.0]
    assert weights.rounds[0].eps == pytest.approx(0.4)


def test_few_effective_samples_are_warned_of_once():
    weights = SampleWeights(100, UNRESTRICTED, warmup_rounds=0)
    weights.record(np.arange(100), np.arange(100) == 7, 0)
    # Half of the mass on one sample: (1 / 4 + 1 / 4 / 99)^-1 / 100 = 4 %.
    with pytest.warns(
        SpectraWarning, match="round 0: the effective share of the samples is 4%, .* Raise rho, lower alpha_max, or clip"
    ):
        weights.update(0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        weights.record(np.arange(100), np.arange(100) == 8, 1)
        weights.update(1)
        again = SampleWeights(100, UNRESTRICTED)
        again.load_state_dict(weights.state_dict())
        again.update(2)
    assert again.rounds[-1].ess < 0.5


@given(st.integers(0, 1000), st.integers(1, 5))
def test_a_run_that_stopped_anywhere_goes_on_the_same(seed, num_rounds):
    weights = trained(num_rounds=num_rounds, seed=seed)
    state = weights.state_dict()
    arrays = {name: value for name, value in state.items() if name != "meta"}
    stored = load(save(arrays)) | {"meta": state["meta"]}  # as checkpoints hold it
    again = SampleWeights(12, RULE)
    again.load_state_dict(stored)
    assert same(again.state_dict(), state)
    for each in (weights, again):
        each.record([8, 9], [1.0, 0.3], num_rounds)
        each.update(num_rounds)
        each.update_seen(num_rounds)
    assert same(again.state_dict(), weights.state_dict())
    assert repr(again.rounds) == repr(weights.rounds)  # NaN is not equal to itself
    json.loads(state["meta"])


def test_a_state_is_a_copy():
    weights = trained()
    state = weights.state_dict()
    kept = state["weights"].copy()
    weights.update(9)
    assert state["weights"].tolist() == kept.tolist()
    again = SampleWeights(12, RULE)
    again.load_state_dict(state)
    again.record([0], [1.0], 99)
    assert state["recorded"][0] != 1.0


def test_values_cannot_be_written_to():
    with pytest.raises(ValueError, match="read-only"):
        SampleWeights(3, RULE).values[0] = 2.0


def test_restarted_weights_are_as_new():
    weights = trained()
    weights.restart()
    assert same(weights.state_dict(), SampleWeights(12, RULE).state_dict())
    assert (weights.num_rounds, len(weights.pending()[0])) == (0, 0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"meta": "no JSON"}, "this is no state of sample weights"),
        ({"meta": "{}"}, "this is no state of sample weights"),
        ({"weights": np.ones(12, dtype=np.float32)}, r"'weights' is missing or damaged, expected float64 of shape \(12,\)"),
        ({"losses_by_round": np.ones((2, 12), dtype=np.float32)}, r"'losses_by_round' .* float32 of shape \(3, 12\)"),
        ({"steps": None}, r"'steps' is missing or damaged"),
    ],
)
def test_damaged_states_are_refused_and_change_nothing(change, message):
    weights = SampleWeights(12, RULE)
    with pytest.raises(ResultsError, match=message):
        weights.load_state_dict(trained().state_dict() | change)
    assert same(weights.state_dict(), SampleWeights(12, RULE).state_dict())


def test_states_of_other_data_or_another_task_are_refused():
    state = trained().state_dict()
    with pytest.raises(ResultsError, match=r"of discordances of 12 samples \(version 1\), this run has discordances of 11"):
        SampleWeights(11, RULE).load_state_dict(state)
    with pytest.raises(ResultsError, match="of discordances of 12 samples .* this run has regression errors of 12"):
        SampleWeights(12, RULE, error_form="linear").load_state_dict(state)


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (([5], [0.0], 0), "index: there is no sample 5, only 0 to 4"),
        (([-1], [0.0], 0), "index: there is no sample -1, only 0 to 4"),
        (([0.5], [0.0], 0), r"index: expected whole numbers in one dimension, got float64 of shape \(1,\)"),
        (([0, 1], [0.0, 0.0, 0.0], 0), r"discordance: expected one number for each of 2 samples, got shape \(3,\)"),
        (([0, 1], [0.0, 0.0], [1, 2, 3]), r"step: expected one number for each of 2 samples, got shape \(3,\)"),
        (([0], [1.5], 0), r"discordance: expected numbers in \[0, 1\], got 1.5"),
    ],
)
def test_records_that_cannot_be_are_refused(records, message):
    with pytest.raises(InputError, match=message):
        SampleWeights(5, RULE).record(*records)


def test_what_cannot_be_is_refused():
    with pytest.raises(InputError, match="discordance: expected numbers of at least 0, got -1.0"):
        SampleWeights(5, RULE, error_form="linear").record([0], [-1.0], 0)
    with pytest.raises(InputError, match="num_samples: expected a whole number of at least 1, got 0"):
        SampleWeights(0, RULE)
    with pytest.raises(InputError, match="warmup_rounds: expected a whole number of at least 0, got -1"):
        SampleWeights(5, RULE, warmup_rounds=-1)
    for number in (2.5, "3", None):
        with pytest.raises(InputError, match=f"num_samples: expected a whole number of at least 1, got {number!r}"):
            SampleWeights(number, RULE)
        with pytest.raises(InputError, match=f"warmup_rounds: expected a whole number of at least 0, got {number!r}"):
            SampleWeights(5, RULE, warmup_rounds=number)
    with pytest.raises(InputError, match="error_form.*'cubic'"):
        SampleWeights(5, RULE, error_form="cubic")
    with pytest.raises(InputError, match="error_quantile: only for regressions. Give error_form too, or leave it out"):
        SampleWeights(5, RULE, error_quantile=0.9)
